# SPDX-License-Identifier: Apache-2.0
"""ST-3: straight-through gradients and a soft threshold, so that no weight jumps."""

from tfprune.masks.allocations import Global
from tfprune.masks.schedules import Polynomial
from tfprune.methods.base import Method, TopKRule
from tfprune.methods.gates import SoftThresholdGate
from tfprune.methods.magnitude import magnitude

st3 = Method(
    name="st3",
    rule=TopKRule(magnitude.rule.score, allocation=Global()),
    gate=SoftThresholdGate(),
    default_schedule=Polynomial(0.0, end=0.9, frequency=4),
    paper="A. Vanderschueren, C. De Vleeschouwer, 'Are Straight-Through gradients and "
    "Soft-Thresholding all you need for Sparse Training?', 2022, arXiv 2212.01076",
)
"""w <- w - lr g(S(w)), S(w) = sign(w) max(0, |w| - t), t = the largest |w| that is pruned.

As in `dpf` pruned weights go on learning and may return, but what crosses the threshold is zero
there, on both sides. Masks and t are chosen anew every 4 steps, along a cubic course that ends at
nine tenths of the run; the paper's course is another one.
"""
