# SPDX-License-Identifier: Apache-2.0
"""TensorFlow's functions in models of tf_keras, in the graph and in a Lambda: where channels can
go, the masked model is its shrunk copy."""

import keras
import numpy as np
import pytest
import tensorflow as tf
import tf_keras

import tfprune
from tests.shrink_models import deviation, examples, masked, randomized

ORDER = np.array([3, 1, 2, 0, 7, 6, 5, 4])


def _merged(x):
    """[b, h, w, c] -> [2 b, c, 4, 4], where entries of one channel are in several."""
    return tf.transpose(tf.reshape(tf.transpose(x, (0, 3, 1, 2)), (-1, 8, 4, 4)), (0, 2, 3, 1))


CASES = {  # the function of [b, 4, 8, 8], and whether channels can go in the graph
    "times a list": (lambda x: x * [1.0, 2, 3, 4, 5, 6, 7, 8], False),
    "by their number": (lambda x: x / tf.cast(tf.shape(x)[-1], tf.float32), False),
    "by another size": (lambda x: x / tf.cast(tf.shape(x)[1], tf.float32), True),
    "by all sizes": (lambda x: x / tf.cast(tf.reduce_prod(tf.shape(x)[1:]), tf.float32), False),
    "sizes for a reshape": (lambda x: tf.reshape(x, (tf.shape(x)[0], 8, 4, 8)), True),
    "after a constant": (lambda x: tf.concat([tf.ones((4, 4, 8, 4)), x], -1)[..., :8] * x, False),
    "gathered": (lambda x: tf.gather(x, ORDER, None, -1), False),
    "gathered along another axis": (lambda x: tf.gather(x, [2, 1], axis=1), True),
    "softmax": (lambda x: tf.nn.softmax(x, axis=None), False),
    "softmax over places": (lambda x: tf.nn.softmax(x, 1), True),
    "einsum": (lambda x: tf.einsum("bhwc->bwhc", x), True),
    "merged with the batch axis": (_merged, False),
}


def _model(name, in_lambda):
    function, layers = CASES[name][0], tf_keras.layers
    inputs = tf_keras.Input((None, 8, 3) if in_lambda and name == "by all sizes" else (4, 8, 3))
    x = layers.Conv2D(8, 3, padding="same", activation="relu", name="made")(inputs)
    x = layers.Lambda(function)(x) if in_lambda else function(x)
    return tf_keras.Model(inputs, layers.Conv2D(2, 1, name="read")(x))


@pytest.mark.parametrize("in_lambda", [False, True])
@pytest.mark.parametrize("name", CASES)
def test_channels_through_functions_of_tensorflow(name, in_lambda):
    model = randomized(_model(name, in_lambda))
    masked(model)
    small, report = tfprune.shrink(model)
    data = np.random.default_rng(1).normal(size=(4, 4, 8, 3)).astype("float32")
    assert deviation(model, small, data) < 1e-5
    assert in_lambda or bool(report.removed) == CASES[name][1]


@pytest.mark.parametrize("flags", [{"transpose_b": True}, {"adjoint_b": True}, (False, True)])
def test_attention_by_hand_with_every_spelling_of_a_transposition(flags):
    args, kwargs = ((), flags) if isinstance(flags, dict) else (flags, {})
    inputs = tf_keras.Input((8, 5))
    q, k, v = (tf_keras.layers.Dense(8, name=name)(inputs) for name in "qkv")
    x = tf.matmul(tf.nn.softmax(tf.matmul(q, k, *args, **kwargs)), v)
    model = randomized(tf_keras.Model(inputs, tf_keras.layers.Dense(2)(x)))
    assert set(masked(model)) == {"q", "v"}
    small, report = tfprune.shrink(model)
    assert report.removed == 8 and deviation(model, small, examples(model)) < 1e-5


class Weighted(keras.layers.Dense):
    """A Dense whose call is a compiled function."""

    @tf.function
    def call(self, inputs):
        return keras.layers.Dense.call(self, inputs) * tf.range(1.0, 9.0)


class Gated(keras.layers.Layer):
    """Multiplies with a tensor that is called a mask, but is none of Keras'."""

    def call(self, inputs, channel_mask=None):
        return inputs * channel_mask


def test_a_compiled_call_is_looked_into():
    model = keras.Sequential([keras.Input((5,)), Weighted(8), keras.layers.Dense(2)])
    assert not any(group.prunable for group in tfprune.channel_groups(model))


def test_a_mask_of_channels_is_one_with_them():
    inputs = keras.Input((5,))
    x, mask = keras.layers.Dense(8, name="x")(inputs), keras.layers.Dense(8, name="m")(inputs)
    model = keras.Model(inputs, keras.layers.Dense(2)(Gated()(x, channel_mask=mask)))
    assert masked(randomized(model)) == {"x": 4}
    small, report = tfprune.shrink(model)
    assert report.removed == 4 and deviation(model, small, examples(model)) < 1e-5
