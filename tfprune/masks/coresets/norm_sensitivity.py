# SPDX-License-Identifier: Apache-2.0
"""Sensitivities from norms alone: the additive coreset of neurons that came before."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from tfprune.masks.coresets.points import check_points


def relu(values: np.ndarray) -> np.ndarray:
    """max(x, 0)."""
    return np.maximum(values, 0)


def mussay_sensitivities(
    points: np.ndarray,
    importance: np.ndarray | None = None,
    *,
    phi: Callable[[np.ndarray], np.ndarray] = relu,
    beta: float = 1.0,
) -> np.ndarray:
    """s_j = w_j |phi(beta ||p_j||)|, for phi that is monotone and not negative.

    Sampling with them keeps, for every query x with ||x|| <= beta,
    | sum w phi(x'p) - sum u w phi(x'p) | <= eps sum w phi(beta ||p||): an additive error.

    Args:
        points: [n, d], the weights and bias of each neuron, not scaled by the importance.
        importance: w_j >= 0 [n]; None for 1, right for points that are scaled by it already
            when phi is ReLU.
        phi: the activation, on arrays.
        beta: the bound on the norm of the layer's input, with the 1 that the bias multiplies.

    Returns:
        [n].

    Raises:
        ValueError: shapes that do not fit, numbers that are not finite, beta <= 0.

    Paper: B. Mussay, M. Osadchy, V. Braverman, S. Zhou, D. Feldman, 'Data-Independent Neural
    Pruning via Coresets', ICLR 2020, arXiv 1907.04018.

    Example:
        >>> mussay_sensitivities(np.array([[3, 4], [0, 0], [0, 1]]), np.array([2, 9, 1])).tolist()
        [10.0, 0.0, 1.0]
    """
    points = check_points(points)
    if not (np.isfinite(beta) and beta > 0):
        raise ValueError(f"beta is {beta}; expected a bound on the norm of inputs, above 0")
    weights = np.ones(len(points)) if importance is None else np.asarray(importance, np.float64)
    if weights.shape != (len(points),) or not (weights >= 0).all():
        raise ValueError(
            f"importance of shape {weights.shape}; expected {len(points)} numbers >= 0"
        )
    values = weights * np.abs(phi(beta * np.linalg.norm(points, axis=1)))
    if not np.isfinite(values).all():
        raise ValueError("w |phi(beta ||p||)| is not finite; check importance, beta and phi")
    return values
