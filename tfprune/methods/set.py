# SPDX-License-Identifier: Apache-2.0
"""SET: sparse from the first step to the last, connections grow by chance."""

from tfprune.masks.allocations import ERK
from tfprune.masks.schedules import Constant
from tfprune.methods.base import Method
from tfprune.methods.gates import RegrowthGate
from tfprune.methods.magnitude import magnitude
from tfprune.methods.rules.regrow import RegrowRule

sparse_evolution = Method(
    name="set",
    rule=RegrowRule(magnitude.rule.score, allocation=ERK(), grow="random"),
    gate=RegrowthGate(gradient=False),
    default_schedule=Constant(0.0, end=0.78, frequency=100),
    paper="D. C. Mocanu, E. Mocanu, P. Stone, P. H. Nguyen, M. Gibescu, A. Liotta, 'Scalable "
    "training of artificial neural networks with adaptive sparse connectivity inspired by network "
    "science', 2018, arXiv 1707.04780",
)
"""As `rigl`, with connections grown anywhere, by chance; `seed=` draws others.

The smallest of all weights are dropped, as in RigL's comparison (the paper: the smallest positive
and the largest negative ones), and zeta falls to zero: `anneal="constant"` keeps it.
"""
