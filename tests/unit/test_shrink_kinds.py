# SPDX-License-Identifier: Apache-2.0
"""More kinds of layers with half of every group taken out: the same outputs, saved and loaded."""

import keras
import pytest
import tensorflow as tf

import tfprune
from tests.shrink_models import deviation, examples, masked, randomized
from tests.tiny_models import KERASES


def _grouped_queries(library):
    layers = library.layers
    inputs = library.Input((5, 4))
    x = layers.Dense(6)(inputs)
    x = x + layers.GroupQueryAttention(4, 4, 2)(x, x)
    x = layers.GroupQueryAttention(4, 2, 2)(x, x)
    return library.Model(inputs, layers.Dense(2)(x))


def _transformer(library):
    layers = library.layers
    inputs = library.Input((5, 4))
    x = layers.Dense(8)(inputs)
    y = layers.LayerNormalization()(x)
    x = x + layers.MultiHeadAttention(2, 4, output_shape=8, dropout=0.1)(y, y, y)
    z = layers.MultiHeadAttention(2, 4)(x, inputs)
    z = layers.Dense(6, activation="gelu")(z)
    return library.Model(inputs, layers.Dense(2)(z))


def _recurrent(library):
    layers = library.layers
    steps, film = library.Input((3, 4)), library.Input((3, 5, 5, 2))
    unroll = {"unroll": True}  # rolled loops take long to trace
    x = layers.RNN(layers.LSTMCell(6), return_sequences=True, **unroll)(steps)
    units = 4 if library is keras else 6  # Keras 3 takes equal ones only
    x = layers.Bidirectional(
        layers.LSTM(4, **unroll),
        backward_layer=layers.GRU(units, go_backwards=True, name="back", **unroll),
    )(x)
    y = layers.ConvLSTM2D(4, 2, padding="same", return_sequences=True)(film)
    y = layers.Flatten()(layers.Conv3D(4, 2)(y))
    return library.Model([steps, film], [layers.Dense(2)(x), layers.Dense(2)(y)])


def _sequence(library):
    layers = library.layers
    inputs = library.Input((6, 4))
    x = layers.Conv1D(6, 2, padding="causal")(inputs)
    x = layers.Conv1DTranspose(4, 2, strides=2)(x)
    x = layers.EinsumDense("abc,cd->abd", output_shape=(12, 6), bias_axes="d")(x)
    x = layers.EinsumDense("abc,cd->abd", output_shape=(None, 6))(x)
    x = layers.SeparableConv1D(4, 2)(x)
    x = layers.Attention(use_scale=True)([layers.Dense(4)(x) for _ in range(3)])
    return library.Model(inputs, layers.Dense(2)(x))


def _shuffled(library):
    layers = library.layers
    inputs = library.Input((4, 4, 3))
    x = layers.Conv2D(12, 1)(inputs)
    x = layers.Permute((1, 3, 2))(layers.Reshape((16, 3, 4))(x))
    x = layers.Conv2D(4, 1)(layers.Reshape((4, 4, 12))(x))
    return library.Model(inputs, layers.Dense(2)(x))


def _dynamic(library):
    layers = library.layers
    inputs = library.Input((4, 4, 3))
    x = layers.Conv2D(6, 1)(inputs)
    x = tf.reshape(x, (tf.shape(x)[0], 16, 6))
    x = tf.squeeze(tf.expand_dims(x, 1), 1)
    return library.Model(inputs, layers.Dense(2)(layers.Dense(4)(x)))


CASES = {  # how many channels stay although they are dead
    ("grouped queries", "keras"): (_grouped_queries, 0),
    ("transformer", "keras"): (_transformer, 0),
    ("transformer", "tf_keras"): (_transformer, 0),
    ("recurrent", "keras"): (_recurrent, 0),
    ("recurrent", "tf_keras"): (_recurrent, 1),
    ("sequence", "keras"): (_sequence, 0),
    ("sequence", "tf_keras"): (_sequence, 0),
    ("shuffled", "keras"): (_shuffled, 0),
    ("dynamic", "tf_keras"): (_dynamic, 0),
}


@pytest.mark.parametrize("name,family", CASES)
def test_more_kinds_of_layers(name, family, tmp_path):
    make, stay = CASES[name, family]
    model = randomized(make(KERASES[family]))
    dead = masked(model)
    small, report = tfprune.shrink(model)
    data = examples(model)
    assert report.removed == sum(dead.values()) - stay, str(report)
    assert deviation(model, small, data) < 1e-5
    # Keras 3 leaves an axis open that an EinsumDense does not tell the size of.
    assert not report.uncounted or (name, family) == ("sequence", "keras")
    assert report.macs[1] < report.macs[0]
    assert report.parameters[1] == small.count_params()
    small.save(tmp_path / "small.keras")
    assert deviation(small, tfprune.load_model(tmp_path / "small.keras"), data) < 1e-6
