# SPDX-License-Identifier: Apache-2.0
"""What networks cost, against sums made by hand."""

import keras
import numpy as np
import pytest
import tf_keras

import tfprune
from tflite_export import export
from tfprune.evaluation.costs import Costs, costs

# Convolution 3x3x3x4 on 8x8, depthwise 3x3x4 on 8x8, pointwise 4x6 of stride 2, Dense 6x5 after
# the mean: weights, biases and BatchNorm, and how often kernels are used.
KERNELS = {
    "conv": (3 * 3 * 3 * 4, 64),
    "deep": (3 * 3 * 4, 64),
    "point": (4 * 6, 16),
    "dense": (6 * 5, 1),
}
MACS = sum(size * uses for size, uses in KERNELS.values())
PARAMETERS = sum(size for size, _ in KERNELS.values()) + 4 + 4 + 6 + 5 + 4 * 4


def network(library):
    layers = library.layers
    inputs = library.Input((8, 8, 3))
    x = layers.Conv2D(4, 3, padding="same", name="conv", bias_initializer="ones")(inputs)
    x = layers.ReLU()(layers.BatchNormalization()(x))
    x = layers.DepthwiseConv2D(3, padding="same", name="deep", bias_initializer="ones")(x)
    x = layers.Conv2D(6, 1, strides=2, name="point", bias_initializer="ones")(x)
    x = layers.GlobalAveragePooling2D()(x)
    return library.Model(inputs, layers.Dense(5, name="dense", bias_initializer="ones")(x))


def damaged(library):
    made = network(library)
    kernel, *rest = made.get_layer("conv").get_weights()
    kernel[:, :, :, :1] = 0  # 27 weights
    made.get_layer("conv").set_weights([kernel, *rest])
    return made


@pytest.mark.parametrize("library", [keras, tf_keras], ids=["keras", "tf_keras"])
def test_a_keras_model_by_hand(library):
    model = damaged(library)
    found = costs(model)
    zeros = PARAMETERS - found.nonzeros
    # beta and the moving mean are zero, too
    assert (found.parameters, zeros, found.bytes) == (PARAMETERS, 27 + 8, 4 * PARAMETERS)
    assert (found.macs, found.effective_macs) == (MACS, MACS - 27 * 64)
    assert found.bytes_of == "float32 weights" and found.latency_ms is None
    assert found.activation_bytes == 4 * 2 * (8 * 8 * 4)
    assert costs(tfprune.prune(model, "magnitude", 0.5)) == found


def test_files_by_hand(tmp_path):
    model = damaged(keras)
    data = np.random.default_rng(0).random((4, 8, 8, 3), np.float32)
    folded = PARAMETERS - 4 * 4  # the BatchNorm is in the convolution
    for name, settings in {
        "float": {},
        "half": {"quantize": "float16"},
        "int8": {"quantize": "int8", "target": "tflm"},
    }.items():
        path = tmp_path / f"{name}.tflite"
        export(model, path, data=data, sparse=False, **settings)
        found = costs(path, latency=name == "float")
        assert found.parameters == folded and found.macs == MACS, name
        # what is small becomes zero with 8 bits
        assert found.effective_macs == MACS - 27 * 64 or name == "int8"
        assert found.effective_macs <= MACS - 27 * 64
        assert (found.bytes, found.bytes_of) == (path.stat().st_size, "file")
        assert found.activation_bytes == (1 if name == "int8" else 4) * 2 * (8 * 8 * 4)
        assert (found.latency_ms or 0) > 0 or name != "float"


def test_what_cannot_be_told_is_none():
    assert costs(lambda batch: batch) == Costs()

    class Own(keras.Model):
        def __init__(self):
            super().__init__()
            self.dense = keras.layers.Dense(3)

        def call(self, inputs):
            return self.dense(inputs)

    model = Own()
    model(np.ones((2, 4), np.float32))
    found = costs(model)
    assert (found.parameters, found.macs, found.activation_bytes) == (15, None, None)
