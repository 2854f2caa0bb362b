# SPDX-License-Identifier: Apache-2.0
"""Coreset pruning: keep the filters that stand for all of a layer. Takes no data."""

import dataclasses

from tfprune.masks.schedules import OneShot
from tfprune.masks.structures import Filter
from tfprune.methods.base import Method, Score, TopKRule
from tfprune.methods.rules.importance_sampling import ImportanceSamplingRule


def _method(name: str, statistic: str, paper: str) -> Method:
    """Keeps the filters of which one statistic, told by the weights, is highest."""
    score = Score(name, needs=(statistic,), formula=lambda given: given[statistic])
    return Method(
        name=name,
        rule=TopKRule(score, structure=Filter()),
        default_schedule=OneShot(0.0),
        paper=paper,
    )


_TUKAN = (
    "M. Tukan, L. Mualem, A. Maalouf, 'Pruning Neural Networks via Coresets and Convex "
    "Geometry', 2022, arXiv 2209.08554"
)

coreset = _method("coreset", "contact_sensitivity", _TUKAN)
"""score = bound of the share of a layer's sum that one filter can be, from its weights alone.

The points of the filters are peeled off in rounds, each an L-infinity coreset: the contact points
of the Löwner ellipsoid, by F. John's theorem, in place of the paper's combination with
Carathéodory's (`coreset_caratheodory`).

The highest bounds are kept: right after half of a small net's neurons were removed, 83.1 % of the
digits were right, and 54.1 % when as many were drawn as in `coreset_draws` (98.2 % before;
`python benchmarks/coresets.py`). Of a small convolutional net neither left anything without
training afterwards.
"""

coreset_draws = dataclasses.replace(
    coreset, name="coreset_draws", rule=ImportanceSamplingRule(coreset.rule.score, Filter())
)
"""Filters are drawn in proportion to the score of `coreset`, and what reads them is re-weighted."""

coreset_caratheodory = _method("coreset_caratheodory", "caratheodory_sensitivity", _TUKAN)
"""score = bound of the share of a layer's sum that one filter can be, from its weights alone.

Each round peels off the points whose means are the ends of the axes of the shrunk ellipsoid.
"""

coreset_mussay = _method(
    "coreset_mussay",
    "norm_sensitivity",
    "B. Mussay, M. Osadchy, V. Braverman, S. Zhou, D. Feldman, 'Data-Independent Neural "
    "Pruning via Coresets', 2020, arXiv 1907.04018",
)
"""score = |[w, b]| max |V|, V all weights that read the filter; for ReLU and inputs of norm 1."""
