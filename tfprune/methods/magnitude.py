# SPDX-License-Identifier: Apache-2.0
"""Magnitude pruning: keep the largest weights."""

from tfprune.masks.array_namespace import namespace
from tfprune.methods.base import Method, Score, TopKRule


def _formula(statistics):
    weight = statistics["weight"]
    return namespace(weight).abs(weight)


magnitude = Method(
    name="magnitude",
    rule=TopKRule(Score("magnitude", needs=("weight",), formula=_formula, is_magnitude=True)),
    paper="M. Zhu, S. Gupta, 'To prune, or not to prune: exploring the efficacy of pruning for "
    "model compression', 2017, arXiv 1710.01878",
)
"""score = |W|. Groups take the mean of their members' scores."""
