# SPDX-License-Identifier: Apache-2.0
"""Small models for the tests of the flow, and what they measure with."""

import numpy as np
from tiny_models import KERASES

from tfprune.backend import view
from tfprune.statistics.measured_model import Subject
from tfprune.statistics.synaptic_flow import flow


def subject(model):
    return Subject.of(view(model))


def shares(model, feed=None, **settings):
    """{site: |W| dR/d|W|} in float64: what passes through each weight, up to one factor."""
    whole = subject(model)
    kernels = [np.abs(kernel.numpy().astype("float64")) for kernel in whole.kernels]
    with flow(whole, feed, **settings) as measure:
        measured = [given["flow"].numpy().astype("float64") for given in measure()]
    return {site.name: kernel * one for site, kernel, one in zip(whole.sites, kernels, measured)}


def weighted(model, seed=0):
    """Normal kernels and biases, positive variances and scales; the same in both Kerases."""
    generator = np.random.default_rng(seed)
    values = []
    for weight in model.weights:
        name = getattr(weight, "path", weight.name)
        value = generator.normal(size=tuple(weight.shape))
        if any(part in name for part in ("variance", "gamma")):
            value = np.abs(value) + 0.1
        values.append(value.astype("float32"))
    model.set_weights(values)
    return model


def at_init(model, seed=0):
    """Random kernels; everything else as it is at the beginning: biases 0, averages 0 and 1."""
    generator = np.random.default_rng(seed)
    for variable in subject(model).kernels:
        fan = np.prod(variable.shape[:-1])
        variable.assign(
            (generator.normal(size=tuple(variable.shape)) / np.sqrt(fan)).astype(
                variable.dtype.as_numpy_dtype
            )
        )
    return model


def mlp(family, sizes=(20, 30, 25, 10, 5), use_bias=False, **settings):
    library = KERASES[family]
    layers = [
        library.layers.Dense(
            size,
            activation="relu" if index < len(sizes) - 2 else None,
            use_bias=use_bias,
            name=f"dense{index}",
            **settings,
        )
        for index, size in enumerate(sizes[1:])
    ]
    return at_init(library.Sequential([library.Input((sizes[0],)), *layers]))


def conv_net(family, pooling="MaxPooling2D", use_bias=False):
    """Same padding, strides, BatchNorm, depthwise, both kinds of pooling and a Dense head."""
    library = KERASES[family]
    layers = library.layers
    x = inputs = library.Input((9, 9, 2))
    x = layers.Conv2D(4, 3, padding="same", use_bias=use_bias, name="stem")(x)
    x = layers.ReLU()(layers.BatchNormalization()(x))
    x = getattr(layers, pooling)(2)(x)
    x = layers.DepthwiseConv2D(3, padding="same", use_bias=use_bias, name="depth")(x)
    x = layers.Conv2D(
        6, 3, strides=2, padding="same", use_bias=use_bias, activation="relu", name="strided"
    )(x)
    x = layers.Conv2D(5, 2, use_bias=use_bias, activation="relu", name="valid")(x)
    x = layers.GlobalAveragePooling2D()(x)
    x = layers.Dense(7, use_bias=use_bias, activation="relu", name="hidden")(x)
    return at_init(library.Model(inputs, layers.Dense(3, use_bias=use_bias, name="head")(x)))


def residual(family, depth=2, width=4, gain=1.0):
    """A stem, residual blocks of two convolutions, a head; no biases."""
    library = KERASES[family]
    layers = library.layers
    x = inputs = library.Input((4, 4, 2))
    x = layers.Conv2D(width, 3, padding="same", use_bias=False, name="stem")(x)
    for index in range(depth):
        y = layers.Conv2D(
            width, 3, padding="same", use_bias=False, activation="relu", name=f"first{index}"
        )(x)
        y = layers.Conv2D(width, 3, padding="same", use_bias=False, name=f"second{index}")(y)
        x = layers.ReLU()(layers.Add()([x, y]))
    x = layers.GlobalAveragePooling2D()(x)
    model = at_init(library.Model(inputs, layers.Dense(3, use_bias=False, name="head")(x)))
    for kernel in subject(model).kernels:
        kernel.assign(kernel * gain)
    return model
