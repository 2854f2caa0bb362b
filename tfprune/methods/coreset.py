# SPDX-License-Identifier: Apache-2.0
"""Coreset pruning: keep the filters that stand for all of a layer. Takes no data."""

from tfprune.masks.schedules import OneShot
from tfprune.masks.structures import Filter
from tfprune.methods.base import Method, Score, TopKRule


def _formula(statistics):
    return statistics["contact_sensitivity"]


score = Score("coreset", needs=("contact_sensitivity",), formula=_formula)

coreset = Method(
    name="coreset",
    rule=TopKRule(score, structure=Filter()),
    default_schedule=OneShot(0.0),
    paper="M. Tukan, L. Mualem, A. Maalouf, 'Pruning Neural Networks via Coresets and Convex "
    "Geometry', 2022, arXiv 2209.08554",
)
"""score = bound of the share of a layer's sum that one filter can be, from its weights alone.

The points of the filters are peeled off in rounds, each an L-infinity coreset: the contact points
of the Löwner ellipsoid, by F. John's theorem, in place of the paper's combination with
Carathéodory's (`coreset_caratheodory`).

The highest bounds are kept: right after half of a small net's neurons were removed, 83.1 % of the
digits were right, and 54.1 % when as many were drawn as in `coreset_draws` (98.2 % before;
`python benchmarks/coresets.py`). Of a small convolutional net neither left anything without
training afterwards.
"""
