# SPDX-License-Identifier: Apache-2.0
"""Coreset pruning with drawn filters: the next layers make up for those that are gone."""

import dataclasses

from tfprune.masks.structures import Filter
from tfprune.methods.coreset import coreset, score
from tfprune.methods.rules.importance_sampling import ImportanceSamplingRule

coreset_draws = dataclasses.replace(
    coreset, name="coreset_draws", rule=ImportanceSamplingRule(score, Filter())
)
"""Filters are drawn in proportion to the score of `coreset`, and what reads them is re-weighted."""
