# SPDX-License-Identifier: Apache-2.0
"""SR-STE: N:M sparsity from scratch, where pruned weights live on and decay."""

from tfprune.masks.schedules import Constant
from tfprune.masks.structures import NofM
from tfprune.methods.base import Method, TopKRule
from tfprune.methods.gates import WeightDecayGate
from tfprune.methods.magnitude import magnitude

srste = Method(
    name="srste",
    rule=TopKRule(magnitude.rule.score, structure=NofM(2, 4)),
    gate=WeightDecayGate(),
    default_schedule=Constant(0.0, end=0.9, frequency=1),
    paper="A. Zhou, Y. Ma, J. Zhu, J. Liu, Z. Zhang, K. Yuan, W. Sun, H. Li, 'Learning N:M "
    "Fine-grained Structured Sparse Neural Networks From Scratch', 2021, arXiv 2102.04010",
)
"""w <- w - lr (g(w m) + 0.0002 (1 - m) w), m = 1 for the n largest of every m weights.

2:4 along the input channels by default; `structure=NofM(n, m)` keeps n of every m. Masks are
chosen anew in every step, for nine tenths of the run. Takes other structures, too.
"""
