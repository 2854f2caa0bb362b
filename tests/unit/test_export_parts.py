# SPDX-License-Identifier: Apache-2.0
"""Parts of the export that need no converter: example inputs, zeros, silence, targets."""

import os
import sys
from types import SimpleNamespace

import numpy as np
import pytest
import tensorflow as tf

from tflite_export.api.verify import compare
from tflite_export.convert.representative_data import examples, spread
from tflite_export.convert.signature import Signature
from tflite_export.devices.litert_latency import Timing, cores
from tflite_export.devices.registry import TARGETS, executing, target
from tflite_export.flatbuffer.signature_io import Port, by_name
from tflite_export.report.export_report import ExportReport, TensorReport
from tflite_export.report.measurements import Measurement
from tflite_export.runtime.suppress_stderr import suppress_stderr
from tflite_export.sparsity import zero_check

IMAGE = Signature(("x",), ((None, 4, 3),), ("float32",), 0)
PAIR = Signature(("a", "b"), ((None, 2), (None, None)), ("float32", "int32"), [0, 1], ("a", "b x"))


class Dataset:
    """What `examples` uses of a tf.data.Dataset."""

    def __init__(self, *elements):
        self.elements = elements

    def as_numpy_iterator(self):
        return iter(self.elements)


@pytest.mark.parametrize(
    "elements, count",
    [
        ([np.ones((5, 4, 3)), np.ones((2, 4, 3))], 7),
        ([(np.ones((5, 4, 3)), np.ones(5))], 5),
        ([(np.ones((5, 4, 3)), np.ones(5), np.ones(5))], 5),
        ([np.ones((4, 3))] * 3, 3),
        ([(np.ones((4, 3)), 1)] * 3, 3),
        ([{"x": np.ones((5, 4, 3))}], 5),
        ([({"x": np.ones((5, 4, 3))}, np.ones(5))], 5),
    ],
)
def test_elements_of_a_dataset(elements, count):
    assert examples(Dataset(*elements), IMAGE, 100)["x"].shape == (count, 4, 3)
    assert len(examples(Dataset(*elements), IMAGE, 2)["x"]) == 2


def test_dataset_is_not_read_further_than_needed():
    def endless():
        while True:
            yield np.ones((8, 4, 3))

    stream = Dataset()
    stream.as_numpy_iterator = endless
    assert len(examples(stream, IMAGE, 20)["x"]) == 20


@pytest.mark.parametrize(
    "data",
    [
        [np.ones((3, 2)), np.ones((3, 5))],
        {"b": np.ones((3, 5)), "a": np.ones((3, 2))},
        {"b x": np.ones((3, 5)), "a": np.ones((3, 2))},
        Dataset((np.ones((3, 2)), np.ones((3, 5)))),
        Dataset(((np.ones((3, 2)), np.ones((3, 5))), np.ones(3))),
    ],
)
def test_two_inputs(data):
    found = examples(data, PAIR, 10)
    assert found["a"].shape == (3, 2) and found["b"].shape == (3, 5)
    assert found["a"].dtype == "float32" and found["b"].dtype == "int32"


def test_inputs_of_a_file_go_by_their_names_in_keras_as_well():
    taken = tuple(Port("input", n, name, (1,), "int8") for n, name in enumerate(["b_x", "a_y"]))
    assert by_name({"a-y": 1, "b x": 2}, taken) == by_name([2, 1], taken) == {"b_x": 2, "a_y": 1}
    for wrong in ({"a-y": 1, "a y": 1, "b_x": 2}, {"a-y": 1, 3: 2}):
        with pytest.raises(ValueError, match=r"inputs are for .*, expected \['a_y', 'b_x'\]"):
            by_name(wrong, taken)


@pytest.mark.parametrize(
    "data, message",
    [
        ([np.ones((3, 2)), np.ones((2, 5))], "different number of examples"),
        ([np.ones((3, 2)), np.full((3, 5), 0.5)], "values that are no int32"),
        (np.ones((3, 2)), "expected a list, tuple or dict of 2 arrays"),
        ({"a": np.ones((3, 2)), "c": 1}, r"inputs \['a', 'c'\], expected \['a', 'b'\]"),
        ([np.ones((3, 2)), np.ones(3)], r"input 'b' has shape \(3,\), expected \(examples, any\)"),
        (
            Dataset((np.ones((1, 2)), np.ones((1, 5))), (np.ones((1, 3)), np.ones((1, 5)))),
            r"input 'a' has shape \(1, 3\)",
        ),
        (Dataset(), "empty dataset"),
    ],
)
def test_wrong_data(data, message):
    with pytest.raises(ValueError, match=message):
        examples(data, PAIR, 10)


def test_ragged_examples_ask_for_padding():
    line = Signature(("x",), ((None, None),), ("float32",), 0)
    with pytest.raises(ValueError, match="different shapes .* pad them"):
        examples(Dataset(np.ones((1, 3)), np.ones((1, 4))), line, 10)


def test_spread_takes_both_ends():
    rows = spread({"x": np.arange(1000)}, 10)["x"]
    assert rows[0] == 0 and rows[-1] == 999 and len(set(rows)) == 10


def kernel(*shape, sparsity=0.7, seed=1):
    generator = np.random.default_rng(seed)
    return generator.normal(size=shape) * (generator.random(shape) >= sparsity)


@pytest.mark.parametrize(
    "shape, stored",
    [
        ((20, 12), lambda w: w.T),
        ((3, 3, 8, 16), lambda w: w.transpose(3, 0, 1, 2)),
        ((3, 3, 16, 8), lambda w: w.transpose(2, 0, 1, 3)),
        ((3, 3, 8, 2), lambda w: w.reshape(1, 3, 3, 16)),
        ((5, 8, 16), lambda w: w.transpose(2, 0, 1)[:, None]),
        ((8, 2, 12), lambda w: w.reshape(8, 24).T),
        ((3, 3, 3, 4, 5), lambda w: w),
    ],
)
def test_weights_are_found_in_every_layout(shape, stored):
    weight = kernel(*shape)
    other = kernel(*stored(weight).shape, seed=2)
    (found,) = zero_check.match({"w": weight}, {(0, 1): other, (0, 2): stored(weight)})
    assert found == zero_check.Match("w", (0, 2), np.count_nonzero(weight == 0), 0)


def test_weights_with_one_name_are_told_apart():
    first, second = (tf.Variable(tf.zeros(shape), name="kernel") for shape in ((4, 3), (3, 6)))
    bias = tf.Variable(tf.zeros((1, 3)), name="bias")
    found = zero_check.weights_of(SimpleNamespace(weights=[first, bias, second]))
    assert list(found) == ["kernel", "kernel (2)"] and found["kernel (2)"].shape == (3, 6)


def test_folded_factors_and_rounding_do_not_hide_a_weight():
    weight = kernel(3, 3, 8, 16)
    factors = np.random.default_rng(0).normal(size=16)
    folded = (weight * factors).transpose(3, 0, 1, 2)
    step = np.abs(folded).max(axis=(1, 2, 3), keepdims=True) / 127
    rounded = np.round(folded / step) * step
    (found,) = zero_check.match({"w": weight}, {(0, 2): rounded})
    assert found.at == (0, 2) and found.broken == 0


def test_broken_zeros_are_counted():
    weight = kernel(20, 12)
    damaged = weight.T.copy()
    places = np.argwhere(damaged == 0)[:3]
    damaged[tuple(places.T)] = 1e-20
    (found,) = zero_check.match({"w": weight}, {(0, 1): damaged})
    assert found.broken == 3


def test_gates_of_a_recurrent_kernel():
    weight = kernel(8, 24)
    parts = {(0, i): part.T for i, part in enumerate(np.split(weight, 4, axis=1))}
    found = zero_check.match({"k": weight}, parts)
    assert [m.weight for m in found] == [f"k[gate {i}]" for i in range(4)]
    assert {m.at for m in found} == set(parts) and not any(m.broken for m in found)


def test_what_is_not_in_the_file_is_not_claimed():
    others = {(0, 1): kernel(12, 20, seed=5), (0, 2): np.ones(3)}
    (found,) = zero_check.match({"w": kernel(20, 12)}, others)
    assert found.at is None and found.zeros > 0


def test_comparison_takes_the_worst_output():
    expected = {"p": np.array([[1.0, 2], [4, 3]]), "q": np.array([[10.0], [-10]])}
    got = {"p": np.array([[1.0, 2], [3, 4]]), "q": np.array([[10.0], [-9]])}
    result = compare(expected, got)
    assert result.error == 0.25 and result.worst == "p" and result.agreement == 0.5
    assert compare(expected, {**expected, "q": got["q"]}).agreement == pytest.approx(0.95)
    assert compare(expected, {**expected, "q": np.full((2, 1), np.nan)}).error == np.inf
    assert compare({"z": np.zeros((2, 2))}, {"z": np.zeros((2, 2))}).error == 0
    for other in ({"p": got["p"]}, {"q": got["q"], "p": got["p"]}):
        with pytest.raises(RuntimeError, match=r"outputs .* by position, .* \['p', 'q'\]"):
            compare(expected, other)


def test_two_outputs_of_one_shape_are_told_apart():
    """Whatever their names, and however coarse the file is."""
    first, second = np.random.default_rng(0).normal(size=(2, 9, 3))
    noise = np.random.default_rng(1).normal(size=(9, 3)) / 4
    assert compare({"a": first, "b": second}, {"a": first + noise, "b": second - noise}).error > 0
    with pytest.raises(RuntimeError, match="outputs 0 and 1 lie in each other's place"):
        compare({"a": first, "b": second}, {"a": second + noise, "b": first - noise})
    # Where both are the same, either may stand for the other.
    assert compare({"a": first, "b": first}, {"a": first + noise, "b": first}).error > 0


def test_silence_ends_with_the_block_even_after_an_error(capfd):
    with pytest.raises(KeyError), suppress_stderr():
        os.write(2, b"inside")
        raise KeyError
    os.write(2, b"after")
    print("python", file=sys.stderr)
    captured = capfd.readouterr()
    assert "inside" not in captured.err and "after" in captured.err and "python" in captured.err


def test_targets_are_found_by_name_and_by_object():
    assert all(executing(name, found.quantize[-1]) is found for name, found in TARGETS.items())
    assert executing(TARGETS["tflm"], "int8") is TARGETS["tflm"]
    assert [name for name, row in TARGETS.items() if row.integer_io and "none" in row.quantize] == [
        "tflm"
    ]
    with pytest.raises(ValueError, match="unknown target 'micro'; possible are 'mobile'"):
        target("micro")
    with pytest.raises(ValueError, match="no option 'ram'; it has 'latency', .*'output_type'"):
        target("mobile", ram=1)
    with pytest.raises(TypeError, match="target is a int, expected a name or a Target"):
        executing(3, "int8")


@pytest.mark.parametrize(
    "options",
    [
        {"latency": "yes"},
        {"latency": 1},
        {"threads": 0},
        {"threads": 1.5},
        {"runs": 0},
        {"runs": True},
    ],
)
def test_impossible_timing(options):
    ((name, value),) = options.items()
    with pytest.raises(ValueError, match=f"{name}={value!r}: expected"):
        target("mobile", **options)


def test_threads_are_counted_once():
    assert Timing(threads=1).counts == (1,) and Timing(threads=4).counts == (1, 4)
    assert Timing().counts == tuple(sorted({1, cores()}))


def test_report_counts_zeros():
    tensors = (
        TensorReport("a", (2, 2), "int8", 3, 4, "csr"),
        TensorReport("b", (2, 2), "int8", 1, 4, "dense"),
    )
    report = ExportReport(
        path="p",
        bytes=1,
        gzip_bytes=1,
        dense_bytes=2,
        dense_gzip_bytes=2,
        error=0.0,
        agreement=1.0,
        tensors=tensors,
    )
    assert report.zeros == 4 and report.sparse
    assert report.to_dict()["tensors"][0]["encoding"] == "csr"


def test_report_as_markdown_has_every_weight_measurement_and_remark():
    tensors = (TensorReport("a_1|b", (2, 3), "int8", 3, 6, "csr"),)
    report = ExportReport(
        path="p",
        bytes=1,
        gzip_bytes=1,
        dense_bytes=2,
        dense_gzip_bytes=2,
        error=0.0,
        agreement=1.0,
        tensors=tensors,
        measured=(Measurement("arena", 2048, "bytes"),),
        dense_measured=(Measurement("arena", 1024, "bytes"),),
        missing=("no time: no device",),
        remarks=("kept *dense*",),
    )
    text = report.to_markdown()
    assert "| arena | 2,048 | 1,024 | bytes |" in text
    assert r"| a\_1\|b | 2x3 | int8 | 3 (50%) | csr |" in text
    assert "- no time: no device\n- kept \\*dense\\*\n" in text
    plain = report.to_dict()
    assert plain["measured"] == [{"name": "arena", "value": 2048, "unit": "bytes"}]
