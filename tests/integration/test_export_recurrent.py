# SPDX-License-Identifier: Apache-2.0
"""Recurrent layers as integers: loops that are smaller than float32 ones, and compute the same."""

import export_models as models
import numpy as np
import pytest

from tflite_export import export, inspect, runtime
from tflite_export.flatbuffer.signature_io import ports
from tflite_export.runtime import tflm_interpreter

RUN = {"mobile": runtime.predict, "tflm": tflm_interpreter.predict}
MICRO = pytest.mark.skipif(
    not tflm_interpreter.installed(), reason="tflite-micro has wheels for Linux on x86-64 only"
)
BOTH = pytest.mark.parametrize("family", ["keras", "tf_keras"])
STEPS = 24


@BOTH
@pytest.mark.parametrize("target", ["mobile", pytest.param("tflm", marks=MICRO)])
def test_no_integer_file_is_larger_than_its_float_file(family, target, tmp_path):
    library = models.KERASES[family]
    layers = library.layers
    library.utils.set_random_seed(3)
    model = library.Sequential(
        [
            library.Input((STEPS, 6)),
            layers.Bidirectional(layers.GRU(8, return_sequences=True)),
            layers.GRU(8, reset_after=False, go_backwards=True),
            layers.Dense(3),
        ]
    )
    data, path = models.examples(60, STEPS, 6), tmp_path / "m.tflite"
    floats = export(model, path, target=target, data=data)
    integers = export(model, path, target=target, quantize="int8", data=data)
    assert integers.bytes < floats.bytes and integers.error < 0.15
    assert inspect(path).operators["WHILE"] == 3
    # Nothing is left from one sequence to the next.
    content = path.read_bytes()
    name, run = ports(content)[0][0].name, RUN[target]
    again = run(content, {name: data[::-1]})["output"][::-1]
    np.testing.assert_array_equal(again, run(content, {name: data})["output"])
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
