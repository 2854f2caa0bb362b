# SPDX-License-Identifier: Apache-2.0
"""The last good weights of a run that diverges."""

import numpy as np
import tensorflow as tf

from tfprune.training.divergence import EVERY, Guard


def test_the_last_finite_weights_come_back():
    weight, half = tf.Variable([1.0, 2.0]), tf.Variable(tf.cast([3.0], tf.bfloat16))
    count = tf.Variable(7, dtype=tf.int64)
    guard = Guard([weight, half, weight, count])
    assert guard.keep("the beginning")
    weight.assign([4.0, 5.0])
    assert guard.keep("the end of epoch 1")
    for bad in (np.nan, np.inf):
        half.assign(tf.cast([bad], tf.bfloat16))
        count.assign(9)
        assert not guard.keep("the end of epoch 2")
        said = guard.restore(f"The loss is {bad}")
        assert f"The loss is {bad}: " in said and "of the end of epoch 1 again" in said
        assert weight.numpy().tolist() == [4, 5] and float(half[0]) == 3 and int(count) == 7


def test_weights_that_never_were_finite_stay():
    weight = tf.Variable([np.nan])
    guard = Guard([weight])
    assert not guard.keep("the beginning")
    assert "not finite before the run" in guard.restore("The loss is nan")


def test_a_loss_is_looked_at_now_and_then_and_at_the_end_of_an_epoch():
    guard = Guard([])
    assert guard.diverged({"loss": 1.0}) is None and guard.diverged({}) is None
    assert guard.diverged(None) is None and guard.diverged({"loss": -np.inf}) == -np.inf
    assert np.isnan(guard.diverged({"loss": np.nan}))
    assert guard.diverged({"loss": np.nan}, EVERY + 1) is None
    assert np.isnan(guard.diverged({"loss": tf.constant(np.nan)}, 2 * EVERY))
