# SPDX-License-Identifier: Apache-2.0
"""Dynamic pruning with feedback: dense weights learn from what the pruned network does."""

from tfprune.masks.allocations import Global
from tfprune.masks.schedules import Polynomial
from tfprune.methods.base import Method, TopKRule
from tfprune.methods.gates import MaskGate
from tfprune.methods.magnitude import magnitude

dpf = Method(
    name="dpf",
    rule=TopKRule(magnitude.rule.score, allocation=Global()),
    gate=MaskGate(straight_through=True),
    default_schedule=Polynomial(0.0, end=0.75, frequency=16),
    paper="T. Lin, S. U. Stich, L. Barba, D. Dmitriev, M. Jaggi, 'Dynamic Model Pruning with "
    "Feedback', 2020, arXiv 2006.07253",
)
"""w <- w - lr g(w m), m = 1 where |w| is among the largest of all sites.

The gradient is taken at the pruned weights and applied to the dense ones in full, so that a
pruned weight comes back when its magnitude grows. Masks are chosen anew every 16 steps, in a
cubic course that ends at three quarters of the run (the paper's second drop of the learning rate).
"""
