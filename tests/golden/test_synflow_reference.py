# SPDX-License-Identifier: Apache-2.0
"""SynFlow's masks after its 100 rounds, equal to the authors' own code, weight by weight."""

import os
from pathlib import Path

import keras
import numpy as np
import pytest

import tfprune

DATA = Path(os.environ.get("TFPRUNE_DATA", Path(__file__).parents[3] / "shared" / "data"))
WEIGHTS = DATA / "reference" / "synflow_vgg_small.npz"
CONVOLUTIONS = ("conv0", "conv1", "conv2", "conv3")


def small_vgg(weights):
    """Pooling after the second and third of four convolutions; the reference has no biases."""
    hidden = inputs = keras.Input((32, 32, 3))
    for index, name in enumerate(CONVOLUTIONS):
        hidden = keras.layers.Conv2D(
            weights[name].shape[0], 3, padding="same", use_bias=False, name=name
        )(hidden)
        hidden = keras.layers.BatchNormalization(epsilon=1e-5)(hidden)
        hidden = keras.layers.ReLU()(hidden)
        if index in (1, 2):
            hidden = keras.layers.MaxPooling2D(2)(hidden)
    hidden = keras.layers.GlobalAveragePooling2D()(hidden)
    outputs = keras.layers.Dense(10, use_bias=False, name="dense")(hidden)
    model = keras.Model(inputs, outputs)
    for name in (*CONVOLUTIONS, "dense"):
        model.get_layer(name).set_weights([in_keras(weights[name])])
    return model


def in_keras(kernel):
    """Of an array [out, in, height, width] or [out, in]."""
    return kernel.transpose(2, 3, 1, 0) if kernel.ndim == 4 else kernel.T


@pytest.mark.skipif(not WEIGHTS.exists(), reason=f"no reference at {WEIGHTS}: set TFPRUNE_DATA")
@pytest.mark.parametrize("sparsity, kept", [(0.9, 3837), (0.99, 384)])
def test_masks_of_the_reference(sparsity, kept):
    weights = np.load(WEIGHTS)
    model = small_vgg(weights)
    assert tfprune.sparsify(model, "synflow", sparsity).kept == kept
    for name in (*CONVOLUTIONS, "dense"):
        (kernel,) = model.get_layer(name).get_weights()
        wanted = in_keras(weights[f"mask/{sparsity}/{name}"])
        np.testing.assert_array_equal(kernel, in_keras(weights[name]) * wanted)
