# SPDX-License-Identifier: Apache-2.0
"""The record of one network beside the reference."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tfprune.evaluation.calibration import Calibration
from tfprune.evaluation.costs import Costs
from tfprune.evaluation.exemplars import ClassChange, Exemplars
from tfprune.evaluation.shift_losses import ShiftLoss


@dataclass(frozen=True)
class NoiseDistance:
    """How far two networks are apart under noise.

    Attributes:
        size: of the noise, in standard deviations of each channel; 0.0: none.
        agreement: share of equal predictions; None: outputs are no classes.
        distance: mean l2 distance of their softmax outputs, or of their outputs as they are.
    """

    size: float
    agreement: float | None
    distance: float


@dataclass(frozen=True)
class Confusion:
    """How many examples of each class were taken for which, int64 [true, predicted]."""

    reference: np.ndarray
    network: np.ndarray


@dataclass(frozen=True)
class NetworkResult:
    """One network, or several of one kind, beside the reference.

    Attributes:
        name: that was given.
        copies: how many networks stand behind the name; figures are their mean.
        costs: of the first of them.
        loss: nominal, in points of error or units of the metric; None: no labels.
        lost: by how much that is more than the reference's; None likewise.
        deviation: the standard error of `lost`; nan with fewer than 30 examples.
        kinds: each corruption, the mean over its severities, the worst first.
        shifts: each condition.
        noise: the distance to the reference, without noise and for each size of it.
        classes: recall of each class against the reference's, the worst first.
        exemplars: images that the reference and this network see differently.
        calibration: of the predictions of all copies together.
        confusion: of the first of them.
    """

    name: str
    copies: int
    costs: Costs
    loss: float | None = None
    lost: float | None = None
    deviation: float | None = None
    kinds: tuple[ShiftLoss, ...] = ()
    shifts: tuple[ShiftLoss, ...] = ()
    noise: tuple[NoiseDistance, ...] = ()
    classes: tuple[ClassChange, ...] = ()
    exemplars: Exemplars | None = None
    calibration: Calibration | None = None
    confusion: Confusion | None = None

    @property
    def worst_kind(self) -> ShiftLoss | None:
        """The corruption that costs most more than it costs the reference, if one stands out."""
        first = next(iter(self.kinds), None)
        return first if first is not None and first.against > 0 and first.stands_out else None

    @property
    def spared_kind(self) -> ShiftLoss | None:
        """The corruption that costs most less than it costs the reference, if one stands out."""
        last = self.kinds[-1] if self.kinds else None
        return last if last is not None and last.against < 0 and last.stands_out else None
