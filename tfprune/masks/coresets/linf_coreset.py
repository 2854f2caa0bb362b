# SPDX-License-Identifier: Apache-2.0
"""L-infinity coresets: few points that no linear query sees much smaller than all points.

    max_P |x'p| <= alpha max_S |x'q|   for all x

Both variants begin with the Löwner ellipsoid. Let its weights u have mean c, and let all points be
within h, and S reach at least l, of c along some direction (in units in which the weighted
variance is 1 along every direction). As S has points on both sides of c, it sees |x'c| + l where
no point sees more than |x'c| + h, so alpha = max(1, h / l) is enough.

With eta = 1 + gap of the ellipsoid, h = sqrt(r eta), and the contact points reach l >= 1 / h: a
variable of mean 0 and variance 1 that is nowhere below -h is somewhere at least 1 / h. This holds
for every u, whether optimal or not.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tfprune.masks.coresets.caratheodory import lift, reduce_moments, solve
from tfprune.masks.coresets.ellipsoid import Ellipsoid, lowner

VARIANTS = ("lowner_contact", "lowner_caratheodory")


@dataclass(frozen=True, eq=False)
class Coreset:
    """A subset S of the points P and what is guaranteed for it.

    Attributes:
        indices: of S, ascending.
        alpha: max_P |x'p| <= alpha max_S |x'q| for all x.
        dimension: r of the affine hull of P.
        centring: lambda, the least factor with which the Löwner ellipsoid, shrunk into the hull of
            S or of P by r, contains the origin; inf if the origin is outside of the affine hull.
        alpha_relu: max_P relu(x'p) <= alpha_relu max_S relu(x'q) for all x, or None if lambda is
            too large for such a guarantee: then a query may see a point of P and none of S.
    """

    indices: np.ndarray
    alpha: float
    dimension: int
    centring: float
    alpha_relu: float | None


def linf_coreset(
    points: np.ndarray, variant: str = "lowner_contact", *, tol: float = 1e-4, seed: int = 0
) -> Coreset:
    """The L-infinity coreset of the points, by one of two ways.

    `lowner_contact`: the contact points of the Löwner ellipsoid. By F. John's theorem their hull
    contains the ellipsoid shrunk by r; alpha = r (1 + tol), at most r (r + 3) / 2 points.

    `lowner_caratheodory`: the 2 r ends of the axes of the shrunk ellipsoid, each written as a mean
    of at most r + 1 points; alpha = r^1.5 (1 + tol), at most 2 r (r + 1) points.

    With ReLU, `lowner_contact` needs lambda < 1 and has alpha_relu = (r (1 + tol) - lambda) /
    (1 - lambda); the other needs lambda < s = 1 / sqrt(r), and has s in the place of the last 1.

    Args:
        points: [n, d].
        variant: one of VARIANTS.
        tol: of the ellipsoid; where the ellipsoid is better, so is alpha.
        seed: of the start of the ellipsoid.

    Returns:
        A Coreset.

    Raises:
        ValueError: an unknown variant, points that are not a finite [n, d], tol out of range.

    Paper: M. Tukan, L. Mualem, A. Maalouf, 'Pruning Neural Networks via Coresets and Convex
    Geometry', NeurIPS 2022, arXiv 2209.08554. Contact points: F. John, 'Extremum problems with
    inequalities as subsidiary conditions', 1948.

    Example:
        >>> square = np.array([[1.0, 1], [-1, 1], [1, -1], [-1, -1], [0.5, 0.5]])
        >>> linf_coreset(square).indices.tolist()
        [0, 1, 2, 3]
    """
    check_variant(variant)
    ellipsoid = lowner(points, tol=tol, seed=seed)
    rank = ellipsoid.dimension
    if rank == 0:  # one point, perhaps many times
        return Coreset(np.zeros(1, int), 1.0, 0, 0.0, 1.0)
    ratio = rank * (1 + ellipsoid.gap)
    if variant == "lowner_contact":
        indices, reach = _contact(points, ellipsoid), 1.0
    else:
        indices, reach = _supports(points, ellipsoid), rank**-0.5
    origin = np.zeros((1, len(ellipsoid.centre)))
    centring = float(ellipsoid.norms(origin)[0]) * (rank * ratio) ** 0.5
    return Coreset(
        indices=indices,
        alpha=max(ratio / reach, 1.0),
        dimension=rank,
        centring=centring,
        alpha_relu=(ratio - centring) / (reach - centring) if centring < reach else None,
    )


def check_variant(variant: str) -> None:
    """Refuse a name that is not in VARIANTS."""
    if variant not in VARIANTS:
        raise ValueError(f"no variant {variant!r}; there are {', '.join(VARIANTS)}")


def _contact(points, ellipsoid: Ellipsoid):
    """The points with weight, made r (r + 3) / 2 at most.

    Weights that keep the mean and the traceless part of the covariance change the covariance by a
    factor only. As the trace must not fall, the factor is at least 1, and the reach does not fall.
    """
    used = np.flatnonzero(ellipsoid.weights)
    rank = ellipsoid.dimension
    if len(used) <= rank * (rank + 3) // 2:
        return used
    places = ellipsoid.whiten(np.asarray(points, np.float64)[used])
    squares = np.sum(places**2, axis=1)
    rows, columns = np.triu_indices(rank)
    products = places[:, rows] * places[:, columns]
    products[:, rows == columns] -= squares[:, None] / rank
    # The last diagonal entry is minus the sum of the others.
    moments = lift(np.column_stack([places, products[:, :-1]]))
    return used[reduce_moments(moments, ellipsoid.weights[used], gain=squares)[0]]


def _supports(points, ellipsoid: Ellipsoid):
    """Points whose hull contains the ends of the axes of the shrunk ellipsoid."""
    rank = ellipsoid.dimension
    places = lift(ellipsoid.whiten(points))
    ends = np.eye(rank) / (rank * (1 + ellipsoid.gap)) ** 0.5
    return np.unique(
        np.concatenate(
            [solve(places, np.append(end, 1.0))[0] for end in np.concatenate([ends, -ends])]
        )
    )
