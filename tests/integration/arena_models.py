# SPDX-License-Identifier: Apache-2.0
"""Networks whose arena is measured: random ones, and some whose arena on a Cortex-M is known."""

import export_models as models
import numpy as np

KINDS = ("dense", "convolutional", "recurrent")
ACTIVATIONS = (None, "relu", "tanh", "sigmoid")


def drawn(seed):
    """(kind, number format, model, examples) of a seed; zeros in every second network."""
    draw = np.random.default_rng(seed)
    kind, library = KINDS[seed % 3], models.KERASES[("keras", "tf_keras")[seed % 2]]
    make = {"dense": _dense, "convolutional": _convolutional, "recurrent": _recurrent}[kind]
    shape, layers = make(draw, library.layers)
    model = library.Sequential([library.Input(shape), *layers])
    _filled(model, 0.8 * (seed // 3 % 2))
    quantize = ("int8", "none")[seed // 6 % 2]
    return kind, quantize, model, draw.normal(size=(40, *shape)).astype("float32")


def _filled(model, sparsity):
    """Random weights with zeros, and biases, so large that no activation vanishes."""
    models.with_zeros(model, sparsity)
    generator = np.random.default_rng(1)
    for variable in model.trainable_variables:
        values = np.asarray(variable)
        large = 1.4 * values / np.sqrt(1 - sparsity)
        variable.assign(large if values.ndim > 1 else generator.normal(size=values.shape))
    return model


def _dense(draw, layers):
    widths = draw.integers(4, 48, draw.integers(2, 20))
    return (int(draw.integers(4, 64)),), [
        layers.Dense(int(width), activation=ACTIVATIONS[draw.integers(4)]) for width in widths
    ]


def _convolutional(draw, layers):
    blocks = []
    for _ in range(draw.integers(1, 5)):
        filters, strides = int(draw.integers(4, 24)), int(draw.integers(1, 3))
        blocks += [
            layers.Conv2D(
                filters,
                int(draw.integers(1, 5)),
                strides=strides,
                padding="same",
                activation="relu",
            ),
            *([layers.DepthwiseConv2D(3, padding="same")] if draw.random() < 0.5 else []),
            *([layers.BatchNormalization()] if draw.random() < 0.5 else []),
        ]
    side = int(draw.integers(8, 24))
    head = layers.GlobalAveragePooling2D() if draw.random() < 0.5 else layers.Flatten()
    return (side, side, int(draw.integers(1, 4))), [*blocks, head, layers.Dense(5)]


def _recurrent(draw, layers):
    kind = (layers.LSTM, layers.GRU, layers.SimpleRNN)[draw.integers(3)]
    units, steps = int(draw.integers(4, 16)), int(draw.integers(2, 8))
    # Of tf_keras a GRU converts to int8 only unrolled.
    layer = kind(units, unroll=kind is not layers.LSTM)
    return (steps, int(draw.integers(2, 10))), [layer, layers.Dense(3)]


def chain(depth):
    """Layers of 8 x 8 weights one after the other, and one of 8 x 4: a network whose tables take
    more of the arena than its activations."""
    library = models.KERASES["keras"]
    layers = [library.layers.Dense(8) for _ in range(depth)]
    return library.Sequential([library.Input((8,)), *layers, library.layers.Dense(4)])


def keyword(sparsity):
    """A depthwise-separable network over 49 x 10 spectra, as for keyword spotting."""
    library = models.KERASES["keras"]
    layers = library.layers
    blocks = [layers.Conv2D(64, (10, 4), strides=2, padding="same", activation="relu")]
    for _ in range(4):
        blocks += [
            layers.DepthwiseConv2D(3, padding="same", activation="relu"),
            layers.Conv2D(64, 1, activation="relu"),
        ]
    head = [layers.AveragePooling2D((25, 5)), layers.Flatten(), layers.Dense(12), layers.Softmax()]
    return _filled(library.Sequential([library.Input((49, 10, 1)), *blocks, *head]), sparsity)
