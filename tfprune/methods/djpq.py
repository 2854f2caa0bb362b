# SPDX-License-Identifier: Apache-2.0
"""DJPQ: channels and bit widths are learned together, under one price for bit operations."""

from tfprune.masks.schedules import OneShot
from tfprune.masks.structures import Filter
from tfprune.methods.base import Method
from tfprune.methods.magnitude import magnitude
from tfprune.methods.rules.learned_mask import Told
from tfprune.quantization.djpq import Joint

djpq = Method(
    name="djpq",
    rule=Told(magnitude.rule.score, Filter()),
    gate=Joint(),
    schedule=OneShot(0.0),
    paper="Y. Wang, Y. Lu, T. Blankevoort, 'Differentiable Joint Pruning and Quantization for "
    "Hardware Efficiency', 2020, arXiv 2007.10463",
)
"""Wrap the whole model, `prune(model, "djpq")`, and train it with `PruningCallback()`.

How much goes is not asked for as a sparsity, but by the strengths of the gate:
`get("djpq", gate=Joint(bops=2.0))`. A price raised from zero over `ramp` steps; dense weights
until the end of `fit`, where gates are folded, dropped channels masked and weights quantized.
"""
