# SPDX-License-Identifier: Apache-2.0
"""Records of pruned networks under shifts, and what follows from them."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class PrunedRow:
    """One network under one condition.

    Attributes:
        method, seed: of the network.
        asked, ratio: the sparsity that was asked of its training, and the share of its weights
            that is zero.
        condition: the shift's name, or "nominal".
        loss: points of error, or units of the metric.
        excess: loss less the nominal loss on the same examples; None: this is the nominal one.
        against: excess less that of the dense network.
        agreement, distance: equal predictions (0 to 1) and mean l2 distance of softmax outputs,
            beside the dense network; None: neither nominal nor noise, or no classes.
    """

    method: str
    seed: int
    asked: float
    ratio: float
    condition: str
    loss: float
    excess: float | None = None
    against: float | None = None
    agreement: float | None = None
    distance: float | None = None


@dataclass(frozen=True)
class FamilyPotential:
    """Prune potential of a method's networks of one seed under one condition.

    Attributes:
        first: the largest ratio within delta with all smaller ones within it, too.
        largest: the largest ratio within delta, whatever smaller ones are.
    """

    method: str
    seed: int
    condition: str
    first: float
    largest: float


@dataclass(frozen=True)
class Growth:
    """Whether a shift costs pruned networks the more, the more they are pruned.

    Attributes:
        slope: of `against` over the ratio, in points (or units of the metric) from none to all of
            the weights; nan where the networks do not tell.
        low, high: its 95 % bootstrap interval.
    """

    method: str
    condition: str
    slope: float
    low: float
    high: float

    @property
    def grows(self) -> bool:
        return self.low > 0
