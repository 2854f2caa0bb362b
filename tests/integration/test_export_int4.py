# SPDX-License-Identifier: Apache-2.0
"""Weights of 4 bits, through ai-edge-quantizer."""

import os

import export_models as models
import keras
import numpy as np
import pytest

from tflite_export import export, inspect
from tflite_export.convert import int4
from tflite_export.devices import tflm
from tflite_export.devices.target import ExportContext
from tflite_export.flatbuffer.graph import Graph, schema
from tflite_export.runtime import predict, tflm_interpreter

INSTALLED = pytest.mark.skipif(
    not int4.installed(), reason="ai-edge-quantizer is installed on Linux on x86-64 only"
)
INTERPRETER = pytest.mark.skipif(
    not tflm_interpreter.installed(), reason="tflite-micro has wheels for Linux on x86-64 only"
)
# A quarter of the random weights' precision is gone; what agreement is left says nothing here.
ROUGH = pytest.mark.filterwarnings("ignore:the quantized file agrees")


def types(report):
    """{name of the layer without a number: type of its kernel}."""
    return {
        tensor.name.split("/")[-2].rstrip("_0123456789"): tensor.dtype for tensor in report.tensors
    }


def with_weights_of(content, other):
    """A float file with the weights of a quantized one, dequantized."""
    graph, quantized = Graph(content), Graph(other)
    found = {
        array.shape: quantized.dequantized(*at, array)
        for at, array in quantized.constants().items()
        if array.ndim > 1
    }
    for at, array in graph.constants().items():
        if array.ndim > 1:
            data = np.frombuffer(found[array.shape].tobytes(), np.uint8)
            graph.model.buffers[graph.tensor(*at).buffer].data = data
    return graph.content()


def deviation(got, expected):
    """Root mean square of the difference, in parts of the expected."""
    return np.sqrt(np.mean((got - expected) ** 2) / np.mean(expected**2))


@INSTALLED
@ROUGH
@pytest.mark.parametrize("family", ["keras", "tf_keras"])
def test_a_phone_computes_with_the_rounded_weights(family, tmp_path, capfd):
    model, data = models.cnn(family), models.examples(40, 12, 12, 2)
    path, dense = tmp_path / "m.tflite", tmp_path / "f.tflite"
    report = export(model, path, quantize="int4", data=data)
    assert capfd.readouterr() == ("", "")
    assert types(report) == {"conv2d": "int4", "depthwise_conv2d": "int8", "dense": "int4"}
    assert report.batch == "dynamic" and not report.sparse and report.error < 0.4
    wanted = models.zeros_in(model)
    assert all(tensor.zeros >= wanted[tensor.name] > 0 for tensor in report.tensors)
    # Half a byte for each weight but those of the depthwise kernel, in an eighth of the floats.
    floats = export(model, dense, sparse=False, data=data).bytes
    weights = sum(tensor.elements for tensor in report.tensors)
    assert report.bytes == path.stat().st_size == report.dense_bytes < weights / 2 + 7500
    assert report.bytes < floats / 5
    said = " ".join(report.remarks)
    assert "slower than with int8" in said and "no runtime is known to read sparse" in said
    assert "int4, together 10,640 bytes" in said and "int8, since the operator reads no" in said
    # Beside the weights only activations are rounded, to 8 bits.
    outputs = predict(path, data)["output"]
    rounded = predict(with_weights_of(dense.read_bytes(), path.read_bytes()), data)["output"]
    assert deviation(outputs, rounded) < 0.06
    assert 0.1 < deviation(outputs, predict(dense, data)["output"]) < 0.3
    assert np.array_equal(predict(path, data, batch=20)["output"], outputs)
    operators = inspect(path).operators
    assert operators["QUANTIZE"] == operators["DEQUANTIZE"] == 1


@INSTALLED
@INTERPRETER
@ROUGH
def test_a_microcontroller_keeps_dense_layers_in_8_bits(tmp_path):
    model, data = models.cnn("tf_keras"), models.examples(40, 12, 12, 2)
    path = tmp_path / "m.tflite"
    report = export(model, path, target="tflm", quantize="int4", data=data)
    assert types(report) == {"conv2d": "int4", "depthwise_conv2d": "int8", "dense": "int8"}
    encodings = {tensor.dtype: tensor.encoding for tensor in report.tensors}
    assert encodings["int4"] == "dense" and report.bytes < 0.6 * report.dense_bytes
    assert not report.missing and report.examples == 40 and report.error < 0.4
    assert all(tensor.zeros >= models.zeros_in(model)[tensor.name] for tensor in report.tensors)
    said = " ".join(report.remarks)
    assert "there are no bitmaps of int4" in said and 'bitmaps of int8: try quantize="int8"' in said
    # In TFLite Micro and in LiteRT: the same numbers but for the last step of rounding.
    assert report.bytes == len(path.read_bytes())
    decoded = tflm.plain(path.read_bytes())
    inputs = {"input": data[:8]}
    here, there = tflm.run(path.read_bytes(), inputs), predict(decoded, inputs)
    step = Graph(decoded).tensor(0, int(Graph(decoded).model.subgraphs[0].outputs[0]))
    difference = np.abs(here["output"] - there["output"]).max()
    assert difference <= 3.1 * float(step.quantization.scale[0])


@INSTALLED
@ROUGH
@pytest.mark.parametrize("name", ["mobile", "tflm"])
def test_channels_without_a_weight_keep_their_bias(name, tmp_path):
    layers = keras.layers
    inputs = keras.Input((6, 6, 2))
    x = layers.Conv2D(4, 3, name="some")(inputs)
    x = layers.DepthwiseConv2D(3, name="deep")(x)
    x = layers.Conv2DTranspose(3, 2, name="up")(x)
    x = layers.Conv2D(2, 1, name="none")(x)
    model = keras.Model(inputs, layers.Dense(3, name="dense")(layers.Flatten()(x)))
    for layer in model.layers:
        for variable in layer.weights:
            if variable.path.endswith("bias"):
                variable.assign(np.linspace(-3, 2, variable.shape[0]))
            elif layer.name == "none":
                variable.assign(np.zeros(variable.shape))
            else:
                value = variable.numpy()
                axis = {"deep": 2, "up": 2}.get(layer.name, value.ndim - 1)
                np.moveaxis(value, axis, 0)[1] = 0
                variable.assign(value)
    # Every value is an output: what a bias does is seen behind its layer.
    model = keras.Model(
        inputs, [model.get_layer(one).output for one in ("some", "deep", "up", "none", "dense")]
    )
    path, data = tmp_path / "m.tflite", models.examples(40, 6, 6, 2)
    export(model, path, target=name, quantize="int4", data=data)
    found = predict(tflm.plain(path.read_bytes()) if name == "tflm" else path, data)
    found = {got.shape: got for got in found.values()}
    for wanted in map(np.asarray, model(data)):
        off = np.abs(found[wanted.shape] - wanted)[..., 1]  # what 4 bits do to others is no matter
        assert off.max() < 0.02 * np.ptp(wanted), wanted.shape


@INSTALLED
@ROUGH
def test_what_each_target_makes_of_a_foreign_file(tmp_path):
    path = tmp_path / "m.tflite"
    export(models.mlp("keras"), path, quantize="int4", data=models.examples(40, 64))
    found = inspect(path)
    assert found.quantize == "int4" and not found.targets["mobile"].objections
    assert {tensor.dtype for tensor in found.tensors if len(tensor.shape) > 1} == {"int4"}
    assert all(
        tensor.zeros >= 0.8 * tensor.elements for tensor in found.tensors if len(tensor.shape) > 1
    )
    assert "refuses dense layers of int4" in found.targets["tflm"].objections[0]
    assert "Vela crashes on weights of 4 bits" in found.targets["ethos-u85-256"].objections
    if tflm_interpreter.installed():
        with pytest.raises(ValueError, match="TFLite Micro refuses the file"):
            tflm.pack(path.read_bytes(), ExportContext("int4", {}, {}))


@INSTALLED
@ROUGH
def test_what_is_not_quantized_is_said_and_open_axes_are_fixed(tmp_path):
    library = models.KERASES["tf_keras"]
    layers, path = library.layers, tmp_path / "m.tflite"
    model = models.with_zeros(
        library.Sequential(
            [
                library.Input((None, 4)),
                layers.Conv1D(16, 3, activation="elu"),
                layers.GlobalMaxPooling1D(),
                layers.Dense(3),
            ]
        )
    )
    report = export(model, path, quantize="int4", data=models.examples(20, 9, 4))
    said = " ".join(report.remarks)
    assert report.batch == "1" and "open axes were fixed: input takes (9, 4)" in said
    assert "computed in float32, between integers: ELU" in said and report.error < 0.4
    assert types(report) == {"conv1d": "int4", "dense": "int4"}


@INSTALLED
def test_what_the_quantizer_says_is_in_the_error(tmp_path, monkeypatch):
    def refusing(*args):
        print("noise")
        raise NotImplementedError("no such operator")

    monkeypatch.setattr(int4, "_made", refusing)
    with pytest.raises(RuntimeError, match="refused the model: NotImplementedError: no such"):
        export(
            models.mlp("keras"),
            tmp_path / "m.tflite",
            quantize="int4",
            data=models.examples(10, 64),
        )
    assert os.listdir(tmp_path) == []


def test_without_the_quantizer_the_error_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setattr(int4, "installed", lambda: False)
    path = tmp_path / "m.tflite"
    path.write_bytes(b"old")
    with pytest.raises(RuntimeError, match=r"pip install 'tfprune\[int4\]'"):
        export(models.mlp("keras"), path, quantize="int4", data=models.examples(10, 64))
    assert path.read_bytes() == b"old" and os.listdir(tmp_path) == ["m.tflite"]


@pytest.mark.parametrize(
    "name, why",
    [
        ("ethos-u55-128", r"\(Vela crashes on weights of 4 bits\); it executes 'int8'"),
        ("mobile-sparse-f32", "it executes 'none', 'float16'"),
    ],
)
def test_targets_that_refuse(name, why, tmp_path):
    with pytest.raises(ValueError, match=f"does not execute quantize='int4'.*{why}"):
        export(
            models.mlp("keras"),
            tmp_path / "m.tflite",
            target=name,
            quantize="int4",
            data=models.examples(10, 64),
        )


def test_two_numbers_of_4_bits_share_a_byte(tmp_path):
    path = tmp_path / "m.tflite"
    export(models.mlp("keras"), path, sparse=False)
    graph = Graph(path.read_bytes())
    at = next(at for at, array in graph.constants().items() if array.ndim > 1)
    tensor = graph.tensor(*at)
    tensor.type, tensor.shape = schema().TensorType.INT4, [1, 5]
    graph.model.buffers[tensor.buffer].data = np.array([0x70, 0x8F, 0x03], np.uint8)
    assert Graph(graph.content()).constants()[at].tolist() == [[0, 7, -1, -8, 3]]
