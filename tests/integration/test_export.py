# SPDX-License-Identifier: Apache-2.0
"""Every number format, both Kerases: the file computes what the model computes."""

import json
import os
import subprocess
import sys
import warnings

import export_models as models
import numpy as np
import pytest
import tensorflow as tf
from rich.console import Console

from tflite_export import ExportReport, export, inspect, target
from tflite_export.flatbuffer.graph import Graph
from tflite_export.runtime import latency_ms, predict

BOTH = pytest.mark.parametrize("family", ["keras", "tf_keras"])


@BOTH
@pytest.mark.parametrize("quantize", ["none", "float16", "dynamic", "int8", "int16x8"])
def test_every_format_of_a_cnn(family, quantize, tmp_path):
    model, data = models.cnn(family), models.examples(60, 12, 12, 2)
    path = tmp_path / "model.tflite"
    report = export(model, path, quantize=quantize, data=data)
    assert isinstance(report, ExportReport)
    assert report.bytes == path.stat().st_size <= report.dense_bytes
    assert report.inputs == "data" and report.examples == 60 and report.batch == "dynamic"
    assert report.agreement >= 0.9
    limit = {"none": 1e-5, "float16": 5e-3, "dynamic": 0.1, "int8": 0.1, "int16x8": 0.02}
    assert report.error <= limit[quantize]
    # What is in the file when read back, not what the report says.
    outputs = predict(path, data)["output"]
    expected = model.predict(data, verbose=0)
    assert outputs.dtype == np.float32
    assert np.abs(outputs - expected).max() <= limit[quantize] * np.abs(expected).max()
    # Every weight is found, and no zero is lost (quantization may add some).
    found = {tensor.name: tensor.zeros for tensor in report.tensors}
    wanted = models.zeros_in(model)
    assert found.keys() == wanted.keys()
    assert all(found[name] >= wanted[name] > 0 for name in wanted)
    if quantize in ("none", "float16"):
        assert report.sparse and report.bytes < 0.6 * report.dense_bytes
    if quantize == "dynamic":
        assert not report.sparse and "dynamic range" in " ".join(report.remarks)
    if quantize in ("int8", "int16x8"):
        assert "zeros do not speed up int8 on a CPU" in " ".join(report.remarks)


@BOTH
@pytest.mark.parametrize("quantize", ["none", "int8"])
def test_recurrent_model_has_a_fixed_batch(family, quantize, tmp_path):
    model, data = models.recurrent(family), models.examples(40, 5, 8)
    report = export(model, tmp_path / "m.tflite", quantize=quantize, data=data)
    assert report.batch == "1" and "batch is fixed at 1" in " ".join(report.remarks)
    assert report.error < (1e-5 if quantize == "none" else 0.3)
    kernels = sum(tensor.zeros for tensor in report.tensors)
    assert kernels >= sum(models.zeros_in(model).values())
    assert not any("unrolled" in remark for remark in report.remarks)
    fused = inspect(tmp_path / "m.tflite").operators.get("UNIDIRECTIONAL_SEQUENCE_LSTM", 0)
    assert fused == (family == "tf_keras" or quantize == "int8")
    layer = model.layers[0]
    assert layer.unroll is False


def test_small_cell_states_are_computed_in_int8(tmp_path):
    # The converter's grid for them is finer than LiteRT's tanh can read.
    model, data = models.recurrent("tf_keras"), models.examples(40, 5, 8)
    model.layers[0].cell.kernel.assign(0.3 * model.layers[0].cell.kernel)
    report = export(model, tmp_path / "m.tflite", quantize="int8", data=data)
    assert report.error < 0.5  # of the largest output; 1.8 where tanh has no case


@BOTH
def test_recurrent_state_does_not_leak_between_examples(family, tmp_path):
    model, data = models.recurrent(family), models.examples(6, 5, 8)
    report = export(model, tmp_path / "m.tflite", data=data)
    again = predict(tmp_path / "m.tflite", data[::-1])["output"][::-1]
    np.testing.assert_allclose(again, model.predict(data, verbose=0), atol=1e-5)
    fused = any("(Interpreter.reset_all_variables)" in remark for remark in report.remarks)
    assert fused == (family == "tf_keras")


@BOTH
def test_open_axes(family, tmp_path):
    """Open where the converter can keep them; else fixed by the data, and never by chance."""
    library = models.KERASES[family]
    layers = library.layers
    pooled = models.with_zeros(
        library.Sequential(
            [library.Input((None, 4)), layers.Conv1D(8, 3), layers.GlobalMaxPooling1D()]
        )
    )
    report = export(pooled, tmp_path / "p.tflite", data=models.examples(4, 9, 4))
    assert report.batch == "dynamic"
    longer = models.examples(2, 21, 4)
    np.testing.assert_allclose(
        predict(tmp_path / "p.tflite", longer)["output"],
        pooled.predict(longer, verbose=0),
        atol=1e-5,
    )
    looping = models.with_zeros(library.Sequential([library.Input((None, 4)), layers.GRU(4)]))
    with pytest.raises(ValueError, match="open axis .* pass data="):
        export(looping, tmp_path / "l.tflite")
    assert not (tmp_path / "l.tflite").exists()
    report = export(looping, tmp_path / "l.tflite", data=models.examples(4, 6, 4))
    assert "takes (6, 4)" in " ".join(report.remarks)


@BOTH
def test_two_inputs_in_every_form(family, tmp_path):
    model = models.two_inputs(family)
    a, b = models.examples(20, 4), models.examples(20, 3)
    dataset = tf.data.Dataset.from_tensor_slices(((a, b), np.zeros(20))).batch(8)
    bare = tf.data.Dataset.from_tensor_slices((a, b))
    for data in ([a, b], (a, b), {"b": b, "a": a}, dataset, bare):
        report = export(model, tmp_path / "m.tflite", data=data)
        assert report.examples == 20 and report.error < 1e-5
    outputs = predict(tmp_path / "m.tflite", {"a": a, "b": b})
    expected = model.predict([a, b], verbose=0)
    np.testing.assert_allclose(outputs["output_0"], expected[0], atol=1e-5)
    np.testing.assert_allclose(outputs["output_1"], expected[1], atol=1e-5)


@BOTH
def test_data_goes_by_the_names_that_the_model_has(family, tmp_path):
    """Whatever the file calls them; names that nobody chose are numbered by position."""
    library = models.KERASES[family]
    for names, wanted, as_dict in (
        (("input_1", "input_0"), ["input_1", "input_0"], False),
        (("mid-dle", "a b"), ["mid_dle", "a_b"], False),
        (("mid-dle", "a b"), ["a_b", "mid_dle"], True),
        (("input_2", "input_1"), ["input_0", "input_1"], False),
        ((None, None), ["input_0", "input_1"], False),
    ):
        ends = [library.Input((2,), name=name) for name in names]
        model = library.Model(
            dict(zip(names, ends)) if as_dict else ends, library.layers.Subtract()(ends)
        )
        arrays = [np.full((4, 2), 3.0), np.full((4, 2), 1.0)]
        data = dict(zip(names, arrays)) if names[0] else arrays
        report = export(model, tmp_path / "m.tflite", data=data)
        assert [port.name for port in report.ports][:2] == wanted
        by_position = arrays[::-1] if as_dict else arrays
        assert np.all(predict(tmp_path / "m.tflite", by_position)["output"] == 2)
    streamed = tf.data.Dataset.from_tensor_slices({"mid-dle": arrays[0], "a b": arrays[1]})
    model = library.Model(
        ends := [library.Input((2,), name=name) for name in ("mid-dle", "a b")],
        library.layers.Subtract()(ends),
    )
    assert export(model, tmp_path / "m.tflite", data=streamed.batch(3)).examples == 4


@BOTH
def test_subclassed_model(family, tmp_path):
    library = models.KERASES[family]

    class Net(library.Model):
        def __init__(self):
            super().__init__()
            self.convolution = library.layers.Conv1D(4, 3)
            self.dense = library.layers.Dense(3)

        def call(self, inputs, training=False):
            return self.dense(self.convolution(inputs))

    model = Net()
    model(models.examples(1, 9, 2))
    report = export(models.with_zeros(model, 0.5), tmp_path / "m.tflite")
    assert report.error < 1e-5 and len(report.tensors) == 2


@BOTH
def test_random_inputs_are_reported_and_seeded(family, tmp_path):
    library = models.KERASES[family]
    model = models.with_zeros(
        library.Sequential(
            [
                library.Input((6,)),
                library.layers.Embedding(20, 8),
                library.layers.GlobalAveragePooling1D(),
                library.layers.Dense(2),
            ]
        ),
        0.5,
    )
    first, second = (export(model, tmp_path / f"{i}.tflite") for i in range(2))
    assert first.inputs == "seeded random" and first.examples == 64
    assert "seeded random inputs only" in " ".join(first.remarks)
    assert first.error == second.error < 1e-5


@BOTH
def test_dataset_with_labels_calibrates_int8(family, tmp_path):
    data = models.examples(50, 64)
    dataset = tf.data.Dataset.from_tensor_slices((data, np.arange(50))).batch(16)
    report = export(models.mlp(family), tmp_path / "m.tflite", quantize="int8", data=dataset)
    assert report.examples == 50 and report.agreement >= 0.9


@BOTH
def test_an_accelerator_takes_int8_and_stays_dense(family, tmp_path):
    from ai_edge_litert.interpreter import Interpreter

    model, data = models.cnn(family), models.examples(50, 12, 12, 2)
    path = tmp_path / "m.tflite"
    report = export(model, path, target="ethos-u55-128", quantize="int8", data=data)
    assert report.batch == "1" and not report.sparse and report.bytes == report.dense_bytes
    interpreter = Interpreter(model_path=str(path))
    details = interpreter.get_input_details() + interpreter.get_output_details()
    assert {detail["dtype"] for detail in details} == {np.int8}
    operators = {operator["op_name"] for operator in interpreter._get_ops_details()}
    assert "DENSIFY" not in operators and "SHAPE" not in operators
    assert report.agreement >= 0.9


@BOTH
def test_mixed_precision_is_exported_in_float32(family, tmp_path):
    library = models.KERASES[family]
    layers = library.layers
    model = models.with_zeros(
        library.Sequential(
            [
                library.Input((16,)),
                layers.Dense(8, activation="relu", dtype="mixed_float16"),
                layers.Dense(3, dtype="mixed_bfloat16"),
            ]
        ),
        0.5,
    )
    report = export(model, tmp_path / "m.tflite")
    assert report.error < 1e-5
    assert "mixed precision" in " ".join(report.remarks)
    assert [layer.compute_dtype for layer in model.layers] == ["float16", "bfloat16"]


@BOTH
def test_wrapped_model_is_stripped(family, tmp_path):
    import tfprune

    library = models.KERASES[family]
    model = tfprune.prune(models.mlp(family, 0.0), "magnitude", sparsity=0.75, schedule=None)
    model.compile("sgd", "mse")
    model.fit(
        models.examples(32, 64),
        models.examples(32, 4),
        verbose=0,
        callbacks=[tfprune.PruningCallback()],
    )
    report = export(model, tmp_path / "m.tflite")
    plain = tfprune.strip_pruning(model)
    assert isinstance(plain, library.Model)
    zeros = {tensor.name.split("/")[-2]: tensor.zeros for tensor in report.tensors}
    assert report.zeros == sum(models.zeros_in(plain).values()) > 0.7 * (64 * 96)
    assert len(zeros) == 2


def test_low_agreement_warns_once_and_still_writes(tmp_path):
    model = models.mlp("keras")
    narrow, wide = models.examples(20, 64) * 1e-3, models.examples(20, 64) * 1e3
    data = np.concatenate([narrow, wide])
    with pytest.warns(UserWarning, match="less than 90%") as caught:
        report = export(model, tmp_path / "m.tflite", quantize="int8", data=data)
    assert len(caught) == 1 and report.agreement < 0.9
    assert (tmp_path / "m.tflite").exists()


def test_a_constant_output_is_said_to_prove_little(tmp_path):
    model = models.mlp("keras")
    words = "the comparison proves little"
    assert words not in " ".join(export(model, tmp_path / "m.tflite").remarks)
    model.layers[-1].kernel.assign(np.zeros((96, 4)))
    assert words in " ".join(export(model, tmp_path / "m.tflite").remarks)


def test_the_model_is_left_as_it_was(tmp_path):
    model, data = models.cnn("keras"), models.examples(20, 12, 12, 2)
    before = [np.asarray(weight).copy() for weight in model.weights]
    export(model, tmp_path / "m.tflite", quantize="int8", data=data)
    for old, new in zip(before, model.weights, strict=True):
        np.testing.assert_array_equal(old, new)


def test_report_prints_and_serialises(tmp_path):
    report = export(models.mlp("keras"), tmp_path / "m.tflite")
    plain = json.loads(json.dumps(report.to_dict()))
    assert plain["bytes"] == report.bytes and plain["tensors"][0]["shape"] == [96, 64]
    console = Console(record=True, width=150, file=open(os.devnull, "w"))
    console.print(report)
    text = console.export_text()
    assert "m.tflite" in text and "96x64" in text and report.tensors[0].encoding in text


def test_nothing_is_printed(tmp_path, capfd):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        export(models.mlp("tf_keras"), tmp_path / "m.tflite")
    assert capfd.readouterr() == ("", "")


def test_latency_is_a_time_in_milliseconds(tmp_path):
    export(models.mlp("keras"), tmp_path / "m.tflite")
    assert 0 < latency_ms(tmp_path / "m.tflite", runs=5) < 100
    with pytest.raises(ValueError, match="runs=0"):
        latency_ms(tmp_path / "m.tflite", runs=0)


def test_latency_is_in_the_report_when_asked_for(tmp_path):
    device = target("mobile-sparse-f32", latency=True, threads=2, runs=9)
    report = export(models.mlp("keras"), tmp_path / "m.tflite", target=device)
    names = [
        f"latency, {threads}{of}"
        for threads in ("1 thread", "2 threads")
        for of in ("", ": interquartile range")
    ]
    found = {quantity.name: quantity for quantity in report.measured}
    assert list(found) == ["file", *names] and not report.missing
    assert all(0 < found[name].value < 100 and found[name].unit == "ms" for name in names[::2])
    assert all(found[name].value >= 0 for name in names[1::2])
    assert "interquartile range of 9 calls" in " ".join(report.remarks)
    plain = json.loads(json.dumps(report.to_dict()))
    assert {row["name"]: row["value"] for row in plain["measured"]}[names[0]] > 0
    console = Console(record=True, width=150, file=open(os.devnull, "w"))
    console.print(report)
    assert all(
        name in text for text in (console.export_text(), report.to_markdown()) for name in names
    )


def test_what_has_no_latency_says_why(tmp_path):
    layers = models.KERASES["tf_keras"].layers
    pooled = models.KERASES["tf_keras"].Sequential(
        [layers.Input((None, 4)), layers.Conv1D(8, 3), layers.GlobalMaxPooling1D()]
    )
    report = export(
        pooled,
        tmp_path / "p.tflite",
        target=target("mobile", latency=True),
        data=models.examples(4, 9, 4),
    )
    assert [quantity.name for quantity in report.measured] == ["file"]
    assert "latency not measured: input" in report.missing[0] and "open axis" in report.missing[0]
    plain = export(models.mlp("keras"), tmp_path / "m.tflite")
    assert [quantity.name for quantity in plain.measured] == ["file"] and not plain.missing


def test_a_file_is_parsed_once_to_be_read_and_once_to_be_edited(tmp_path, monkeypatch):
    parsed, parse = [], Graph.__init__

    def counting(graph, content):
        parsed.append(content)
        parse(graph, content)

    monkeypatch.setattr(Graph, "__init__", counting)
    assert export(models.mlp("tf_keras"), tmp_path / "m.tflite").sparse
    assert sorted(map(parsed.count, set(parsed))) == [1, 2]


def test_import_is_light():
    code = (
        "import sys, tflite_export\n"
        "heavy = {'keras', 'tf_keras', 'tensorflow', 'ai_edge_litert'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
