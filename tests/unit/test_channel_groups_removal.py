# SPDX-License-Identifier: Apache-2.0
"""Without their producers, prunable channels are as good as unread: outputs agree.

For every prunable group of models of many kinds: zero a channel wherever it is made, scaled and
shifted; separately, zero what reads it. Both must give the same outputs.
"""

import importlib

import numpy as np
import pytest
import tensorflow as tf

import tfprune
from tests.tiny_models import KERASES
from tfprune.channels.tracer import variables
from tfprune.layers.channel_graph import Role


def _mobile(library):
    layers = library.layers
    inputs = library.Input((8, 8, 3))
    x = layers.Conv2D(6, 3, padding="same", use_bias=False)(inputs)
    x = stem = layers.ReLU(6.0)(layers.BatchNormalization()(x))
    x = layers.Conv2D(8, 1)(x)
    x = layers.DepthwiseConv2D(3, padding="same", depth_multiplier=2)(x)
    x = layers.Activation("swish")(layers.BatchNormalization()(x))
    gate = layers.GlobalAveragePooling2D()(x)
    gate = layers.Reshape((1, 1, 16))(gate)
    gate = layers.Conv2D(4, 1, activation="relu")(gate)
    gate = layers.Conv2D(16, 1, activation="sigmoid")(gate)
    x = layers.Multiply()([x, gate])
    x = layers.Conv2D(6, 1)(x)
    x = layers.Add()([layers.Dropout(0.2)(x), stem])
    x = layers.SeparableConv2D(5, 3, depth_multiplier=2, padding="same")(x)
    x = layers.PReLU(shared_axes=[1, 2])(x)
    return library.Model(inputs, layers.Dense(3)(layers.GlobalMaxPooling2D()(x)))


def _unet(library):
    layers = library.layers
    inputs = library.Input((8, 8, 2))
    one = layers.Conv2D(4, 3, padding="same", activation="relu")(inputs)
    two = layers.Conv2D(6, 3, padding="same", activation="gelu")(layers.MaxPooling2D()(one))
    up = layers.Conv2DTranspose(5, 2, strides=2)(two)
    x = layers.Concatenate()([one, up, layers.UpSampling2D()(two)])
    x = layers.LeakyReLU()(layers.BatchNormalization()(x))
    x = layers.Concatenate()([x, layers.Conv2D(3, 3, padding="same")(x)])
    x = layers.PReLU()(layers.ZeroPadding2D()(x))
    x = layers.Cropping2D()(x)
    return library.Model(inputs, layers.Conv2D(2, 1)(x))


def _flat(library):
    layers = library.layers
    inputs = library.Input((6, 6, 3))
    x = layers.Conv2D(4, 3, activation="relu")(inputs)
    x = layers.AveragePooling2D(2)(x)
    x = layers.Dense(24, activation="tanh")(layers.Flatten()(x))
    x = layers.Reshape((2, 3, 4))(x)
    x = layers.Conv2D(8, 1)(x)
    x = layers.GroupNormalization(4)(x)
    x = layers.Conv2D(8, 1, groups=2)(x)
    x = layers.Conv2D(8, 2, groups=8, padding="same")(x)
    x = layers.Permute((2, 1, 3))(x)
    x = layers.EinsumDense("abcd,de->abce", output_shape=(3, 2, 6), bias_axes="e")(x)
    x = layers.Reshape((-1,))(x)
    return library.Model(inputs, layers.Dense(2)(x))


def _recurrent(library):
    layers = library.layers
    inputs = library.Input((5,), dtype="int32")
    every = {"return_sequences": True, "unroll": True}  # rolled loops take long to trace
    x = layers.Embedding(9, 6, mask_zero=True)(inputs)
    x, state, cell = layers.LSTM(5, **every, return_state=True)(x)
    x = layers.LSTM(5, **every)(x, initial_state=[state, cell])
    x = layers.Bidirectional(layers.GRU(4, **every))(x)
    x = y = layers.TimeDistributed(layers.Dense(6, activation="relu"))(x)
    x = layers.Conv1D(4, 2, activation="relu")(x)
    x = layers.Bidirectional(layers.SimpleRNN(3, unroll=True), merge_mode="sum")(x)
    return library.Model(inputs, [layers.Dense(2)(layers.RepeatVector(2)(x)), layers.Dense(2)(y)])


def _attention(library):
    layers = library.layers
    inputs = library.Input((5, 4))
    x = layers.Dense(6)(inputs)
    x = x + layers.MultiHeadAttention(3, 4, value_dim=5)(x, x)
    y = layers.Dense(8, activation="relu")(x)
    x = layers.Add()([x, layers.Dense(6)(y)])
    return library.Model(inputs, layers.Dense(2)(layers.GlobalAveragePooling1D()(x)))


def _operations(library):
    layers = library.layers
    ops = library.ops if library.__name__ == "keras" else None
    inputs = library.Input((8, 8, 3))
    x = layers.Conv2D(6, 3, name="c1")(inputs) * 0.5
    left = x[..., :2]
    right = x[:, 1:-1, 1:-1, 2:]
    left = (ops.relu if ops else tf.nn.relu)(left)
    left = left[:, :4, :4, :]
    x = ops.concatenate([right, left], -1) if ops else tf.concat([right, left], -1)
    x = layers.Conv2D(4, 3, name="c2")(x)
    x = ops.transpose(x, (0, 2, 1, 3)) if ops else tf.transpose(x, (0, 2, 1, 3))
    x = ops.reshape(x, (-1, 4, 4)) if ops else tf.reshape(x, (-1, 4, 4))
    a, b = ops.split(x, 2, axis=-1) if ops else tf.split(x, 2, axis=-1)
    x = a * b - a
    x = ops.mean(x, axis=1) if ops else tf.reduce_mean(x, axis=1)
    return library.Model(inputs, layers.Dense(3, name="out")(x))


def _nested(library):
    layers = library.layers
    inner_in = library.Input((6, 6, 4))
    x = layers.Conv2D(5, 1, activation="relu", name="inner")(inner_in)
    block = library.Model(inner_in, layers.Conv2D(4, 1, name="back")(x), name="block")
    one, two = library.Input((6, 6, 2)), library.Input((6, 6, 3))
    stem = library.Sequential([layers.Conv2D(4, 1), layers.ReLU()], name="stem")
    shared = layers.Conv2D(7, 3, name="shared")
    a = block(stem(one))
    b = block(layers.Conv2D(4, 1)(two))
    x = layers.Subtract()([shared(a), shared(b)])
    outputs = [
        layers.Dense(2)(layers.GlobalAveragePooling2D()(x)),
        layers.Conv2D(1, 1)(layers.Maximum()([a, b])),
    ]
    return library.Model([one, two], outputs)


def _channels_first(library):
    layers, first = library.layers, {"data_format": "channels_first"}
    # No image as wide as it has channels: Keras 3.15 adds a bias along the wrong axis there.
    inputs = library.Input((2, 11, 11))
    x = layers.Conv2D(4, 3, activation="relu", **first)(inputs)
    x = layers.BatchNormalization(axis=1)(x)
    x = layers.DepthwiseConv2D(3, padding="same", **first)(x)
    y = layers.Conv2D(3, 1, **first)(layers.UpSampling2D(1, **first)(x))
    x = layers.Concatenate(axis=1)([x, y])
    flat = layers.Dense(2)(layers.Flatten(**first)(x))
    return library.Model(inputs, [flat, layers.Dense(2)(layers.GlobalMaxPooling2D(**first)(y))])


def _scaled_sum(library):
    layers, home = library.layers, f"{library.__name__}.src.applications.inception_resnet_v2"
    inputs = library.Input((6, 6, 2))
    x = layers.Conv2D(4, 1, name="first")(inputs)
    y = layers.Conv2D(4, 1)(layers.Conv2D(3, 3, padding="same", activation="relu")(x))
    x = layers.ReLU()(importlib.import_module(home).CustomScaleLayer(0.2)([x, y]))
    return library.Model(inputs, layers.Dense(3)(layers.GlobalAveragePooling2D()(x)))


MODELS = {
    "mobile": _mobile,
    "unet": _unet,
    "flat": _flat,
    "recurrent": _recurrent,
    "attention": _attention,
    "operations": _operations,
    "nested": _nested,
    "channels_first": _channels_first,
    "scaled_sum": _scaled_sum,
}
PRUNABLE = {
    "mobile": 4,
    "unet": 4,
    "flat": 5,
    "recurrent": 7,
    "attention": 5,
    "operations": 2,
    "nested": 4,
    "channels_first": 2,
    "scaled_sum": 2,
}


def _data(model):
    generator = np.random.default_rng(1)
    return [
        generator.integers(1, 9, (4, *one.shape[1:]))
        if "int" in str(one.dtype)
        else generator.normal(size=(4, *one.shape[1:])).astype("float32")
        for one in model.inputs
    ]


def _runner(model, data):
    """A function that computes all outputs as one vector."""

    @tf.function
    def run():
        outputs = model(data if len(data) > 1 else data[0], training=False)
        outputs = outputs if isinstance(outputs, (list, tuple)) else [outputs]
        return tf.concat([tf.reshape(one, [-1]) for one in outputs], 0)

    return lambda: run().numpy()


def _without(held, members, channel, run):
    """The outputs with a channel's entries of these members at zero."""
    before = {one.site: held[one.site].numpy() for one in members}
    for one in members:
        value = held[one.site].numpy()
        np.moveaxis(value, one.axis, 0)[one.indices[channel]] = 0
        held[one.site].assign(value)
    result = run()
    for site, value in before.items():
        held[site].assign(value)
    return result


# tf_keras has no convolutions with channels first on a CPU.
CASES = [
    (name, family)
    for name in sorted(MODELS)
    for family in sorted(KERASES)
    if (name, family) != ("channels_first", "tf_keras")
]


@pytest.mark.filterwarnings("ignore:.*does not support masking")
@pytest.mark.parametrize("name,family", CASES)
def test_a_channel_that_is_zero_is_a_channel_that_nobody_reads(name, family):
    model = MODELS[name](KERASES[family])
    generator = np.random.default_rng(5)
    model.set_weights([generator.normal(size=one.shape) * 0.4 for one in model.get_weights()])
    held, run = variables(model), _runner(model, _data(model))
    for site, variable in held.items():
        if site.endswith("moving_variance"):
            variable.assign(np.abs(variable.numpy()) + 0.1)
    dense = run()
    groups = [one for one in tfprune.channel_groups(model) if one.prunable]
    changed = 0
    for group in groups:
        made = [one for one in group.members if one.role is not Role.CONSUMER]
        read = group.consumers
        if not read:  # query and key of a head: without the one the other is not read
            layer = group.producers[0].layer
            read = [one for one in made if one.layer == layer]
        for channel in {0, group.size - 1}:
            unmade = _without(held, made, channel, run)
            unread = _without(held, read, channel, run)
            np.testing.assert_allclose(unmade, unread, rtol=1e-4, atol=1e-5, err_msg=str(group))
            changed += np.abs(unmade - dense).max() > 1e-4
    assert len(groups) == PRUNABLE[name], "\n".join(map(str, groups))
    assert changed >= len(groups)
