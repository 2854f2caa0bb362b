# SPDX-License-Identifier: Apache-2.0
"""Labels as users have them: class numbers, columns of them, or one-hot."""

from __future__ import annotations

from typing import Any

import numpy as np


def classes(labels: Any) -> tuple[Any, tuple[str, ...]]:
    """Labels with class numbers where they are one-hot, and what was assumed.

    Args:
        labels: an array [examples, ...]; several in a list or dict stay as they are.
    Returns:
        int64 [examples] for classes, else what was given.

    Example:
        >>> classes(np.array([[0, 1, 0], [1, 0, 0]]))
        (array([1, 0]), ('one-hot labels are taken for 3 classes',))
        >>> classes(np.array([[2], [0]]))
        (array([2, 0]), ())
    """
    if isinstance(labels, (dict, list)):
        return labels, ()
    if labels.dtype.kind not in "fiub":
        raise TypeError(
            f"data: the labels have type {labels.dtype}; expected numbers: classes "
            "from 0 on, one-hot rows, or what metric= takes."
        )
    if labels.dtype.kind == "f" and np.isnan(labels).any():
        raise ValueError(
            f"data: {np.isnan(labels).sum()} labels are NaN; leave these examples out."
        )
    if labels.ndim == 2 and labels.shape[1] > 1 and _is_one_hot(labels):
        said = f"one-hot labels are taken for {labels.shape[1]} classes"
        return labels.argmax(axis=1).astype(np.int64), (said,)
    if labels.ndim == 2 and labels.shape[1] == 1 and labels.dtype.kind in "iub":
        labels = labels[:, 0]
    whole = labels.ndim == 1 and labels.dtype.kind in "iub"
    return labels.astype(np.int64) if whole else labels, ()


def _is_one_hot(labels: np.ndarray) -> bool:
    ones = labels == 1
    return bool((ones.sum(axis=1) == 1).all() and ((labels == 0) | ones).all())
