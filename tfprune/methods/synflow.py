# SPDX-License-Identifier: Apache-2.0
"""SynFlow: keep the weights through which most of the synaptic flow passes. Takes no data."""

from tfprune.masks.allocations import Global
from tfprune.masks.array_namespace import namespace
from tfprune.masks.schedules import OneShot
from tfprune.methods.base import Method, Score, TopKRule


def _formula(statistics):
    weight, flow = statistics["weight"], statistics["flow"]
    return namespace(weight).abs(weight * flow)


synflow = Method(
    name="synflow",
    rule=TopKRule(
        Score("synflow", needs=("weight", "flow"), formula=_formula),
        allocation=Global(),
        rounds=100,
    ),
    default_schedule=OneShot(0.0),
    paper="H. Tanaka, D. Kunin, D. Yamins, S. Ganguli, 'Pruning neural networks without any data "
    "by iteratively conserving synaptic flow', 2020, arXiv 2006.05467",
)
"""score = |W| dR/d|W|, R the sum of the outputs of the linearised model for inputs of ones.

100 rounds, each of which removes the same fraction of what is left and scores anew. One ranking
over all layers.
"""
