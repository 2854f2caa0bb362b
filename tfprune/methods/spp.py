# SPDX-License-Identifier: Apache-2.0
"""SPP: groups are left out at random, the worse ranked the more often, until they stay out."""

from tfprune.masks.schedules import Polynomial
from tfprune.masks.structures import Column
from tfprune.methods.base import Method
from tfprune.methods.gates import StochasticGate
from tfprune.methods.magnitude import magnitude
from tfprune.methods.rules.drop_probability import DropProbabilityRule

spp = Method(
    name="spp",
    rule=DropProbabilityRule(magnitude.rule.score, Column()),
    gate=StochasticGate(),
    default_schedule=Polynomial(0.0, end=0.75),
    paper="H. Wang, Q. Zhang, Y. Wang, H. Hu, 'Structured Probabilistic Pruning for Convolutional "
    "Neural Network Acceleration', 2017, arXiv 1709.06994",
)
"""Each column (or filter, or channel) is left out of a step with chance p, moved by its rank.

About 100 updates of p over three quarters of the run; the paper makes one every 180 steps, for as
long as it takes. A left-out group keeps its weights and momenta as they are. Evaluation and
checkpoints see the weights of all groups with p < 1, unscaled.
"""
