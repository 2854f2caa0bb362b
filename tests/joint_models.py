# SPDX-License-Identifier: Apache-2.0
"""A tiny residual model for joint pruning and quantization, in both Kerases."""

import numpy as np
from tiny_models import KERASES, compiled, fit, with_weights

import tfprune
from tfprune.backend import view
from tfprune.quantization.djpq_training import cores_of, price_of

STRONG = tfprune.DJPQConfig(bops=1.0, kl=1e-3, rate=10.0, ramp=2)


def residual(family):
    """stem -> bn0 -> r0, added to c1 -> bn1 of it; c2 with its own ReLU; logits."""
    library = KERASES[family]
    layers = library.layers
    inputs = library.Input((6, 6, 2), name="image")
    x = layers.Conv2D(4, 3, padding="same", name="stem")(inputs)
    stem = layers.ReLU(name="r0")(layers.BatchNormalization(name="bn0")(x))
    x = layers.BatchNormalization(name="bn1")(layers.Conv2D(4, 3, padding="same", name="c1")(stem))
    x = layers.Activation("relu", name="r1")(layers.Add(name="sum")([x, stem]))
    x = layers.Conv2D(5, 1, activation="relu", name="c2")(x)
    outputs = layers.Dense(3, name="logits", dtype="float32")(layers.Flatten()(x))
    model = with_weights(library.Model(inputs, outputs))
    for name in ("bn0", "bn1"):  # a variance is above zero
        norm = model.get_layer(name)
        norm.set_weights([np.abs(one) + 0.1 for one in norm.get_weights()])
    return model


def plain(family):
    """A convolution with its own ReLU, and logits."""
    library = KERASES[family]
    layers = library.layers
    return with_weights(
        library.Sequential(
            [
                library.Input((6, 6, 2)),
                layers.Conv2D(4, 3, activation="relu", name="conv"),
                layers.Flatten(),
                layers.Dense(3, name="logits", dtype="float32"),
            ]
        )
    )


def prune(model, gate=STRONG):
    return tfprune.prune(model, tfprune.get_method("djpq", gate=gate))


def trained(family, model, epochs=4, gate=STRONG, **settings):
    """(the wrapped model after a run, its callback, its history)."""
    KERASES[family].utils.set_random_seed(3)
    model = compiled(prune(model, gate), family, KERASES[family].optimizers.Adam(0.01), **settings)
    callback = tfprune.PruningCallback()
    history = fit(model, callback, epochs=epochs).history
    return model, callback, history


def in_half(family, action):
    """What an action gives under mixed precision."""
    policies = KERASES[family].mixed_precision
    policies.set_global_policy("mixed_bfloat16")
    try:
        return action()
    finally:
        policies.set_global_policy("float32")


def cores(model):
    """{name of a layer: what stands around it}."""
    return {core.layer.name: core for core in cores_of(view(model))}


def price(model):
    return price_of(view(model))


def set_gates(model, values):
    """Give gate vectors (mu, log sigma^2), by the name of their channel group."""
    found = price(model)
    for name, (mu, log_variance) in values.items():
        for maker in found.places.gated[name].makers:
            found.wrapped[id(maker.end)].bottleneck.write(
                np.array(mu, np.float32), np.array(log_variance, np.float32)
            )


def without_input_quantizers(model):
    """The same wrapped model with what layers read in float, as stripped models have it."""
    for core in cores(model).values():
        if core.inputs is not None:
            core.range.assign(0.0)
    return model
