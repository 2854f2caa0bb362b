# SPDX-License-Identifier: Apache-2.0
"""Functional distance: equal predictions and the l2 distance of two networks on the same inputs."""

from __future__ import annotations

import numpy as np

from tfprune.evaluation.measures import classes_of

_TOGETHER = 1 << 20  # numbers looked at in one piece


def agreement(a: np.ndarray, b: np.ndarray) -> float:
    """The fraction of examples on which two networks predict the same class.

    A row with NaN agrees with nothing. How far two dense networks agree that were trained apart is
    the yardstick.

    Args:
        a, b: probabilities [n, classes] of the two networks on the same inputs.

    Returns:
        From 0 to 1; nan without examples.

    Raises:
        ValueError: shapes that differ, or are no probabilities of classes.

    Paper: L. Liebenwein, C. Baykal, B. Carter, D. Gifford, D. Rus, 'Lost in Pruning: The Effects
    of Pruning Neural Networks beyond Test Accuracy', MLSys 2021, arXiv 2103.03014.

    Example:
        >>> agreement(np.array([[0.6, 0.4], [0.2, 0.8]]), np.array([[0.7, 0.3], [0.9, 0.1]]))
        0.5
    """
    a, b = _same(a, b)
    first = classes_of(a)
    return float(((first == classes_of(b)) & (first >= 0)).mean()) if len(a) else float("nan")


def distance(a: np.ndarray, b: np.ndarray) -> float:
    """The mean l2 distance of two networks' outputs for the same input.

        mean_x || a(x) - b(x) ||_2

    Args:
        a, b: [n, ...]: probabilities, as in the paper, or outputs of any shape; all axes beyond
            the first are one vector.

    Returns:
        At least 0; nan without examples, or with NaN in a network's outputs.

    Raises:
        ValueError: shapes that differ.

    Paper: L. Liebenwein et al., 'Lost in Pruning', MLSys 2021, arXiv 2103.03014.

    Example:
        >>> distance(np.array([[1.0, 0.0], [0.5, 0.5]]), np.array([[0.2, 0.6], [0.5, 0.5]]))
        0.5
    """
    a, b = _same(a, b)
    if not len(a):
        return float("nan")
    lengths = np.empty(len(a))
    rows = max(1, _TOGETHER // max(a[0].size, 1))
    for start in range(0, len(a), rows):
        part = slice(start, start + rows)
        difference = np.asarray(a[part], np.float64) - b[part]
        lengths[part] = np.linalg.norm(difference.reshape(len(difference), -1), axis=1)
    return float(lengths.mean())


def _same(a: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    a, b = np.asanyarray(a), np.asanyarray(b)
    if a.shape != b.shape or not a.ndim:
        raise ValueError(
            f"outputs of shapes {a.shape} and {b.shape}: expected two networks' "
            "outputs for the same inputs, [n, ...] both."
        )
    return a, b
