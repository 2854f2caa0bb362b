# SPDX-License-Identifier: Apache-2.0
"""The mask that multiplies the weight."""

from __future__ import annotations

from dataclasses import dataclass

from tfprune.masks.serialization import register
from tfprune.methods.gates.base import Gate


@register(name="Fixed")
@dataclass(frozen=True)
class MaskGate(Gate):
    """A mask that multiplies the weight: y = f(x; W*M).

    Attributes:
        straight_through: False: a pruned weight is lost (set to zero) when it is pruned, as in
            TF-MOT. True: its value is kept beside the kernel, receives the gradient taken at W*M
            in full, and returns when the mask lets it. An optimizer's decoupled weight decay acts
            on the kernel only, not on the kept values.

    Paper of the straight-through form: T. Lin, S. U. Stich, L. Barba, D. Dmitriev, M. Jaggi,
    "Dynamic Model Pruning with Feedback", 2020, arXiv 2006.07253.

    Example:
        >>> MaskGate().hides
        False
    """

    straight_through: bool = False

    @property
    def hides(self) -> bool:
        return self.straight_through
