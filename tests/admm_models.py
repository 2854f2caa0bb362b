# SPDX-License-Identifier: Apache-2.0
"""Small models on which ADMM is tried, and settings with which it takes no time."""

import numpy as np
from tiny_models import KERASES, with_weights

import tfprune

QUICK = tfprune.ADMM(
    3, 4, refit=2, inputs=tfprune.SyntheticInputs("normal", batch=8), progress=False
)


def method(**changes):
    """ADMM with few steps."""
    return tfprune.get_method("admm", **{"solver": QUICK, **changes})


def network(family):
    """3x3 convolutions with normalization, a residual sum, pointwise and Dense layers."""
    library = KERASES[family]
    layers = library.layers
    inputs = library.Input((8, 8, 2))
    x = layers.Conv2D(4, 3, padding="same", name="first")(inputs)
    x = layers.BatchNormalization(name="normal")(x)
    x = layers.ReLU(name="relu")(x)
    y = layers.Conv2D(4, 3, padding="same", activation="relu", name="second")(x)
    x = layers.Add(name="sum")([x, y])
    x = layers.Conv2D(6, 1, activation="relu", name="pointwise")(x)
    outputs = layers.Dense(3, name="logits")(layers.Flatten(name="flat")(x))
    model = with_weights(library.Model(inputs, outputs))
    model.get_layer("normal").set_weights([np.ones(4), np.zeros(4), np.full(4, 0.1), np.ones(4)])
    return model
