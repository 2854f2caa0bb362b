# SPDX-License-Identifier: Apache-2.0
"""Excess error: the loss that a shift of the data adds, and its slope over the prune ratio."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

_TOGETHER = 1 << 22  # pairs drawn in one piece


@dataclass(frozen=True)
class Slope:
    """A line through pairs, with a 95 % interval of its slope; nan where the pairs do not tell.

    Attributes:
        slope, intercept: difference = intercept + slope * ratio.
        low, high: the 2.5th and 97.5th percentile of the slopes of resampled pairs.
    """

    slope: float
    intercept: float
    low: float
    high: float


def excess_error(nominal: float | np.ndarray, shifted: float | np.ndarray) -> np.ndarray:
    """How much larger a network's error is on shifted data: e(D') = error(D') - error(D).

    The difference between a pruned network's and the dense one's is what `fit` takes.

    Args:
        nominal, shifted: errors of the same networks on the data and on the shifted data; numbers
            or arrays of the same shape, in any one unit.

    Returns:
        float64 of that shape, in that unit.

    Raises:
        ValueError: shapes that differ.

    Paper: L. Liebenwein, C. Baykal, B. Carter, D. Gifford, D. Rus, 'Lost in Pruning: The Effects
    of Pruning Neural Networks beyond Test Accuracy', MLSys 2021, arXiv 2103.03014.

    Example:
        >>> excess_error([8.0, 9.0], [20.0, 23.5]).tolist()
        [12.0, 14.5]
    """
    nominal, shifted = np.asarray(nominal, np.float64), np.asarray(shifted, np.float64)
    if nominal.shape != shifted.shape:
        raise ValueError(
            f"nominal errors of shape {nominal.shape} and shifted ones of shape "
            f"{shifted.shape}: expected both of the same networks."
        )
    return shifted - nominal


def fit(
    ratios: Sequence[float], differences: Sequence[float], *, seed: int = 0, resamples: int = 1000
) -> Slope:
    """Ordinary least squares of differences over ratios, with a bootstrap interval of the slope.

        slope = sum (r - mean r)(d - mean d) / sum (r - mean r)^2

    Pairs with NaN or infinities are left out. Resamples draw as many pairs with replacement; those
    in which all ratios are equal have no slope and are left out. No slope without two ratios, no
    interval with fewer than three pairs.

    Args:
        ratios: [n], of the pruned networks.
        differences: [n], of their excess error from the dense network's.
        seed: of the resamples.
        resamples: how many; at least 1.

    Raises:
        ValueError: shapes that differ, or no resamples.

    Paper: L. Liebenwein et al., 'Lost in Pruning', MLSys 2021, arXiv 2103.03014.

    Example:
        >>> round(fit([0.2, 0.4, 0.6, 0.8], [0.0, 0.1, 0.2, 0.3]).slope, 6)
        0.5
        >>> fit([0.5, 0.5], [0.1, 0.2])
        Slope(slope=nan, intercept=nan, low=nan, high=nan)
    """
    pairs = np.array(
        [np.asarray(values, np.float64) for values in (ratios, differences)]
        if np.shape(ratios) == np.shape(differences)
        else []
    )
    if pairs.ndim != 2:
        raise ValueError(
            f"ratios of shape {np.shape(ratios)} and differences of shape "
            f"{np.shape(differences)}: expected [n] both."
        )
    if resamples < 1:
        raise ValueError(f"resamples={resamples}: expected at least 1.")
    pairs = pairs[:, np.isfinite(pairs).all(axis=0)]
    count = pairs.shape[1]
    if count < 2 or np.ptp(pairs[0]) == 0:
        return Slope(np.nan, np.nan, np.nan, np.nan)
    slope = _slopes(*pairs[:, None])[0]
    intercept = pairs[1].mean() - slope * pairs[0].mean()
    if count < 3:
        return Slope(float(slope), float(intercept), np.nan, np.nan)
    rng, parts = np.random.default_rng(seed), []
    for start in range(0, resamples, max(1, _TOGETHER // count)):
        rows = min(max(1, _TOGETHER // count), resamples - start)
        parts.append(_slopes(*pairs[:, rng.integers(0, count, (rows, count))]))
    slopes = np.concatenate(parts)
    slopes = slopes[np.isfinite(slopes)]
    low, high = np.percentile(slopes, [2.5, 97.5]) if len(slopes) else (np.nan, np.nan)
    return Slope(float(slope), float(intercept), float(low), float(high))


def _slopes(ratios: np.ndarray, differences: np.ndarray) -> np.ndarray:
    """The slope of each row of pairs; nan where the ratios of a row are equal."""
    offsets = ratios - ratios.mean(axis=1, keepdims=True)
    products = (offsets * (differences - differences.mean(axis=1, keepdims=True))).sum(axis=1)
    squares = (offsets**2).sum(axis=1)
    return np.divide(
        products,
        squares,
        out=np.full(len(ratios), np.nan),
        where=(np.ptp(ratios, axis=1) > 0) & (squares > 0),
    )  # both: rounding
