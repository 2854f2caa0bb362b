# SPDX-License-Identifier: Apache-2.0
"""The record of a corruption: a function of images, and its parameters by severity and size."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from tfprune.evaluation.draws import Draws

SMALL, LARGE = 32, 224
"""Sides of the images that parameters were published for: CIFAR-10-C's and ImageNet-C's."""

_LUMA = np.array([0.299, 0.587, 0.114], np.float32)

Apply = Callable[[np.ndarray, tuple[float, ...], Draws], np.ndarray]


@dataclass(frozen=True)
class Corruption:
    """A corruption and its parameters at severity 1 to 5.

    Attributes:
        apply: (images float32 [n, height, width, 1 or 3] in 0..1, parameters, draws) -> images;
            values beyond 0..1 are clipped by the caller.
        small: five rows of parameters for images of 32x32, as in CIFAR-10-C.
        large: the same for 224x224, as in ImageNet-C.
        least: the shortest side that it can take.
    """

    apply: Apply
    small: tuple[tuple[float, ...], ...]
    large: tuple[tuple[float, ...], ...]
    least: int

    @property
    def name(self) -> str:
        return self.apply.__name__

    def parameters(self, severity: int, side: int) -> tuple[float, ...]:
        """The parameters for images of that shorter side: linear in its logarithm.

        Between 32 and 224 they are interpolated; beyond, the nearer table holds as it is.

        Example:
            >>> from tfprune.evaluation.corruption_noises import gaussian_noise
            >>> [round(gaussian_noise.parameters(5, side)[0], 2) for side in (8, 32, 64, 224, 500)]
            [0.1, 0.1, 0.2, 0.38, 0.38]
        """
        part = float(np.clip(np.log(side / SMALL) / np.log(LARGE / SMALL), 0, 1))
        rows = zip(self.small[severity - 1], self.large[severity - 1], strict=True)
        return tuple((1 - part) * small + part * large for small, large in rows)


def corruption(
    small: Sequence, large: Sequence, *, least: int = 1
) -> Callable[[Apply], Corruption]:
    """Turn a function into a Corruption; a row of one parameter may be the number alone."""

    def rows(table: Sequence) -> tuple[tuple[float, ...], ...]:
        return tuple(row if isinstance(row, tuple) else (row,) for row in table)

    return lambda apply: Corruption(apply, rows(small), rows(large), least)


def gray(images: np.ndarray) -> np.ndarray:
    """The brightness that an eye sees, [n, height, width, 1]; of gray images they themselves."""
    return (
        images
        if images.shape[-1] == 1
        else sum(weight * images[..., place : place + 1] for place, weight in enumerate(_LUMA))
    )


def paint(color: Sequence[float], channels: int) -> np.ndarray:
    """A color (red, green, blue) of 0..255 as 3 channels or as 1, float32 in 0..1."""
    values = np.array(color, np.float32) / 255
    return values if channels == 3 else np.array([values @ _LUMA])
