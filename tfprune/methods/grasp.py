# SPDX-License-Identifier: Apache-2.0
"""GraSP: keep the weights that carry the flow of the gradient."""

from tfprune.masks.allocations import Global
from tfprune.masks.schedules import OneShot
from tfprune.methods.base import Method, Score, TopKRule


def _formula(statistics):
    return statistics["weight"] * statistics["hessian_gradient"]


grasp = Method(
    name="grasp",
    rule=TopKRule(
        Score(
            "grasp",
            needs=("weight", "hessian_gradient"),
            formula=_formula,
            signed=True,
            settings=(("temperature", 200.0),),
        ),
        allocation=Global(),
    ),
    default_schedule=OneShot(0.0),
    paper="C. Wang, G. Zhang, R. Grosse, 'Picking Winning Tickets Before Training by Preserving "
    "Gradient Flow', 2020, arXiv 2002.07376",
)
"""score = W (H g), g the gradient and H the Hessian of the loss at logits / `temperature`.

The temperature is 200, as in the paper's code; `tfprune.get_method("grasp", temperature=1.0)` takes
the loss as it is.

To first order, removing weight q changes |g|^2 by -2 W_q (H g)_q: the lowest scores, which go
first, are those whose removal lets the gradient grow. One ranking over all layers.
"""
