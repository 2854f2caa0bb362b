# SPDX-License-Identifier: Apache-2.0
"""Noise: uniform, repeatable, and the same in NumPy, TensorFlow and XLA."""

import numpy as np
import pytest
import tensorflow as tf

from tfprune.methods.statistics_table import collect


def noise(weights, seed=0):
    return [given["noise"] for given in collect(("noise",), weights, seed=seed)]


@pytest.mark.parametrize("shape", [(72,), (3, 3, 2, 4), (101, 7), (64, 64)])
def test_the_same_numbers_everywhere(shape):
    weight = np.zeros((2, *shape), "float32")
    expected = noise(list(weight))
    # The shape is all that counts, so nothing may be folded into a constant outside of XLA.
    compiled = tf.function(
        lambda flag, w: tf.cond(flag, lambda: noise(list(tf.unstack(w))), lambda: tf.unstack(w)),
        jit_compile=True,
        autograph=False,
    )
    for other in (noise(list(tf.unstack(weight))), compiled(tf.constant(True), weight)):
        for one, second in zip(expected, other):
            assert one.dtype == np.float32 and one.shape == shape
            np.testing.assert_array_equal(one, second.numpy())


def test_uniform_and_independent():
    first, second = noise([np.zeros(100_000, "float32")] * 2)
    other = noise([np.zeros(100_000, "float32")], seed=1)[0]
    assert 0 <= first.min() and first.max() < 1
    counts = np.histogram(first, 50, (0, 1))[0]
    assert ((counts - 2000) ** 2 / 2000).sum() < 90  # chi-squared, 49 degrees, p > 0.0003
    shifted = ((first[lag:], first[:-lag]) for lag in (1, 64))
    for pair in ((first, second), (first, other), *shifted):
        assert abs(np.corrcoef(*pair)[0, 1]) < 0.015


def test_unknown_names():
    with pytest.raises(ValueError, match=r"Unknown statistics \['hessian'\]"):
        collect(("weight", "hessian"), [np.ones(2)])
