# SPDX-License-Identifier: Apache-2.0
"""Small models of both Kerases with zeros put in by hand, for the export tests."""

import keras
import numpy as np
import tf_keras

KERASES = {"keras": keras, "tf_keras": tf_keras}


def with_zeros(model, sparsity=0.8, blocks=False):
    """Give every kernel fresh random values and zeros; `blocks` zeroes 1x4 inputs of a Dense."""
    generator = np.random.default_rng(7)
    for variable in model.weights:
        name = getattr(variable, "path", variable.name)
        if len(variable.shape) < 2 or "bias" in name:
            continue
        shape = tuple(variable.shape)
        values = generator.normal(size=shape).astype("float32") / np.sqrt(np.prod(shape[:-1]))
        if blocks and len(shape) == 2:
            mask = np.repeat(generator.random((shape[0] // 4, shape[1])) >= sparsity, 4, axis=0)
        else:
            mask = generator.random(shape) >= sparsity
        variable.assign(values * mask)
    return model


def cnn(family, sparsity=0.8, **settings):
    """3x3 convolutions, BatchNorm with both signs of gamma, depthwise, dense; no 1x1."""
    library = KERASES[family]
    layers = library.layers
    inputs = library.Input((12, 12, 2))
    x = layers.Conv2D(16, 3, padding="same")(inputs)
    x = layers.BatchNormalization(gamma_initializer=library.initializers.RandomUniform(-1, 1))(x)
    x = layers.DepthwiseConv2D(3, activation="relu")(x)
    x = layers.Conv2D(32, 3, activation="relu")(x)
    x = layers.Flatten()(x)
    return with_zeros(library.Model(inputs, layers.Dense(8)(x)), sparsity, **settings)


def mlp(family, sparsity=0.8, **settings):
    """Two dense layers, 64 inputs."""
    library = KERASES[family]
    layers = library.layers
    model = library.Sequential(
        [library.Input((64,)), layers.Dense(96, activation="relu"), layers.Dense(4)]
    )
    return with_zeros(model, sparsity, **settings)


def recurrent(family):
    """An LSTM over 5 steps."""
    library = KERASES[family]
    layers = library.layers
    return with_zeros(library.Sequential([library.Input((5, 8)), layers.LSTM(8), layers.Dense(3)]))


def two_inputs(family):
    """Inputs a [4] and b [3], outputs of 2 and 1 values."""
    library = KERASES[family]
    layers = library.layers
    a, b = library.Input((4,), name="a"), library.Input((3,), name="b")
    x = layers.Dense(12, activation="relu")(layers.Concatenate()([a, b]))
    return with_zeros(library.Model([a, b], [layers.Dense(2)(x), layers.Dense(1)(x)]), 0.5)


def convolution(family, filters=64, kernel=3, stride=1, channels=3):
    """One convolution and a dense layer: what the gate looks at."""
    library = KERASES[family]
    layers = library.layers
    return with_zeros(
        library.Sequential(
            [
                library.Input((10, 10, channels)),
                layers.Conv2D(filters, kernel, strides=stride),
                layers.Flatten(),
                layers.Dense(4),
            ]
        ),
        0.9,
    )


def zeros_in(model):
    """{weight name: number of exact zeros} of the kernels."""
    found = {}
    for variable in model.weights:
        name = getattr(variable, "path", variable.name).partition(":")[0]
        if len(variable.shape) >= 2 and "bias" not in name:
            found[name] = int(np.count_nonzero(np.asarray(variable) == 0))
    return found


def examples(*shape):
    """Standard normal inputs."""
    return np.random.default_rng(3).normal(size=shape).astype("float32")
