# SPDX-License-Identifier: Apache-2.0
"""Coreset pruning by the Löwner ellipsoid and Carathéodory's theorem. Takes no data."""

from tfprune.masks.schedules import OneShot
from tfprune.masks.structures import Filter
from tfprune.methods.base import Method, Score, TopKRule


def _formula(statistics):
    return statistics["caratheodory_sensitivity"]


coreset_caratheodory = Method(
    name="coreset_caratheodory",
    rule=TopKRule(
        Score("coreset_caratheodory", needs=("caratheodory_sensitivity",), formula=_formula),
        structure=Filter(),
    ),
    default_schedule=OneShot(0.0),
    paper="M. Tukan, L. Mualem, A. Maalouf, 'Pruning Neural Networks via Coresets and Convex "
    "Geometry', 2022, arXiv 2209.08554",
)
"""score = bound of the share of a layer's sum that one filter can be, from its weights alone.

Each round peels off the points whose means are the ends of the axes of the shrunk ellipsoid.
"""
