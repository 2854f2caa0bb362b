# SPDX-License-Identifier: Apache-2.0
"""DPP: k of n are drawn in every step by chances that are learned with the weights."""

from tfprune.masks.schedules import Constant
from tfprune.masks.structures import Rows
from tfprune.methods.base import Method, Score
from tfprune.methods.gates import GumbelTopKGate
from tfprune.methods.rules.topk_logits import TopKLogitsRule

dpp = Method(
    name="dpp",
    rule=TopKLogitsRule(
        Score("logits", needs=("logits",), formula=lambda given: given["logits"], signed=True),
        Rows("kernels"),
    ),
    gate=GumbelTopKGate(),
    default_schedule=Constant(0.0, end=1.0),
    paper="L. Gonzalez-Carabarin, I. Huijben, B. Veeling, A. Schmid, R. van Sloun, 'Dynamic "
    "Probabilistic Pruning: A General Framework for Hardware-Constrained Pruning at Different "
    "Granularities', 2021, arXiv 2105.12686",
)
"""Kernels of each output map; with `structure=Rows(...)` weights, maps, tiles, or k as a number.

The sparsity is asked for from the first step on, and masks at rest follow the logits until the
last one, about 100 times. A schedule of your own should do so, too: what is at rest is from its
last update, and temperature, entropy and noise move along it. The first logits and the noise that
fades are this project's, for networks that are trained already; as in the paper:
`get_method("dpp", start="random", deviation=0.5, gate=GumbelTopKGate(noise=Annealed(1.0, 1.0)))`.
"""
