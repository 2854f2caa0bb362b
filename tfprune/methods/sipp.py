# SPDX-License-Identifier: Apache-2.0
"""SiPP: keep the weights that account for most of what their units sum up."""

from tfprune.masks.allocations import Global
from tfprune.masks.schedules import OneShot
from tfprune.methods.base import Method, Score, TopKRule


def _formula(statistics):
    return statistics["mean_sensitivity"]


sipp = Method(
    name="sipp",
    rule=TopKRule(
        Score("sipp", needs=("mean_sensitivity",), formula=_formula), allocation=Global()
    ),
    default_schedule=OneShot(0.0),
    paper="C. Baykal, L. Liebenwein, I. Gilitschenski, D. Feldman, D. Rus, 'SiPPing Neural "
    "Networks: Sensitivity-informed Provable Pruning of Neural Networks', 2019, arXiv 1910.05422",
)
"""score = max over examples of the mean over positions of W_ie a_e / sum over f of W_if a_f.

Weights and inputs a of each sign apart; see `tfprune.statistics.input_sensitivity`. One ranking
over all layers. The deterministic variant: what is kept is not re-weighted.
"""
