# SPDX-License-Identifier: Apache-2.0
"""Taylor importance: keep the groups whose removal would change the loss most, to first order."""

import dataclasses

from tfprune.masks.allocations import Global
from tfprune.masks.array_namespace import namespace
from tfprune.masks.schedules import Polynomial
from tfprune.masks.structures import Filter
from tfprune.methods.base import Method, Score, TopKRule


def _first_order(statistics):
    return statistics["gate_batch_square"]


def _second_order(statistics):
    return namespace(statistics["gate_change"]).square(statistics["gate_change"])


taylor = Method(
    name="taylor",
    rule=TopKRule(
        Score("taylor", needs=("gate_batch_square",), formula=_first_order),
        structure=Filter(coupled=True),
        allocation=Global(),
        momentum=0.9,
    ),
    default_schedule=Polynomial(0.0, power=1, frequency=30),
    paper="P. Molchanov, A. Mallya, S. Tyree, I. Frosio, J. Kautz, 'Importance Estimation for "
    "Neural Network Pruning', 2019, arXiv 1906.10771",
)
"""score = mean over the batches of (dL/dz)^2, dL/dz = sum of W dL/dW over the group, z its gate.

Averaged over the updates, too, 0.9 old and 0.1 new. One ranking over all layers.
"""

taylor_second_order = dataclasses.replace(
    taylor,
    name="taylor_second_order",
    rule=dataclasses.replace(
        taylor.rule,
        score=Score("taylor_second_order", needs=("gate_change",), formula=_second_order),
    ),
)
"""score = (dL/dz - d2L/dz2 / 2)^2, z a gate on the group: exact for a quadratic loss."""
