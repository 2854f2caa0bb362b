# SPDX-License-Identifier: Apache-2.0
"""One vocabulary for NumPy arrays and TensorFlow tensors.

Structures and allocations are written once, against the functions of NumPy. `namespace(x)`
returns NumPy itself for arrays and a small table with the same names for tensors. The table
keeps the dtype of its tensors: Python scalars never widen them.
"""

from __future__ import annotations

import functools
from types import SimpleNamespace
from typing import Any

import numpy as np


class _TensorFlow:
    """TensorFlow, which is loaded when something of it is first used: arrays do without it."""

    def __getattr__(self, name: str) -> Any:
        import tensorflow

        value = getattr(tensorflow, name)
        setattr(self, name, value)
        return value


tf: Any = _TensorFlow()

# `round`: halves go to the even neighbor in both.
_ALIKE = "abs broadcast_to cos exp floor logical_and logical_or matmul ones_like reshape".split()
_ALIKE += "round sqrt square zeros_like".split()
_OF_TWO = "equal greater greater_equal less less_equal maximum minimum multiply not_equal".split()
_REDUCTIONS = ("all", "any", "max", "mean", "prod")


def is_tensor(x: Any) -> bool:
    """Tell whether `x` must be handled by TensorFlow (a tensor, a variable, or a list of them).

    >>> is_tensor([1.0, 2.0])
    False
    """
    if isinstance(x, (list, tuple)):
        return any(is_tensor(item) for item in x)
    return not isinstance(x, (np.ndarray, np.generic, bool, int, float)) and x is not None


def array(variable: Any) -> Any:
    """The value of a variable or an eager tensor without a copy, to be read only; None of None.

    `variable.numpy()` and `variable.read_value()` copy.

    >>> array(tf.Variable([1.0, 2.0])).tolist()
    [1.0, 2.0]
    """
    return None if variable is None else np.asarray(tf.convert_to_tensor(variable))


def namespace(*values: Any) -> Any:
    """Return the functions that fit `values`: NumPy, or the same names on tensors.

    Several values may be given; one tensor among them is enough to choose TensorFlow.
    `astype`, `asarray` and all functions below work in eager code, in graphs and under XLA.

    >>> import numpy as np
    >>> namespace(np.ones(3)) is np
    True
    """
    return _tensorflow() if any(is_tensor(x) for x in values) else np


@functools.cache
def _tensorflow() -> SimpleNamespace:
    def like(x, y):
        """Give Python scalars the dtype of the tensor beside them."""
        if tf.is_tensor(x) or hasattr(x, "dtype"):
            x = tf.convert_to_tensor(x)
            return x, tf.convert_to_tensor(y, x.dtype)
        y = tf.convert_to_tensor(y)
        return tf.convert_to_tensor(x, y.dtype), y

    def binary(op):
        return lambda x, y: op(*like(x, y))

    def reduction(op):
        return lambda x, axis=None, keepdims=False: op(x, axis=axis, keepdims=keepdims)

    def total(x, axis=None, keepdims=False, dtype=None):
        x = tf.convert_to_tensor(x)
        if dtype is None and x.dtype == tf.bool:
            dtype = tf.int64
        return tf.reduce_sum(x if dtype is None else tf.cast(x, dtype), axis, keepdims)

    def pad(x, pad_width, constant_values=0):
        x = tf.convert_to_tensor(x)
        return tf.pad(x, pad_width, constant_values=tf.cast(constant_values, x.dtype))

    def cumsum(x, axis=None, dtype=None):
        x = x if dtype is None else tf.cast(x, dtype)
        return tf.cumsum(tf.reshape(x, [-1]) if axis is None else x, axis=axis or 0)

    def count_nonzero(x, axis=None):
        return tf.math.count_nonzero(x, axis=axis, dtype=tf.int64)

    def take(x, indices, axis=None):
        return tf.gather(tf.reshape(x, [-1]) if axis is None else x, indices, axis=axis or 0)

    def argsort(x, axis=-1, stable=True):
        return tf.argsort(x, axis=axis, stable=stable)

    def clip(x, low, high):
        x = tf.convert_to_tensor(x)
        return tf.clip_by_value(x, tf.cast(low, x.dtype), tf.cast(high, x.dtype))

    def searchsorted(a, v, side="left"):
        return tf.searchsorted(a, v, side=side)

    return SimpleNamespace(
        **{name: getattr(tf, name) for name in _ALIKE},
        **{name: binary(getattr(tf, name)) for name in _OF_TWO},
        **{name: reduction(getattr(tf, f"reduce_{name}")) for name in _REDUCTIONS},
        asarray=lambda x, dtype=None: tf.convert_to_tensor(x, dtype),
        astype=tf.cast,
        transpose=lambda x, axes=None: tf.transpose(x, axes),
        concatenate=lambda arrays, axis=0: tf.concat(arrays, axis),
        stack=lambda arrays, axis=0: tf.stack(arrays, axis),
        expand_dims=lambda x, axis: tf.expand_dims(x, axis),
        pad=pad,
        take=take,
        sum=total,
        count_nonzero=count_nonzero,
        cumsum=cumsum,
        sort=lambda x, axis=-1: tf.sort(x, axis),
        argsort=argsort,
        searchsorted=searchsorted,
        clip=clip,
        where=lambda condition, x, y: tf.where(condition, *like(x, y)),
        log=tf.math.log,
        ceil=tf.math.ceil,
        isnan=tf.math.is_nan,
    )
