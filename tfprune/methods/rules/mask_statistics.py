# SPDX-License-Identifier: Apache-2.0
"""Statistics of learned masks: how certain they are, and how much they differ from row to row.

The paper on dynamic probabilistic pruning speaks of confidence and of pruning diversity; the
formulas here are this project's own, made to fit these words. `PruningCallback.report` notes both
for every weight that `dpp` prunes.
"""

from __future__ import annotations

from typing import Any

import numpy as np


def confidence(logits: Any) -> float:
    """How certain the choices of a layer are: 0 for equal chances, 1 for certain ones.

        mean over the rows of 1 - H(p) / ln n,  p = softmax(row)

    This project's own definition.

    Args:
        logits: [rows, n], an array.

    Raises:
        ValueError: not of two axes, or a single candidate.

    Example:
        >>> confidence([[0., 0.]]), round(confidence([[2., 1., 0., -1.]]), 6)
        (0.0, 0.316497)
    """
    chances = _chances(logits)
    return _clipped(1 - _entropy(chances).mean() / np.log(chances.shape[1]))


def diversity(logits: Any) -> float:
    """How much the rows of a layer differ: the information that a row gives about its choice.

        (H(mean over the rows of p) - mean over the rows of H(p)) / ln n,  p = softmax(row)

    The Jensen-Shannon divergence of the rows. 0: all rows are alike; at most ln(min(n, rows)) /
    ln n, where they are certain and all different. This project's own definition.

    Args, Raises: as for `confidence`.

    Example:
        >>> round(diversity([[9., -9.], [-9., 9.]]), 4), diversity([[9., -9.], [9., -9.]])
        (1.0, 0.0)
    """
    chances = _chances(logits)
    whole = _entropy(chances.mean(axis=0, keepdims=True))[0]
    return _clipped((whole - _entropy(chances).mean()) / np.log(chances.shape[1]))


def _chances(logits: Any) -> np.ndarray:
    logits = np.asarray(logits, np.float64)
    if logits.ndim != 2 or logits.shape[1] < 2:
        raise ValueError(
            f"logits of shape {logits.shape}: expected [rows, n] with at least 2 candidates a row."
        )
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)


def _entropy(chances: np.ndarray) -> np.ndarray:
    logs = np.log(chances, out=np.zeros_like(chances), where=chances > 0)
    return -(chances * logs).sum(axis=1)


def _clipped(value: float) -> float:
    """Within [0, 1], where rounding may leave it."""
    return float(min(max(value, 0.0), 1.0))
