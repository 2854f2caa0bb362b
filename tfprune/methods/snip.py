# SPDX-License-Identifier: Apache-2.0
"""SNIP: keep the weights whose removal would change the loss most."""

from tfprune.masks.allocations import Global
from tfprune.masks.array_namespace import namespace
from tfprune.masks.schedules import OneShot
from tfprune.methods.base import Method, Score, TopKRule


def _formula(statistics):
    weight, gradient = statistics["weight"], statistics["gradient"]
    return namespace(weight).abs(weight * gradient)


snip = Method(
    name="snip",
    rule=TopKRule(
        Score("snip", needs=("weight", "gradient"), formula=_formula), allocation=Global()
    ),
    default_schedule=OneShot(0.0),
    paper="N. Lee, T. Ajanthan, P. Torr, 'SNIP: Single-shot Network Pruning based on Connection "
    "Sensitivity', 2018, arXiv 1810.02340",
)
"""score = |W dL/dW|, L the mean loss of all scoring examples. One ranking over all layers."""
