# SPDX-License-Identifier: Apache-2.0
"""Losses that a shift of the data adds, of one network beside another one's."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from tfprune.evaluation.conditions import NOMINAL, Condition
from tfprune.evaluation.excess_error import excess_error

_FEWEST = 30


@dataclass(frozen=True)
class ShiftLoss:
    """The loss of a network under one condition.

    Attributes:
        condition: its name.
        loss: the mean over the examples; points of error, or units of the metric.
        excess: by how much that is more than the nominal loss, on the same examples where the
            condition was made from them.
        against: by how much more than that of the reference.
        deviation: the standard error of `against`; nan with fewer than 30 examples.
    """

    condition: str
    loss: float
    excess: float
    against: float
    deviation: float

    @property
    def stands_out(self) -> bool:
        """Whether `against` is more than examples drawn anew would do to it (two deviations)."""
        return abs(self.against) > 2 * self.deviation


Losses = Mapping[Condition, np.ndarray]
"""Of one network, or the mean of several: float64 [examples] for each condition."""


def with_kinds(losses: Losses) -> Losses:
    """With the mean over the severities of each corruption besides."""
    kinds: dict[str, list[np.ndarray]] = {}
    for condition, values in losses.items():
        if condition.is_corruption:
            kinds.setdefault(condition.kind, []).append(values)
    means = {Condition(kind, math.inf): np.mean(values, axis=0) for kind, values in kinds.items()}
    return {**losses, **means}


def of_kinds(losses: Mapping[Condition, Any]) -> list[Condition]:
    """The means over severities among the conditions, and the user's own sets."""
    return [
        condition
        for condition in losses
        if condition != NOMINAL and condition.level in (0, math.inf)
    ]


def shift_losses(losses: Losses, reference: Losses) -> dict[Condition, ShiftLoss]:
    """What every shift adds to the loss, and how that compares with the reference.

    Args:
        losses, reference: of the network and of the one that it is compared with.
    """
    found = {}
    for condition, values in losses.items():
        if condition == NOMINAL:
            continue
        mine, theirs = losses[NOMINAL], reference[NOMINAL]
        more = values - reference[condition]
        if condition.level:  # made from the first of the nominal examples
            mine, theirs = mine[: len(values)], theirs[: len(values)]
            deviation = standard_error(more - (mine - theirs))
        else:
            deviation = float(np.hypot(standard_error(more), standard_error(mine - theirs)))
        found[condition] = ShiftLoss(
            condition.kind if math.isinf(condition.level) else condition.name,
            float(values.mean()),
            float(excess_error(mine.mean(), values.mean())),
            float(more.mean() - (mine - theirs).mean()),
            deviation,
        )
    return found


def standard_error(values: np.ndarray) -> float:
    """The standard error of the mean; nan with fewer than 30 values, which do not tell it."""
    return float(values.std(ddof=1) / np.sqrt(len(values))) if len(values) >= _FEWEST else math.nan
