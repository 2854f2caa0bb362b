# SPDX-License-Identifier: Apache-2.0
"""Recurrent layers as integers: loops that are smaller than float32 ones, and compute the same."""

import export_models as models
import numpy as np
import pytest

from tflite_export import export, inspect
from tflite_export.runtime import predict

BOTH = pytest.mark.parametrize("family", ["keras", "tf_keras"])
STEPS = 24


def network(library, *layers):
    library.utils.set_random_seed(3)
    return library.Sequential([library.Input((STEPS, 6)), *layers])


@BOTH
def test_no_integer_file_is_larger_than_its_float_file(family, tmp_path):
    library = models.KERASES[family]
    layers = library.layers
    model = network(
        library, layers.Bidirectional(layers.GRU(8, return_sequences=True)),
        layers.GRU(8, reset_after=False, go_backwards=True), layers.Dense(3))
    data, path = models.examples(10, STEPS, 6), tmp_path / "m.tflite"
    floats = export(model, path, data=data)
    integers = export(model, path, quantize="int8", data=data)
    assert integers.bytes < floats.bytes and integers.error < 0.2
    assert inspect(path).operators["WHILE"] == 3
    # Nothing is left from one sequence to the next.
    again = predict(path, data[::-1])["output"][::-1]
    np.testing.assert_array_equal(again, predict(path, data)["output"])
    assert all(layer.unroll is False for layer in model.layers if hasattr(layer, "unroll"))


@BOTH
def test_a_layer_that_begins_elsewhere_than_at_zero_is_unrolled(family, tmp_path):
    library = models.KERASES[family]
    layers = library.layers
    inputs = library.Input((4, 3))
    first = layers.Dense(5, activation="tanh")(layers.Flatten()(inputs))
    model = library.Model(inputs, layers.GRU(5)(inputs, initial_state=first))
    report = export(model, tmp_path / "m.tflite", quantize="int8", data=models.examples(9, 4, 3))
    assert report.error < 0.1 and any("unrolled" in remark for remark in report.remarks)
