# SPDX-License-Identifier: Apache-2.0
"""Carathéodory's theorem: a mean of many points is one of at most r + 1 of them."""

from __future__ import annotations

import numpy as np

from tfprune.masks.coresets.points import check_points, hull

_EXACT = 1e-12  # of what is left of a target of length 1


def combination(points: np.ndarray, target: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Write a point of the convex hull as a mean of at most r + 1 points.

        sum_i a_i p_i = target,  a >= 0,  sum a = 1,  r the dimension of the affine hull

    Solved as non-negative least squares with an active set, whose columns are independent.

    Args:
        points: [n, d].
        target: [d].

    Returns:
        Indices of the points, ascending, and their weights, all above 0.

    Raises:
        ValueError: the target is not in the convex hull, within 1e-9 of the size of the cloud.

    Example:
        >>> triangle = np.array([[0.0, 0], [4, 0], [0, 4], [1, 1]])
        >>> combination(triangle, np.array([3.0, 0]))
        (array([0, 1]), array([0.25, 0.75]))
    """
    points = check_points(points)
    target = np.asarray(target, np.float64)
    if target.shape != points.shape[1:]:
        raise ValueError(f"target has shape {target.shape}; expected {points.shape[1:]}")
    flat = hull(points)
    offset = target - flat.mean
    outside = np.linalg.norm(offset - flat.basis @ (offset @ flat.basis))
    size = np.abs(points - flat.mean).max() + np.abs(flat.mean).max()
    if outside > 1e-9 * size:
        raise ValueError(f"target is {outside:.3g} away from the affine hull of the points")
    return solve(lift(flat.coordinates(points)), np.append(flat.coordinates(target), 1.0))


def reduce_support(points: np.ndarray, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Keep at most r + 1 points of a weighted set, with new weights and the same mean.

    Args:
        points: [n, d].
        weights: [n], >= 0, of sum 1.

    Returns:
        Indices, ascending, and their weights, all above 0 and of sum 1.

    Raises:
        ValueError: weights that are negative or do not sum to 1, or shapes that do not fit.

    Paper: C. Carathéodory, 'Über den Variabilitätsbereich der Fourierschen Konstanten',
    Rend. Circ. Mat. Palermo 32, 1911.

    Example:
        >>> line = np.array([[0.0], [1], [2], [3], [4]])
        >>> index, weights = reduce_support(line, np.full(5, 0.2))
        >>> len(index), round(float(weights @ line[index, 0]), 9)
        (2, 2.0)
    """
    points = check_points(points)
    weights = np.asarray(weights, np.float64)
    if weights.shape != (len(points),) or not (weights >= 0).all():
        raise ValueError(f"weights of shape {weights.shape}; expected {len(points)} numbers >= 0")
    if abs(weights.sum() - 1) > 1e-9:
        raise ValueError(f"weights sum to {weights.sum()}; expected 1")
    return reduce_moments(lift(hull(points).coordinates(points)), weights)


def lift(points: np.ndarray) -> np.ndarray:
    """Append a column of ones, so that sums with weights include the sum of the weights."""
    return np.column_stack([points, np.ones(len(points))])


def reduce_moments(
    moments: np.ndarray, weights: np.ndarray, gain: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Keep as few rows as there are columns, at most, with the same weighted sum of rows.

    Args:
        moments: [n, m], of columns of like size, one of them constant.
        weights: [n], >= 0.
        gain: [n]; sum_i weights_i gain_i does not fall either. None for no such wish.

    Returns:
        Indices, ascending, and their weights, all above 0.
    """
    total = weights @ moments
    kept, values = np.zeros(0, int), np.zeros(0)
    used = np.flatnonzero(weights)
    batch = moments.shape[1] + 1
    for begin in range(0, len(used), batch):
        kept = np.append(kept, used[begin : begin + batch])
        values = np.append(values, weights[used[begin : begin + batch]])
        left = _eliminate(moments[kept], values, None if gain is None else gain[kept])
        kept, values = kept[left > 0], left[left > 0]
    polished = (
        values + np.linalg.lstsq(moments[kept].T, total - values @ moments[kept], rcond=None)[0]
    )
    return kept, np.where(polished > 0, polished, values)


def _eliminate(moments, weights, gain):
    """Move the weights along null vectors of the moments, to one zero after the other."""
    left, values, _ = np.linalg.svd(moments)
    rank = np.count_nonzero(values > 1e-11 * values[0])
    null = left[:, rank:]
    weights = weights.copy()
    while null.shape[1]:
        way = null[:, 0]
        if way.max() <= 0 or (gain is not None and way @ gain > 0):
            way = -way
        if way.max() <= 0:
            # Rounding of a constant column; else a null vector sums to 0 and has both signs.
            null = null[:, 1:]
            continue
        falls = way > 1e-14
        steps = np.full(len(weights), np.inf)
        steps[falls] = weights[falls] / way[falls]
        gone = steps.argmin()
        weights = np.maximum(weights - steps[gone] * way, 0)
        weights[gone] = 0
        # A reflection of the other null vectors, after which all but one are 0 at `gone`.
        mirror = null[gone].copy()
        mirror[0] += np.copysign(np.linalg.norm(mirror), mirror[0])
        null = null - np.outer(null @ mirror, mirror * (2 / (mirror @ mirror)))
        null = null[:, 1:]
        null[gone] = 0
    return weights


def solve(columns: np.ndarray, target: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Find a >= 0 with a @ columns = target, few of them above 0: Lawson and Hanson's NNLS.

    Args:
        columns: [n, m]; each row is a point with a 1 appended, in coordinates of like size.
        target: [m], a mean of the points with a 1 appended.

    Returns:
        Indices, ascending, and their weights; at most m.

    Raises:
        ValueError: there is no such a, within 1e-9.
    """
    size = np.linalg.norm(target)
    passive, values = np.zeros(0, int), np.zeros(0)
    left = target
    banned = np.zeros(0, int)
    for _ in range(60 * len(target)):
        if np.linalg.norm(left) <= _EXACT * size:
            break
        slope = columns @ left
        slope[passive] = -np.inf
        slope[banned] = -np.inf
        best = slope.argmax()
        if slope[best] <= 1e-14 * size:
            break
        trial, values_trial = np.append(passive, best), np.append(values, 0.0)
        trial, values_trial = _descend(columns, target, trial, values_trial)
        if best not in trial:
            banned = np.append(banned, best)  # rounding: a column that is of no use
            continue
        passive, values, banned = trial, values_trial, banned[:0]
        left = target - values @ columns[passive]
    if np.linalg.norm(left) > 1e-9 * size:
        raise ValueError(
            "target is outside of the convex hull of the points, by about "
            f"{np.linalg.norm(left):.3g} of the hull's size"
        )
    order = passive.argsort()
    return passive[order], values[order]


def _descend(columns, target, passive, values):
    """The least squares solution on the passive columns, or where the way there leaves a >= 0."""
    while True:
        ideal = np.linalg.lstsq(columns[passive].T, target, rcond=None)[0]
        if (ideal > 0).all():
            return passive, ideal
        falls = ideal <= 0
        ratios = np.full(len(passive), np.inf)
        ratios[falls] = values[falls] / (values[falls] - ideal[falls])
        step = ratios.min()
        values = values + step * (ideal - values)
        stays = (values > 1e-15) & (ratios > step)
        if not stays.any():
            return passive[:0], values[:0]
        passive, values = passive[stays], values[stays]
