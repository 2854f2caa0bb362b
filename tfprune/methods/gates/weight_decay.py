# SPDX-License-Identifier: Apache-2.0
"""The straight-through mask under which pruned weights decay."""

from __future__ import annotations

from dataclasses import dataclass

from tfprune.masks.serialization import register
from tfprune.methods.gates.base import Gate


@register(name="Decaying")
@dataclass(frozen=True)
class WeightDecayGate(Gate):
    """The pruned weights live on beside the kernel, and decay: SR-STE's refined gradient.

        gradient of W = g + rate * (1 - M) * W,  g taken at W*M

    Attributes:
        rate: of the decay, in units of the loss per squared weight.

    Raises:
        ValueError: a rate below zero.

    Paper: A. Zhou, Y. Ma, J. Zhu, J. Liu, Z. Zhang, K. Yuan, W. Sun, H. Li, "Learning N:M
    Fine-grained Structured Sparse Neural Networks From Scratch", 2021, arXiv 2102.04010.

    Example:
        >>> WeightDecayGate().rate
        0.0002
    """

    rate: float = 2e-4

    def __post_init__(self):
        if not self.rate >= 0:
            raise ValueError(f"rate={self.rate}: expected a number of at least 0.")

    @property
    def hides(self) -> bool:
        return True

    def learn(self, now, gradient):
        return gradient + self.rate * (1 - now.mask) * now.weight, {}
