# SPDX-License-Identifier: Apache-2.0
"""The table of TensorFlow functions gives what NumPy gives, in value and dtype."""

import numpy as np
import pytest
import tensorflow as tf

from tfprune.masks.array_namespace import is_tensor, namespace

X = np.array([[1.5, -2.0, 0.5], [2.5, 4.0, -0.5]], np.float32)
CALLS = {
    "transpose": lambda xp, x: xp.transpose(x, (1, 0)),
    "pad": lambda xp, x: xp.pad(x, [(0, 1), (2, 0)], constant_values=-np.inf),
    "sum": lambda xp, x: xp.sum(x, axis=1),
    "max": lambda xp, x: xp.max(x, axis=0, keepdims=True),
    "mean": lambda xp, x: xp.mean(x, axis=1),
    "where": lambda xp, x: xp.where(x > 0, x, -np.inf),
    "maximum": lambda xp, x: xp.maximum(0, x),
    "cumsum": lambda xp, x: xp.cumsum(x, axis=1),
    "flat cumsum": lambda xp, x: xp.cumsum(x),
    "round": lambda xp, x: xp.round(x),
    "clip": lambda xp, x: xp.clip(x, -1, 2),
    "take": lambda xp, x: xp.take(x, [2, 0], axis=1),
    "concatenate": lambda xp, x: xp.concatenate([x, x], axis=1),
    "argsort": lambda xp, x: xp.astype(xp.argsort(x, axis=-1, stable=True), np.int64),
    "count_nonzero": lambda xp, x: xp.astype(xp.count_nonzero(x > 0, axis=1), np.int64),
    "bool sum": lambda xp, x: xp.sum(x > 0, axis=1),
    "astype": lambda xp, x: xp.astype(x, np.int32),
    "broadcast_to": lambda xp, x: xp.broadcast_to(x, (4, 2, 3)),
}


@pytest.mark.parametrize("name", CALLS)
def test_like_numpy(name):
    call = CALLS[name]
    expected = call(namespace(X), X)
    eager = call(namespace(tf.constant(X)), tf.constant(X)).numpy()
    compiled = tf.function(lambda x: call(namespace(x), x), autograph=False, jit_compile=True)
    for result in (eager, compiled(tf.constant(X)).numpy()):
        assert result.dtype == expected.dtype
        np.testing.assert_allclose(result, expected, rtol=1e-6)


def test_kinds():
    for plain in (X, X[0, 0], 1, 0.5, [1, 2], (X, X)):
        assert not is_tensor(plain)
    for tensor in (tf.constant(X), tf.Variable(X), [X, tf.constant(X)]):
        assert is_tensor(tensor)
    assert namespace(X, tf.constant(1)) is namespace(tf.constant(X))
