# SPDX-License-Identifier: Apache-2.0
"""Draws of neurons in proportion to sensitivities, and their new weights."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tfprune.masks.select import select

_NEVER = 1e-15  # a probability below it is none: its weight would be noise


@dataclass(frozen=True, eq=False)
class Sample:
    """The kept neurons.

    Attributes:
        indices: distinct, in the order of their first draw, or of falling sensitivity.
        weights: u of each: multiply what leaves neuron `indices[i]` by `weights[i]`.
        draws: how many were drawn, repetitions included; 0 if nothing was left to chance.
    """

    indices: np.ndarray
    weights: np.ndarray
    draws: int


def draw(values: np.ndarray, draws: int, *, seed: int = 0) -> Sample:
    """Draw a fixed number of times, with replacement, in proportion to the sensitivities.

        q_j = s_j / sum s,  u_j = count_j / (draws q_j),  E sum_j u_j f_j = sum_j f_j

    Fewer draws with the same seed are the first ones of more draws. Points with q_j < 1e-15 are
    never drawn.

    Args:
        values: s [n], >= 0, not all 0.
        draws: m >= 1.
        seed: of the draws.

    Returns:
        A Sample of at most m neurons.

    Raises:
        ValueError: sensitivities that are negative, not finite or all 0, or draws < 1.

    Example:
        >>> draw(np.array([0.0, 2.0]), 5)
        Sample(indices=array([1]), weights=array([1.]), draws=5)
    """
    chances = _chances(values)
    if draws < 1:
        raise ValueError(f"draws is {draws}; expected 1 or more")
    steps = np.cumsum(chances)
    drawn = np.searchsorted(
        steps, np.random.default_rng(seed).random(draws) * steps[-1], side="right"
    )
    indices, first, counts = np.unique(drawn, return_index=True, return_counts=True)
    order = first.argsort()
    indices, counts = indices[order], counts[order]
    return Sample(indices, counts / (draws * chances[indices]), draws)


def draw_distinct(values: np.ndarray, keep: int, *, seed: int = 0) -> Sample:
    """Draw with replacement, in proportion to the sensitivities, until `keep` are distinct.

    u_j = count_j / (draws q_j), as with `draw`; because the number of draws depends on them, it is
    slightly biased. For one seed, the neurons of a smaller `keep` are the first of a larger one.

    The draws are not made one by one, which can take for ever: neuron j is drawn at the times of
    a Poisson process of rate q_j, so its first time is exponential, and how often it is drawn
    after that, until the last first time, is Poisson. The order of all these times is that of
    independent draws.

    Points with q_j < 1e-15 come last, in their order, with u = 1 and without a draw.

    Args:
        values: s [n], >= 0, not all 0.
        keep: k, 1 to n.
        seed: of the draws.

    Returns:
        A Sample of exactly k neurons.

    Raises:
        ValueError: sensitivities that are negative, not finite or all 0, or keep out of range.

    Example:
        >>> sample = draw_distinct(np.array([1.0, 0, 2, 3]), 3)
        >>> sorted(sample.indices.tolist())
        [0, 2, 3]
    """
    chances = _chances(values)
    _check_keep(keep, chances)
    generator = np.random.default_rng(seed)
    possible = chances > 0
    times = generator.standard_exponential(len(chances))
    times[possible] /= chances[possible]
    times[~possible] = np.inf
    indices = times.argsort(kind="stable")[:keep]
    drawn = indices[possible[indices]]
    rates = chances[drawn] * (times[drawn[-1]] - times[drawn])
    counts = 1 + generator.poisson(rates)
    draws = int(counts.sum())
    weights = np.ones(keep)
    weights[: len(drawn)] = counts / (draws * chances[drawn])
    return Sample(indices, weights, draws)


def top(values: np.ndarray, keep: int) -> Sample:
    """The `keep` highest sensitivities, ties by the lower index, with weights of 1.

    Args:
        values: s [n], >= 0, not all 0.
        keep: k, 1 to n.

    Returns:
        A Sample of exactly k neurons, the highest first; nothing is random.

    Raises:
        ValueError: sensitivities that are negative, not finite or all 0, or keep out of range.

    Example:
        >>> top(np.array([1.0, 3, 1]), 2).indices.tolist()
        [1, 0]
    """
    chances = _chances(values)
    _check_keep(keep, chances)
    values = np.asarray(values, np.float64)
    indices = np.flatnonzero(select(values, keep))
    return Sample(indices[(-values[indices]).argsort(kind="stable")], np.ones(keep), 0)


def _chances(values):
    """q = s / sum s, and 0 for what is too rare."""
    values = np.asarray(values, np.float64)
    if values.ndim != 1 or not len(values) or not (np.isfinite(values) & (values >= 0)).all():
        raise ValueError(f"sensitivities of shape {values.shape}; expected [n] finite numbers >= 0")
    if not values.any():
        raise ValueError("all sensitivities are 0; expected at least one above 0")
    values = values / values.max()
    chances = values / values.sum()
    return np.where(chances < _NEVER, 0, chances)


def _check_keep(keep, chances):
    if not 1 <= keep <= len(chances):
        raise ValueError(f"keep is {keep}; expected 1 to {len(chances)}, the number of points")
