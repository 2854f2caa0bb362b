# SPDX-License-Identifier: Apache-2.0
"""The Löwner ellipsoid: the smallest ellipsoid around a cloud of points."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tfprune.masks.coresets.points import Hull, check_points, hull

_REFRESH = 64  # steps until what rank-one updates have gathered in rounding is computed afresh
_STEPS = 200_000


@dataclass(frozen=True, eq=False)
class Ellipsoid:
    """{ centre + basis z : |root' z| <= 1 }, an ellipsoid in an affine subspace of dimension r.

    Attributes:
        centre: c [d].
        basis: orthonormal columns [d, r].
        root: [r, r], columns along the axes of the ellipsoid, of 1 by the length of the half axis.
        weights: u, one per point [n], >= 0, of sum 1. With them, c is the mean of the points and
            (r shape)^-1 their covariance; the points with u > 0 are the contact points.
        gap: how far the farthest point is outside: its squared norm - 1, at least 0.
    """

    centre: np.ndarray
    basis: np.ndarray
    root: np.ndarray
    weights: np.ndarray
    gap: float

    @property
    def dimension(self) -> int:
        """r, 0 for a single point."""
        return self.basis.shape[1]

    @property
    def shape(self) -> np.ndarray:
        """E = root root' [r, r]: the ellipsoid is z' E z <= 1."""
        return self.root @ self.root.T

    def norms(self, points: np.ndarray) -> np.ndarray:
        """sqrt((p - c)' E (p - c)) of points [m, d]: 1 on the surface, inf off the subspace.

        Example:
            >>> ball = lowner(np.array([[1.0, 0], [-1, 0], [0, 1], [0, -1]]))
            >>> ball.norms(np.array([[0, 0], [3, 4]])).round(6).tolist()
            [0.0, 5.0]
        """
        offsets = np.asarray(points, np.float64) - self.centre
        inside = offsets @ self.basis
        distance = np.linalg.norm(offsets - inside @ self.basis.T, axis=1)
        # Rounding: a point this close to the subspace lies in it.
        longest = 1 / np.linalg.norm(self.root, axis=0).min() if self.dimension else 0
        near = 1e-9 * (np.linalg.norm(offsets, axis=1) + np.linalg.norm(self.centre) + longest)
        return np.where(distance <= near, np.linalg.norm(inside @ self.root, axis=1), np.inf)

    def whiten(self, points: np.ndarray) -> np.ndarray:
        """y [n, r] along the axes of the ellipsoid, |y|^2 = r (p - c)' E (p - c).

        With the weights, the points y have mean 0 and covariance 1.
        """
        inside = (np.asarray(points, np.float64) - self.centre) @ self.basis
        return inside @ self.root * self.dimension**0.5


def lowner(points: np.ndarray, *, tol: float = 1e-4, seed: int = 0) -> Ellipsoid:
    """The ellipsoid of least volume around the points, by Khachiyan's method with away steps.

        max log det sum_i u_i q_i q_i',  q_i = (p_i, 1),  u >= 0,  sum u = 1

    A step moves weight to the farthest point, or away from the nearest point that has some.

    Args:
        points: [n, d]. Of a cloud that lies in a lower affine subspace, the ellipsoid is the one
            of that subspace. Points may be repeated.
        tol: all points satisfy (p - c)' E (p - c) <= 1 + tol, and those with weight
            >= 1 - tol, too. 1e-10 to 0.5.
        seed: of the directions whose extreme points are the start.

    Returns:
        An Ellipsoid. `gap` is above `tol` only if rounding stops the method before.

    Raises:
        ValueError: points that are not a finite [n, d], or tol outside its range.

    Paper: M. Todd, E. Yildirim, 'On Khachiyan's algorithm for the computation of minimum volume
    enclosing ellipsoids', Discrete Applied Mathematics 155, 2007.

    Example:
        >>> cube = np.array([[x, y] for x in (-1.0, 1) for y in (-1.0, 1)])
        >>> (lowner(cube).shape.round(6) + 0.0).tolist()  # a circle of radius sqrt(2)
        [[0.5, 0.0], [0.0, 0.5]]
    """
    points = check_points(points)
    if not 1e-10 <= tol <= 0.5:
        raise ValueError(f"tol is {tol}; expected 1e-10 to 0.5")
    flat = hull(points)
    dimension = flat.basis.shape[1]
    if dimension == 0:
        weights = np.full(len(points), 1 / len(points))
        return Ellipsoid(points[0].copy(), flat.basis, np.zeros((0, 0)), weights, 0.0)
    cloud = flat.coordinates(points)
    weights = _khachiyan(cloud, _start(cloud, seed), dimension * tol)
    return _ellipsoid(flat, cloud, weights)


def _start(cloud, seed):
    """The extreme points along random directions, each orthogonal to what the last ones span."""
    dimension = cloud.shape[1]
    generator = np.random.default_rng(seed)
    spanned = np.zeros((dimension, 0))
    chosen = set()
    for _ in range(dimension):
        direction = generator.standard_normal(dimension)
        for _ in range(2):  # twice is enough to be orthogonal
            direction -= spanned @ (spanned.T @ direction)
        heights = cloud @ direction
        low, high = heights.argmin(), heights.argmax()
        chosen |= {int(low), int(high)}
        spanned = np.linalg.qr(np.column_stack([spanned, cloud[high] - cloud[low]]))[0]
    weights = np.zeros(len(cloud))
    weights[sorted(chosen)] = 1 / len(chosen)
    return weights


def _khachiyan(cloud, weights, slack):
    """Weights for which every M_i <= r + 1 + slack, and >= r + 1 - slack where there is weight.

    M_i = q_i' X^-1 q_i with X = sum_i u_i q_i q_i'; M_i - 1 is r times the squared norm of p_i.
    """
    lifted = np.column_stack([cloud, np.ones(len(cloud))])
    size = lifted.shape[1]
    age = _REFRESH
    active = np.arange(len(cloud))
    some = weights  # those of the active points
    for _ in range(_STEPS):
        if age >= _REFRESH:
            weights = np.zeros(len(cloud))
            weights[active] = some / some.sum()
            inverse, leverage = _fresh(lifted, weights)
            active = np.flatnonzero((weights > 0) | (leverage >= _least(leverage.max(), size)))
            part, some, leverage = lifted[active], weights[active], leverage[active]
            age = 0
        far = leverage.argmax()
        near = np.where(some > 0, leverage, np.inf).argmin()
        above, below = leverage[far] - size, size - leverage[near]
        if above <= slack and below <= slack:
            if age == 0:
                break
            age = _REFRESH  # only what was computed afresh is believed
            continue
        drop = False
        if above >= below:
            index, step = far, above / (size * (leverage[far] - 1))
        else:
            index, most = near, some[near] / (1 - some[near])
            ideal = size * (leverage[near] - 1)
            drop = below >= most * ideal
            step = -most if drop else -below / ideal
        column = inverse @ part[index]
        factor = step / (1 - step + step * leverage[index])
        inverse = (inverse - factor * column[:, None] * column) / (1 - step)
        leverage = (leverage - factor * (part @ column) ** 2) / (1 - step)
        some = some * (1 - step)
        some[index] = 0 if drop else some[index] + step
        age += 1
    weights = np.zeros(len(cloud))
    weights[active] = some / some.sum()
    return weights


def _least(highest, size):
    """The M_i that every contact point of the least ellipsoid has at least, by what max M is now.

    H = X^-1/2 X* X^-1/2 has tr H <= max M and tr H^-1 <= r + 1, which bounds its eigenvalues from
    below; R. Harman, L. Pronzato, Statistics and Probability Letters 77, 2007.
    """
    excess = max(highest - size, 0.0)
    root = np.sqrt(excess * (4 + excess - 4 / size)) / 2
    return size * (1 + excess / 2 - root) - 1e-9


def _fresh(lifted, weights):
    """(X^-1, M) from the weights."""
    used = np.flatnonzero(weights)
    root = np.linalg.qr(lifted[used] * np.sqrt(weights[used])[:, None], mode="r")
    inverse_root = np.linalg.inv(root)
    return inverse_root @ inverse_root.T, np.sum((lifted @ inverse_root) ** 2, axis=1)


def _ellipsoid(flat: Hull, cloud, weights):
    """From weights in the coordinates of the hull to the ellipsoid in those of the points."""
    dimension = cloud.shape[1]
    used = np.flatnonzero(weights)
    centre = weights[used] @ cloud[used]
    root = np.linalg.qr((cloud[used] - centre) * np.sqrt(weights[used])[:, None], mode="r")
    inverse_root = np.linalg.inv(root) / dimension**0.5
    norms = np.sum(((cloud - centre) @ inverse_root) ** 2, axis=1)
    axes, lengths, _ = np.linalg.svd(inverse_root / flat.spread[:, None])
    return Ellipsoid(
        centre=flat.mean + flat.basis @ (centre * flat.spread),
        basis=flat.basis,
        root=axes * lengths,
        weights=weights,
        gap=max(float(norms.max()) - 1, 0.0),
    )
