# SPDX-License-Identifier: Apache-2.0
"""`inspect`: what it finds in files of every encoding, and that damaged ones are errors."""

import json
import os
import re
import struct
import time
from pathlib import Path

import damaged as damage
import export_models as models
import numpy as np
import pytest
from rich.console import Console

from tflite_export import inspect, runtime
from tflite_export.__main__ import main
from tflite_export.devices import tflm_operators
from tflite_export.devices.tflm_operators import resolver_method
from tflite_export.flatbuffer.graph import Graph, schema
from tflite_export.flatbuffer.signature_io import ports
from tflite_export.runtime import tflm_interpreter
from tflite_export.sparsity.densify import plain


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("files")
    made = damage.files()
    for name, content in made.items():
        (folder / f"{name}.tflite").write_bytes(content)
    return folder, made


@pytest.mark.parametrize(
    "name, quantize, encodings",
    [
        ("dense", "none", {"dense"}),
        ("blocks", "none", {"block 1x4"}),
        ("csr", "none", {"dense", "csr"}),
        ("int8", "int8", None),
        ("float16", "float16", None),
        ("bitmaps", "int8", {"dense", "bitmap"}),
        ("loop", "none", {"dense"}),
    ],
)
def test_every_encoding(files, name, quantize, encodings):
    folder, made = files
    found = inspect(os.fsencode(folder / f"{name}.tflite"))
    assert found.bytes == len(made[name]) and found.quantize == quantize
    if encodings is not None:
        assert {tensor.encoding for tensor in found.tensors if tensor.elements > 99} <= encodings
        assert encodings <= {tensor.encoding for tensor in found.tensors}
    assert sum(tensor.bytes for tensor in found.tensors) < found.bytes
    plain = json.loads(json.dumps(found.to_dict()))
    assert plain["operators"] == found.operators and len(plain["targets"]) == 14


def test_zeros_and_bytes_are_those_of_the_keras_weights(files):
    model = models.cnn("tf_keras", 0.9)
    wanted = sorted(models.zeros_in(model).values())
    for name in ("csr", "int8", "bitmaps"):
        found = inspect(files[0] / f"{name}.tflite")
        kernels = [t for t in found.tensors if len(t.shape) > 1 and t.dtype != "int32"]
        zeros = sorted(tensor.zeros for tensor in kernels)
        assert len(zeros) == len(wanted)
        if name == "csr":
            assert zeros == wanted
        assert all(have >= want for have, want in zip(zeros, wanted, strict=True))
        size = 4 if name == "csr" else 1
        assert all(t.bytes == size * t.elements for t in kernels if t.encoding == "dense")
        assert all(t.bytes < size * t.elements for t in kernels if t.encoding != "dense")


def test_what_each_target_makes_of_it(files):
    def objections(name, target):
        opinion = inspect(files[0] / f"{name}.tflite").targets[target]
        return " ".join(opinion.objections)

    assert objections("dense", "mobile") == objections("csr", "mobile") == ""
    assert "reads no sparse encoding" in objections("csr", "tflm")
    assert "executes int8" in objections("dense", "ethos-u55-128")
    assert objections("bitmaps", "tflm") == ""
    assert "no operator that decodes bitmaps" in objections("bitmaps", "mobile")
    assert "garbage" in objections("bitmaps", "ethos-u85-256")
    assert "there is no 1x1 convolution" in objections("csr", "mobile-sparse-f32")


def test_formats_of_the_command(files, capsys):
    path = str(files[0] / "csr.tflite")
    assert main(["inspect", path, "--format", "json"]) == 0
    assert json.loads(capsys.readouterr().out)["quantize"] == "none"
    assert main(["inspect", path, "--format", "markdown"]) == 0
    assert "| CONV_2D |" in capsys.readouterr().out.replace("\\_", "_")
    assert main(["inspect", path]) == 0
    assert "CONV_2D" in capsys.readouterr().out
    assert main(["inspect", path + "x"]) == 1
    assert "No such file" in capsys.readouterr().err
    Console(file=open(os.devnull, "w")).print(inspect(path))


@pytest.mark.parametrize(
    "content, message",
    [
        (b"", "it is empty"),
        (b"TFL3", "no .tflite file"),
        (b"PK\3\4" + bytes(99), "begins with"),
        (b"\x14\0\0\0TFL3", "damaged"),
        (bytes(4) + b"TFL3" + bytes(99), "damaged"),
        (b"\xff\xff\xff\x7fTFL3" + bytes(99), "reach outside"),
    ],
)
def test_what_is_no_model(content, message, tmp_path):
    (tmp_path / "m.tflite").write_bytes(content)
    with pytest.raises(ValueError, match=message):
        inspect(tmp_path / "m.tflite")
    with pytest.raises(OSError):
        inspect(tmp_path)


def test_tables_that_share_their_bytes_are_not_visited_for_ever(tmp_path):
    """3,000 graphs of 3,000 tensors in 24 kB: every offset is legal, and points to the same."""

    def vector(at, target):
        places = range(at + 4, at + 4 + 4 * 3000, 4)
        return struct.pack("<I3000I", 3000, *(target - place for place in places))

    head = struct.pack("<I4s6HiI", 20, b"TFL3", 12, 8, 0, 0, 4, 0, 12, 4)
    graph = len(head) + 4 + 4 * 3000 + 8
    tensor = graph + 8 + 4 + 4 * 3000 + 4
    content = head + vector(len(head), graph) + struct.pack("<4HiI", 6, 8, 4, 0, 8, 4)
    content += vector(graph + 8, tensor) + struct.pack("<2Hi", 4, 4, 4)
    (tmp_path / "m.tflite").write_bytes(content)
    start = time.perf_counter()
    with pytest.raises(ValueError, match="more tables inside each other"):
        inspect(tmp_path / "m.tflite")
    assert time.perf_counter() - start < 5


def test_damaged_files_are_errors_and_never_more(files, tmp_path):
    """A short run of benchmarks/fuzz.py: anything but an `Inspection` or a ValueError fails."""
    refused, path = 0, tmp_path / "m.tflite"
    for number, content in enumerate(files[1].values()):
        for seed in range(60):
            path.write_bytes(damage.damaged(content, 1000 * number + seed))
            try:
                inspect(path)
            except ValueError as error:
                refused += 1
                assert str(error)
    assert refused > 150


def test_weights_of_another_size_than_their_shape(files, tmp_path):
    graph = Graph(files[1]["dense"])
    tensor = graph.tensor(*next(at for at, a in graph.constants().items() if a.ndim == 2))
    for damage_it, message in [
        (lambda: setattr(tensor, "shape", np.array([3, 3])), "bytes, expected"),
        (lambda: setattr(tensor, "shape", np.array([-1, 3])), "shape"),
        (lambda: setattr(tensor, "buffer", 999), "999"),
    ]:
        damage_it()
        (tmp_path / "m.tflite").write_bytes(graph.content())
        with pytest.raises(ValueError, match=message):
            inspect(tmp_path / "m.tflite")


def _said(graph, place, target):
    """The objections of a target to a graph that is written to a file."""
    place.write_bytes(graph.content())
    return " ".join(inspect(place).targets[target].objections)


def test_a_bias_may_have_the_axis_of_its_kernel(files, tmp_path):
    """Older converters wrote that: who computes with it does not look, LiteRT of today does."""
    content = plain(files[1]["int8"])
    (tmp_path / "m.tflite").write_bytes(content)
    graph, before = Graph(content), inspect(tmp_path / "m.tflite")
    biases = [
        at
        for at, a in graph.constants().items()
        if a.dtype == np.int32 and a.ndim == 1 and len(graph.scales(*at)) == a.size > 1
    ]
    for at in biases:
        graph.tensor(*at).quantization.quantizedDimension = 3
    assert biases and _said(graph, tmp_path / "m.tflite", "tflm") == ""
    found = inspect(tmp_path / "m.tflite")
    assert found.tensors == before.tensors and found.targets["ethos-u55-128"].objections == ()
    name = graph.name(*biases[0])
    assert f"LiteRT refuses {name!r}" in found.targets["mobile"].objections[0]
    image = {ports(content)[0][0].name: models.examples(2, 12, 12, 2)}
    with pytest.raises(RuntimeError, match="quantized_dimension"):
        runtime.predict(graph.content(), image)
    if tflm_interpreter.installed():
        one, other = (tflm_interpreter.predict(c, image) for c in (graph.content(), content))
        assert all(np.array_equal(one[key], other[key]) for key in other)


def _of_one_operator(content, name):
    """A file whose last operator is another one."""
    graph = Graph(plain(content))
    operator = graph.operators()[-1]
    graph.model.subgraphs[0].operators = [operator]
    operator.opcodeIndex, operator.builtinOptions = graph.custom_code(name), None
    operator.builtinOptionsType = 0
    return graph


@pytest.mark.parametrize(
    "name, method, lite",
    [
        ("SignalEnergy", "AddEnergy", False),
        ("SignalFilterBankSquareRoot", "AddFilterBankSquareRoot", False),
        ("SignalPCAN", "AddPCAN", False),
        ("CIRCULAR_BUFFER", "AddCircularBuffer", False),
        ("TFLite_Detection_PostProcess", "AddDetectionPostprocess", True),
        ("Mfcc", None, True),
        ("FlexErf", None, False),
        ("of my own", None, False),
    ],
)
def test_custom_operators_are_refused_only_where_they_are_missing(
    files, tmp_path, name, method, lite
):
    graph, place = _of_one_operator(files[1]["int8"], name), tmp_path / "m.tflite"
    assert _said(graph, place, "tflm") == ("" if method else f"TFLite Micro has no operator {name}")
    assert method is None or resolver_method(name) == method
    assert ("" if lite else name) in _said(graph, place, "mobile")
    assert lite == (_said(graph, place, "mobile") == "")
    if not lite:
        with pytest.raises(RuntimeError, match="custom op|Select TensorFlow op"):
            (port,) = ports(graph.content())[0]
            runtime.predict(graph.content(), {port.name: models.examples(1, 12, 12, 2)})


@pytest.mark.skipif(
    not tflm_interpreter.installed(), reason="tflite-micro is installed on x86-64 Linux only"
)
def test_the_operators_of_tflite_micro_are_those_of_its_package():
    import tflite_micro

    (library,) = Path(tflite_micro.__file__).parent.rglob("_runtime.so")
    symbols = {
        word.decode()
        for word in re.findall(
            rb"_ZN6tflite5micro(?:11tflm_signal)?\d+Register_([A-Z0-9_]+)Ev", library.read_bytes()
        )
    }
    # Kernels for one type stand beside the one for all, and one is for tests.
    kinds = re.compile(r".*_(FLOAT|INT16|INT32)|L2NORM_REF")
    registered = {name for name in symbols if not kinds.fullmatch(name)}
    schemas = {name for name in vars(schema().BuiltinOperator) if name.isupper()}
    assert tflm_operators.BUILTIN == registered & schemas
    methods = {resolver_method(name)[3:].upper() for name in tflm_operators.CUSTOM}
    assert methods == {name.replace("_", "") for name in registered - schemas}
