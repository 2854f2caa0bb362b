# SPDX-License-Identifier: Apache-2.0
"""Fisher pruning: keep the groups whose removal would raise the loss most."""

from tfprune.masks.allocations import Global
from tfprune.masks.schedules import Polynomial
from tfprune.masks.structures import Filter
from tfprune.methods.base import Method, Score, TopKRule


def _formula(statistics):
    return 0.5 * statistics["gate_square"]


fisher = Method(
    name="fisher",
    rule=TopKRule(
        Score("fisher", needs=("gate_square",), formula=_formula),
        structure=Filter(coupled=True),
        allocation=Global(),
    ),
    default_schedule=Polynomial(0.0, power=1, frequency=30),
    paper="L. Theis, I. Korshunova, A. Tejani, F. Huszar, 'Faster gaze prediction with dense "
    "networks and Fisher pruning', 2018, arXiv 1801.05787",
)
"""score = 1/2 mean over the examples of (dL_n/dz)^2, z a gate on the group.

The rise of the loss to second order at a minimum, with the empirical Fisher information in place
of the Hessian. One ranking over all layers.
"""
