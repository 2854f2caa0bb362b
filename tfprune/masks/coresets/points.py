# SPDX-License-Identifier: Apache-2.0
"""Neurons as points, and the affine subspace that a cloud of points lies in."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

_BLOCKS, _EXTRA = 8, 8  # of the Krylov space: how many, and how much wider than what is wanted
_NARROW = 32
_THIN = 1e-7  # about the root of what float64 can tell apart, as squares are decomposed


def points(incoming: np.ndarray, bias: np.ndarray | None, outgoing_max: np.ndarray) -> np.ndarray:
    """The points of a layer's neurons: incoming weights and bias, times the importance.

        p_j = w_j [a_j, b_j]

    For activations with phi(t x) = t phi(x), t >= 0, such as ReLU, the factor w_j may stand inside.

    Args:
        incoming: weights into each neuron [n, d_in]; of a filter, its flattened kernel. Fold
            BatchNorm first.
        bias: [n], or None if the layer has none; then the points have no column for it.
        outgoing_max: w_j = max |v| over all weights v that leave neuron j [n].

    Returns:
        float64 [n, d_in + 1], or [n, d_in] without bias.

    Raises:
        ValueError: shapes that do not fit, numbers that are not finite, a negative importance.

    Example:
        >>> points(np.array([[1, 2], [3, 4]]), np.array([5, 6]), np.array([1, 0.5])).tolist()
        [[1.0, 2.0, 5.0], [1.5, 2.0, 3.0]]
    """
    rows = check_points(incoming)
    columns = [rows] if bias is None else [rows, _per_neuron("bias", bias, len(rows))[:, None]]
    importance = _per_neuron("outgoing_max", outgoing_max, len(rows))
    if (importance < 0).any():
        raise ValueError(f"outgoing_max holds {importance.min()}; expected maxima of |weight|")
    return check_points(np.concatenate(columns, axis=1) * importance[:, None])


def check_points(points: np.ndarray) -> np.ndarray:
    """Return the points as float64 [n, d]; refuse an empty cloud and what is not finite."""
    rows = np.asarray(points, np.float64)
    if rows.ndim != 2 or 0 in rows.shape:
        raise ValueError(f"points have shape {rows.shape}; expected [n, d], one row per point")
    if not np.isfinite(rows).all():
        bad = np.flatnonzero(~np.isfinite(rows).all(axis=1))
        raise ValueError(f"points {bad[:5].tolist()} are not finite; repair the weights first")
    return rows


def _per_neuron(name, values, count):
    values = np.asarray(values, np.float64)
    if values.shape != (count,):
        raise ValueError(f"{name} has shape {values.shape}; expected one per neuron, ({count},)")
    if not np.isfinite(values).all():
        raise ValueError(f"{name} is not finite; repair the weights first")
    return values


@dataclass(frozen=True, eq=False)
class Hull:
    """The affine hull { mean + basis z } of a cloud, of dimension r, or the best part of it.

    Attributes:
        mean: of the points [d].
        basis: orthonormal columns [d, r], the widest direction first. Of both signs, the one
            whose largest entry is positive, so that the order of the points does not matter.
        spread: standard deviation of the points along each column [r].
        share: fraction of the variance that lies inside.
    """

    mean: np.ndarray
    basis: np.ndarray
    spread: np.ndarray
    share: float

    def coordinates(self, points: np.ndarray) -> np.ndarray:
        """Coordinates [n, r] in which the cloud has mean 0 and variance 1."""
        return (points - self.mean) @ self.basis / self.spread


def hull(points: np.ndarray, dimension: int | None = None) -> Hull:
    """The affine hull of the points, or the best one of `dimension` dimensions.

    Directions along which the cloud is as thin as the rounding of its numbers are none; in the
    second case, in more than 32 dimensions, those along which it has 1e-7 of its largest extent.

    Args:
        points: [n, d].
        dimension: the most dimensions to keep; None for all that the points have.

    Example:
        >>> hull(np.array([[0.0, 1], [2, 1], [4, 1]])).basis.tolist()
        [[1.0], [0.0]]
    """
    mean = points.mean(axis=0)
    centred = points - mean
    rounding = max(points.shape) * np.finfo(np.float64).eps * np.linalg.norm(points)
    if dimension is None or min(points.shape) <= _NARROW:
        _, values, rows = np.linalg.svd(centred, full_matrices=False)
    else:
        values, rows = _widest(centred, dimension)
        rounding = max(rounding, _THIN * values.max(initial=0))
    kept = rank = int(np.count_nonzero(values > rounding))
    if dimension is not None:
        kept = min(rank, dimension)
    rows = rows[:kept]
    signs = np.sign(rows[np.arange(kept), np.abs(rows).argmax(axis=1)])
    share = 1.0 if kept == rank else np.sum(values[:kept] ** 2) / np.linalg.norm(centred) ** 2
    return Hull(
        mean=mean,
        basis=(signs[:, None] * rows).T,
        spread=values[:kept] / len(points) ** 0.5,
        share=float(share),
    )


def _widest(centred, dimension):
    """The first singular values, one more than `dimension`, and right singular vectors.

    They are found in a block Krylov space, in which a cloud of lower rank lies as a whole. Its
    start is random in the space of the coordinates, so that the order of the points does not
    matter. Products of few large matrices only: LAPACK's own decompositions make thousands of
    small steps, each of which has to wait for all threads when cores are busy.
    """
    wide = centred if len(centred) <= centred.shape[1] else centred.T
    short, block = len(wide), dimension + _EXTRA
    inside = wide
    krylov = np.eye(short)
    if block * _BLOCKS < short:
        start = np.random.default_rng(0).standard_normal((centred.shape[1], block))
        start = wide @ (start if wide is centred else wide.T @ start)
        krylov = np.zeros((short, 0))
        for _ in range(_BLOCKS):
            krylov = np.column_stack([krylov, _orthonormal(start, krylov)])
            start = wide @ (wide.T @ krylov[:, -block:])
        inside = krylov.T @ wide
    squares, axes = np.linalg.eigh(inside @ inside.T)
    first = np.argsort(-squares, kind="stable")[: dimension + 1]
    values = np.sqrt(np.maximum(squares[first], 0))
    if wide is not centred:
        return values, (krylov @ axes[:, first]).T
    rows = axes[:, first].T @ inside
    return values, np.linalg.qr(rows.T)[0].T


def _orthonormal(columns, others):
    """An orthonormal basis of what the columns add to the span of the others, up to rounding."""
    least = (_THIN * np.linalg.norm(columns)) ** 2
    for _ in range(2):  # twice is enough to be orthogonal
        columns = columns - others @ (others.T @ columns)
        squares, axes = np.linalg.eigh(columns.T @ columns)
        used = squares > least
        columns = columns @ axes[:, used] / np.sqrt(squares[used])
        least = 0.0
    return columns


def project(points: np.ndarray, dimension: int) -> tuple[np.ndarray, Hull]:
    """Project the points on their best affine subspace of `dimension` dimensions.

    What is returned lives in the linear span of that subspace, in orthonormal coordinates: inner
    products with queries, and the place of the origin, are those of the projected points.

    Args:
        points: [n, d].
        dimension: the most dimensions to keep. A cloud of no more keeps its geometry exactly.

    Returns:
        Coordinates [n, r + 1], of which the last is the distance of the origin from the subspace,
        the same for all points; and the subspace.
    """
    flat = hull(points, dimension)
    inside = flat.mean @ flat.basis
    outside = float(np.linalg.norm(flat.mean - flat.basis @ inside))
    if outside <= 1e-12 * np.linalg.norm(points):  # rounding: the origin is in the subspace
        outside = 0.0
    rows = np.full((len(points), len(inside) + 1), outside)
    rows[:, :-1] = (points - flat.mean) @ flat.basis + inside
    return rows, flat
