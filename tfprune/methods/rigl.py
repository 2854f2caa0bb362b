# SPDX-License-Identifier: Apache-2.0
"""RigL: sparse from the first step to the last, connections grow where the gradient is large."""

from tfprune.masks.allocations import ERK
from tfprune.masks.schedules import Constant
from tfprune.methods.base import Method
from tfprune.methods.gates import RegrowthGate
from tfprune.methods.magnitude import magnitude
from tfprune.methods.rules.regrow import RegrowRule

rigl = Method(
    name="rigl",
    rule=RegrowRule(magnitude.rule.score, allocation=ERK()),
    gate=RegrowthGate(),
    default_schedule=Constant(0.0, end=0.78, frequency=100),
    paper="U. Evci, T. Gale, J. Menick, P. S. Castro, E. Elsen, 'Rigging the Lottery: Making All "
    "Tickets Winners', 2020, arXiv 1911.11134",
)
"""Every 100 steps drop 0.3 (1 + cos(pi t)) / 2 of the weights, grow where abs(dL/dw) is largest.

For 78 % of the run. The mask it starts from holds the largest weights, which on new networks are
as good as any and on trained ones the right ones; the paper draws it: `start="random"`. A dense
first layer: `allocation=PerSite({"conv": 0.0}, ERK())`. The step before an update is a step like
all others (the authors' code leaves it out). A rising schedule prunes gradually and regrows.
"""
