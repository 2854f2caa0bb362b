"""Scores and an integer count to a mask: the only place where a mask is chosen."""

from __future__ import annotations

from typing import Any

import numpy as np

from tfprune.arrays import is_tensor

_SHORT = 32  # rows up to this length are ranked by comparing all pairs
_FLOATS = {"float16": 16, "bfloat16": 16, "float32": 32, "float64": 64}


def select(scores: Any, keep: Any) -> Any:
    """Keep the `keep` highest scores of each row, ties by the lower index.

    mask[i] = [ #{j : s_j > s_i} + #{j < i : s_j = s_i} < keep ]

    Args:
        scores: floating array or tensor [..., groups]; rows lie along the last axis. 0.0 and -0.0
            are equal, -inf is allowed, NaN is lower than everything else.
        keep: how many to keep per row: an integer, a scalar integer tensor, or one integer per
            row. More than `groups` keeps all.

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
    tensor = is_tensor(scores)
    scores = _tensor(scores) if tensor else np.asarray(scores)
    if scores.dtype.name not in _FLOATS:
        raise TypeError(f"scores are {scores.dtype.name}; expected one of {', '.join(_FLOATS)}")
    if scores.shape.rank == 0 if tensor else scores.ndim == 0:
        raise ValueError("scores are a scalar; expected [..., groups]")
    keep = _count(keep, scores)
    return _select_tensor(scores, keep) if tensor else _select_array(scores, keep)


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
        import tensorflow as tf

        infinity = tf.constant(np.inf, scores.dtype)
        return tf.reduce_min(tf.where(mask, scores, infinity))
    scores = np.asarray(scores)
    return np.min(np.where(mask, scores, scores.dtype.type(np.inf)))


def _tensor(x):
    import tensorflow as tf

    return tf.convert_to_tensor(x)


def _count(keep, scores):
    """Check `keep` as far as it is known now: -> int64, scalar or [rows, 1]."""
    if is_tensor(keep):
        import tensorflow as tf

        if not keep.dtype.is_integer:
            raise TypeError(f"keep is {keep.dtype.name}; expected an integer count per row")
        keep = tf.cast(keep, tf.int64)
        return keep if keep.shape.rank == 0 else tf.reshape(keep, [-1, 1])
    keep = np.asarray(keep)
    if keep.dtype.kind not in "iu":
        raise TypeError(f"keep is {keep.dtype.name}; expected an integer count per row")
    if (keep < 0).any():
        raise ValueError(f"keep is {keep}; expected 0 or more")
    if keep.shape not in ((), tuple(scores.shape[:-1])):
        raise ValueError(f"keep has shape {keep.shape}; expected one integer, or one per row of "
                         f"scores {tuple(scores.shape)}")
    return keep.astype(np.int64) if keep.ndim == 0 else keep.astype(np.int64).reshape(-1, 1)


def _select_array(scores, keep):
    keys = np.ascontiguousarray(scores).view(f"int{8 * scores.dtype.itemsize}")
    top = np.iinfo(keys.dtype).max
    infinity = np.asarray(np.inf, scores.dtype).view(keys.dtype)
    magnitude = keys & top
    # Integers in the order of the scores: -x for negative x, which makes -0.0 and 0.0 one key.
    keys = np.where(magnitude > infinity, ~top, np.where(keys < 0, -magnitude, magnitude))
    rows = keys.reshape(-1, scores.shape[-1])
    keep = np.broadcast_to(keep, (len(rows), 1))
    mask = np.zeros(rows.shape, bool)
    for row, count, out in zip(rows, keep[:, 0], mask):
        out[np.argsort(~row, kind="stable")[:count]] = True
    return mask.reshape(scores.shape)


def _select_tensor(scores, keep):
    import tensorflow as tf

    wide = tf.int64 if scores.dtype == tf.float64 else tf.int32
    keys = tf.bitcast(scores, tf.int16 if scores.dtype.size == 2 else wide)
    infinity = tf.bitcast(tf.constant(np.inf, scores.dtype), keys.dtype)
    keys, infinity = tf.cast(keys, wide), tf.cast(infinity, wide)
    sign = tf.constant({2: 0x7FFF, 4: 2**31 - 1, 8: 2**63 - 1}[scores.dtype.size], wide)
    magnitude = tf.bitwise.bitwise_and(keys, sign)
    keys = tf.where(keys < 0, -magnitude, magnitude)
    keys = tf.where(magnitude > infinity, tf.constant(wide.min, wide), keys)
    groups = tf.shape(scores, tf.int64)[-1]
    rows = tf.reshape(keys, tf.stack([-1, groups]))
    keep = tf.clip_by_value(keep, 0, groups)
    low = tf.fill([tf.shape(rows)[0], 1], tf.constant(wide.min, wide))
    high = tf.fill([tf.shape(rows)[0], 1], tf.constant(wide.max, wide))

    def halve(low, high):
        # The average of two signed integers, rounded up, without overflow.
        either = tf.bitwise.bitwise_or(low, high)
        half = tf.bitwise.right_shift(tf.bitwise.bitwise_xor(low, high), tf.ones_like(low))
        middle = either - half
        enough = tf.math.count_nonzero(rows >= middle, axis=1, keepdims=True) >= keep
        return tf.where(enough, middle, low), tf.where(enough, high, middle - 1)

    cut, _ = tf.while_loop(lambda low, high: tf.reduce_any(low < high), halve, [low, high])
    above = rows > cut
    ties = rows == cut
    spare = keep - tf.math.count_nonzero(above, axis=1, keepdims=True)
    mask = above | (ties & (tf.cumsum(tf.cast(ties, tf.int64), axis=1) <= spare))
    return tf.reshape(mask, tf.shape(scores))
