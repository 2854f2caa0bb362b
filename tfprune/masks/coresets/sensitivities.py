# SPDX-License-Identifier: Apache-2.0
"""Shares of the sum of all neurons that one neuron can be, by peeling L-infinity coresets."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tfprune.masks.coresets.linf_coreset import Coreset, check_variant, linf_coreset
from tfprune.masks.coresets.points import check_points, project

_WIDEST = 16


@dataclass(frozen=True, eq=False)
class Sensitivities:
    """Bounds of sensitivities, and what they rest on.

    Attributes:
        values: s_j [n]: |x'p_j| <= s_j sum_i |x'p_i| for every query x and the projected points.
            Bounds may be above 1; what counts for sampling are their ratios.
        rounds: the L-infinity coresets that were peeled off.
        alpha: their guarantee: s_j = alpha / i for the points of round i.
        dimension: r of the projected points.
        variance: the share of the points' variance that the projection keeps; at 1 the bounds
            hold for the points themselves.
        centring: lambda of each round's coreset.
        relu: whether the round's coreset has a guarantee for ReLU, too. Where one has not, the
            bounds hold for |x'p| only.
    """

    values: np.ndarray
    rounds: int
    alpha: float
    dimension: int
    variance: float
    centring: tuple[float, ...]
    relu: tuple[bool, ...]


def default_dimension(count: int) -> int:
    """How many dimensions to keep of so many points: sqrt(n / 8), 2 to 16.

    In more, hardly any round is left to peel: all points would be equally important.

    Example:
        >>> default_dimension(512)
        8
    """
    return min(max(2, int((count / 8) ** 0.5)), _WIDEST)


def sensitivities(
    points: np.ndarray,
    variant: str = "lowner_contact",
    *,
    dimension: int | None = None,
    tol: float = 1e-4,
    seed: int = 0,
) -> Sensitivities:
    """Peel L-infinity coresets off: the points of round i = 1, 2, ... have s_j = alpha / i.

    A point of round i is in the set of that round and of all before, whose coresets S are
    disjoint, so i times |x'p_j| <= sum over rounds of alpha max_S |x'q| <= alpha sum |x'p|.

    | variant | alpha | rounds go on while at least so many points are left |
    |---|---|---|
    | `lowner_contact` | 1 + r | r (r + 3) / 2 + 1 |
    | `lowner_caratheodory` | 2 r^1.5 | 2 r^2 |

    What is left then has the index of the next round. What is left as copies of one point counts
    as one round for each, the last for all of them.

    Args:
        points: [n, d], from `points`.
        variant: the L-infinity coreset.
        dimension: the points are projected on their best affine subspace of at most so many
            dimensions; None for `default_dimension`.
        tol: of the Löwner ellipsoids.
        seed: of their starts.

    Returns:
        Sensitivities.

    Raises:
        ValueError: points that are not a finite [n, d], an unknown variant, a dimension below 1.

    Paper: M. Tukan, L. Mualem, A. Maalouf, 'Pruning Neural Networks via Coresets and Convex
    Geometry', NeurIPS 2022, arXiv 2209.08554.

    Example:
        >>> cross = np.array([[2.0, 0], [-2, 0], [0, 2], [0, -2], [1, 0], [0, 1], [0, -1]])
        >>> sensitivities(cross).values.tolist()
        [3.0, 3.0, 3.0, 3.0, 1.5, 1.5, 1.5]
    """
    points = check_points(points)
    check_variant(variant)
    if dimension is None:
        dimension = default_dimension(len(points))
    if dimension < 1:
        raise ValueError(f"dimension is {dimension}; expected 1 or more")
    cloud, flat = project(points, dimension)
    rank = flat.basis.shape[1]
    if variant == "lowner_contact":
        alpha, enough = 1.0 + rank, rank * (rank + 3) // 2 + 1
    else:
        alpha, enough = max(2 * rank**1.5, 1.0), 2 * rank**2
    values = np.zeros(len(points))
    left = np.arange(len(points))
    found: list[Coreset] = []
    copies = 0
    while len(left) >= max(enough, 1):
        coreset = linf_coreset(cloud[left], variant, tol=tol, seed=seed)
        if coreset.dimension == 0:
            copies = len(left) - 1
            break
        values[left[coreset.indices]] = alpha / (len(found) + 1)
        left = np.delete(left, coreset.indices)
        found.append(coreset)
    values[left] = alpha / (len(found) + 1 + copies)
    return Sensitivities(
        values=values,
        rounds=len(found),
        alpha=alpha,
        dimension=rank,
        variance=flat.share,
        centring=tuple(coreset.centring for coreset in found),
        relu=tuple(coreset.alpha_relu is not None for coreset in found),
    )
