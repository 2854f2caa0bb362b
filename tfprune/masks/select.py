# SPDX-License-Identifier: Apache-2.0
"""Scores and an integer count to a mask: the only place where a mask is chosen.

Floats are compared as integers: for numbers from 0 to infinity the bits already have the order of
the numbers. NumPy chooses, for tensors too; where XLA compiles, and in graphs of files, operations
of TensorFlow give the same masks.
"""

from __future__ import annotations

from typing import Any, Sequence

import numpy as np

from tfprune.masks.array_namespace import is_tensor, tf
from tfprune.masks.select_numpy import select_array, select_joint_arrays
from tfprune.masks.select_tf import select_joint_tensor, select_tensor


def select(scores: Any, keep: Any, *, magnitude: bool = False) -> Any:
    """Keep the `keep` highest scores of each row, ties by the lower index.

    mask[i] = [ #{j : s_j > s_i} + #{j < i : s_j = s_i} < keep ]

    Args:
        scores: floating array or tensor [..., groups]; rows lie along the last axis. 0.0 and -0.0
            are equal, -inf is allowed, NaN is lower than everything else.
        keep: how many to keep per row: an integer, a scalar integer tensor, or one integer per
            row. More than `groups` keeps all.
        magnitude: rank |scores|, without making an array of them.

    Returns:
        A boolean mask of the shape of `scores`, an array for an array, a tensor for a tensor,
        with exactly min(keep, groups) True per row. A smaller `keep` gives a subset.

    Raises:
        TypeError: scores are not floating, or keep is not an integer.
        ValueError: scores have no axis, or keep is negative or of the wrong shape.

    >>> import numpy as np
    >>> select(np.array([0.5, 2.0, 0.5, 1.0]), 3)
    array([ True,  True, False,  True])
    """
    if is_tensor(scores) or is_tensor(keep):
        return select_tensor(scores, keep, magnitude)
    return select_array(scores, keep, magnitude)


def select_joint(parts: Sequence[Any], keep: Any, *, magnitude: bool = False) -> list[Any]:
    """Keep the `keep` highest scores of several rows, chosen from as if they were one row.

    Args:
        parts: arrays or tensors of scores [groups], all of one dtype. Ties: the earlier part, then
            the lower index.
        keep: how many to keep in all: an integer or a scalar integer tensor.
        magnitude: rank |scores|, without making arrays of them.

    Returns:
        Their masks. The scores are not put together, which would take their memory once more.

    Raises:
        TypeError, ValueError: as `select`.

    >>> import numpy as np
    >>> [mask.tolist() for mask in select_joint([np.array([1.0, 3.0]), np.array([2.0])], 2)]
    [[False, True], [True]]
    """
    if is_tensor(list(parts)) or is_tensor(keep):
        return select_joint_tensor(list(parts), keep, magnitude)
    return select_joint_arrays(list(parts), keep, magnitude)


def threshold(scores: Any, mask: Any) -> Any:
    """Return the smallest kept score, min { s_i : mask_i }, a scalar; +inf if none is kept.

    Args:
        scores: array or tensor of any shape.
        mask: boolean mask of the same shape.

    >>> import numpy as np
    >>> float(threshold(np.array([0.5, 2.0]), np.array([False, True])))
    2.0
    """
    if is_tensor(scores):
        infinity = tf.constant(np.inf, scores.dtype)
        return tf.reduce_min(tf.where(mask, scores, infinity))
    scores = np.asarray(scores)
    return np.min(np.where(mask, scores, scores.dtype.type(np.inf)))
