# SPDX-License-Identifier: Apache-2.0
"""Inputs and outputs of a file lie where the Keras model has them, whatever they are called."""

import ends
import pytest
from export_models import KERASES

from tflite_export import export, inspect
from tflite_export.convert.file_io import in_order
from tflite_export.devices import vela
from tflite_export.flatbuffer.graph import Graph
from tflite_export.runtime import tflm_interpreter

# One for each model in turn; benchmarks/order.py has all of all. Files of mobile in float32 and of
# tflm have weights that are encoded.
FORMATS = [
    ("mobile", "none"),
    ("tflm", "int8"),
    ("tflm", "none"),
    ("mobile", "int8"),
    ("mobile", "float16"),
    ("mobile", "int4"),
    ("mobile-sparse-f32", "none"),
    ("ethos-u55-128", "int8"),
    ("mobile", "dynamic"),
    ("tflm", "int4"),
]


@pytest.mark.filterwarnings("ignore:the quantized file agrees")
@pytest.mark.parametrize("seed", range(10))
@pytest.mark.parametrize("family", KERASES)
def test_by_position_equal_to_keras(family, seed, tmp_path, monkeypatch):
    monkeypatch.setattr(vela, "installed", lambda: False)
    model = ends.drawn(family, seed)
    data = ends.examples(model)
    target, quantize = FORMATS[(seed + 3 * (family == "keras")) % len(FORMATS)]
    report = export(
        model,
        tmp_path / "model.tflite",
        target=target,
        quantize=quantize,
        data=data if len(data) > 1 else data[0],
    )
    content = (tmp_path / "model.tflite").read_bytes()
    run = (
        ends.on_the_device
        if target == "tflm" and tflm_interpreter.installed()
        else ends.by_position
    )
    expected = ends.by_keras(model, data)
    assert ends.places(expected, run(content, data, len(expected))) == list(range(len(expected)))
    # The report and `inspect` say the same.
    kinds = ["input"] * len(data) + ["output"] * len(expected)
    assert [port.kind for port in report.ports] == kinds
    assert [port.position for port in report.ports] == [*range(len(data)), *range(len(expected))]
    found = inspect(tmp_path / "model.tflite")
    assert (*found.inputs, *found.outputs) == report.ports
    for port in report.ports:
        assert f"| {port.kind} {port.position} |" in report.to_markdown()
        assert str(port).startswith(f"{port.kind} {port.position} ") and port.dtype in str(port)


@pytest.mark.parametrize("quantize", ["none", "int8"])
def test_outputs_in_each_others_place_are_no_file(quantize, tmp_path, monkeypatch):
    """Names in order, tensors not: only values can tell."""

    def swapped(content, inputs, outputs):
        graph = Graph(in_order(content, inputs, outputs))
        first, second, *_ = entries = graph.model.signatureDefs[0].outputs
        first.tensorIndex, second.tensorIndex = second.tensorIndex, first.tensorIndex
        graph.model.subgraphs[0].outputs = [entry.tensorIndex for entry in entries]
        return graph.content()

    model = ends.drawn("keras", 3)
    monkeypatch.setattr("tflite_export.convert.converter.in_order", swapped)
    with pytest.raises(RuntimeError, match="outputs 0 and 1 lie in each other's place"):
        export(model, tmp_path / "model.tflite", quantize=quantize, data=ends.examples(model))
    monkeypatch.setattr(
        "tflite_export.convert.converter.in_order",
        lambda content, *names: Graph(in_order(content, names[0][::-1], names[1])).content(),
    )
    with pytest.raises(RuntimeError, match="the file has inputs .* by position"):
        export(model, tmp_path / "model.tflite", quantize=quantize, data=ends.examples(model))
    assert not list(tmp_path.iterdir())
