# SPDX-License-Identifier: Apache-2.0
"""Ethos-U: dense int8 files, and what Vela says of them."""

import struct
import subprocess

import export_models as models
import numpy as np
import pytest
import tf_keras

from tflite_export import export, inspect
from tflite_export.devices import ethos_u, vela
from tflite_export.devices.registry import ACCELERATORS, target
from tflite_export.devices.target import ExportContext
from tflite_export.devices.vela import UNKNOWN, compiled_for
from tflite_export.flatbuffer.graph import Graph, schema

INSTALLED = pytest.mark.skipif(
    not vela.installed(), reason="ethos-u-vela is installed on Linux on x86-64 only"
)


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """(report, bytes) of a pruned model for two accelerators, and (None, bytes) unpruned."""
    folder, made = tmp_path_factory.mktemp("ethos"), {}
    data = models.examples(40, 12, 12, 2)
    for name, sparsity in (("ethos-u55-128", 0.8), ("ethos-u85-256", 0.8), ("dense", 0.0)):
        device = "ethos-u55-128" if name == "dense" else name
        path = folder / f"{name}.tflite"
        report = export(
            models.cnn("keras", sparsity), path, target=device, quantize="int8", data=data
        )
        made[name] = report, path.read_bytes()
    return made


@INSTALLED
def test_vela_estimates_are_in_the_report(files):
    report, content = files["ethos-u55-128"]
    values = {found.name: found for found in report.measured}
    assert values["file"].value == len(content) == report.bytes and not report.missing
    assert {"flash", "SRAM", "packed weights", "NPU cycles", "cycles", "time"} <= values.keys()
    assert values["time"].unit == "ms" and values["time"].value > 0
    # Zeros stay in the file, and Vela packs them.
    assert report.zeros > 0.7 * sum(tensor.elements for tensor in report.tensors)
    assert not report.sparse and "Vela takes dense int8" in " ".join(report.remarks)
    dense = {found.name: found.value for found in files["dense"][0].measured}
    assert values["packed weights"].value < 0.6 * dense["packed weights"]
    assert values["NPU cycles"].value == pytest.approx(dense["NPU cycles"], rel=0.05)
    assert "Ethos_U55_High_End_Embedded with Shared_Sram" in " ".join(report.remarks)


@INSTALLED
def test_the_system_can_be_chosen(files):
    content = files["dense"][1]
    device = target("ethos-u55-128", system="Ethos_U55_Deep_Embedded", memory="Sram_Only")
    slower, usual = (
        {found.name: found.value for found in device.measure(content, options).values}
        for options in (device.options, None)
    )
    assert slower["time"] > usual["time"]
    missing = device.measure(content, vela.Memory(system="Mars")).missing
    assert "Vela failed" in missing[0] and "System_Config.Mars" in missing[0]


def test_two_of_four_is_told_apart(files):
    report, content = files["ethos-u85-256"]
    told = " ".join(report.remarks)
    assert "not 2:4 along the input channels" in told and "tfprune.NofM(2, 4)" in told
    graph = Graph(content)
    readers = {at: [graph.code(o) for o, _ in graph.readers(at[1])] for at in graph.constants()}
    at = next(
        at
        for at, codes in readers.items()
        if codes == [schema().BuiltinOperator.FULLY_CONNECTED] and graph.constants()[at].ndim == 2
    )
    array = graph.constants()[at].copy()
    array[:, 2::4] = array[:, 3::4] = 0
    graph.model.buffers[graph.tensor(*at).buffer].data = np.frombuffer(array.tobytes(), np.uint8)
    remarks = ethos_u.pack(
        "ethos-u85-256", graph.content(), ExportContext("int8", {at: "head"}, {})
    ).remarks
    assert any("reads as 2:4" in remark and "head" in remark for remark in remarks)
    assert "2:4" not in " ".join(files["ethos-u55-128"][0].remarks)


@INSTALLED
def test_operators_of_the_cpu_are_named(tmp_path):
    path = tmp_path / "m.tflite"
    export(models.mlp("keras"), path, target="tflm")
    content = path.read_bytes()
    with pytest.raises(ValueError, match=r"executes no operator .*FULLY_CONNECTED: .*Float32"):
        ethos_u.pack("ethos-u55-128", content, ExportContext("int8", {}, {}))
    # Encoded for a microcontroller: not passed on.
    missing = ethos_u.measure("ethos-u55-128", content).missing
    assert "encoded" in missing[0]


@INSTALLED
def test_what_vela_says_when_it_fails_is_shown(files):
    content = files["dense"][1]
    graph = Graph(content)
    # Vela 5.2 dies of weights with 4 bits.
    weights = [o.inputs[1] for o in graph.operators() if len(o.inputs) == 3]
    for index in weights:
        graph.tensor(0, index).type = schema().TensorType.INT4
    broken = graph.content()
    measured = ethos_u.measure("ethos-u55-128", broken)
    assert [value.name for value in measured.values] == ["file"]
    assert "Vela failed: " in measured.missing[0]
    assert ethos_u.pack("ethos-u55-128", broken, ExportContext("int8", {}, {})).content == broken
    slow = vela.Memory(seconds=0.01)
    assert "within 0.01 seconds" in ethos_u.measure("ethos-u55-128", content, slow).missing[0]
    assert "no .tflite file" in ethos_u.measure("ethos-u55-128", content[:99]).missing[0]


@pytest.mark.parametrize(
    "settings, said",
    [
        ({"seconds": "a"}, "seconds='a': expected a number above 0"),
        ({"seconds": 0}, "seconds=0: expected"),
        ({"config": None}, "config=None: expected a text"),
        ({"system": 3}, "system=3: expected a text"),
    ],
)
def test_systems_that_are_none(settings, said):
    with pytest.raises(ValueError, match=said):
        vela.Memory(**settings)


@pytest.mark.parametrize(
    "code, out, err, message",
    [
        (-8, "", "", "it was ended by signal 8"),
        (1, "words", "", "exit code 1: words"),
        (1, "", "a\nRuntimeError: Non-passthrough operation\n", "RuntimeError: Non-passthrough"),
        (1, "Error: Invalid input\n", "", "Error: Invalid input"),
    ],
)
def test_a_crash_of_vela_is_told(code, out, err, message, monkeypatch):
    monkeypatch.setattr(
        subprocess, "run", lambda command, **_: subprocess.CompletedProcess(command, code, out, err)
    )
    with pytest.raises(RuntimeError, match=f"Vela failed: {message}"):
        vela.compiled(b"file %d" % code + out.encode(), "ethos-u55-128")


def test_without_vela_the_report_says_so(files, monkeypatch):
    monkeypatch.setattr(vela, "installed", lambda: False)
    measured = ethos_u.measure("ethos-u65-256", files["dense"][1])
    assert "pip install 'tfprune[ethos-u]'" in measured.missing[0]
    assert [value.name for value in measured.values] == ["file"]


@INSTALLED
def test_a_compiled_file_is_for_one_accelerator_and_for_tflite_micro(files, tmp_path):
    for name in ("ethos-u55-128", "ethos-u85-256"):
        place = tmp_path / f"{name}.tflite"
        place.write_bytes(vela.compiled(files[name][1], name).content)
        found = inspect(place)
        assert found.quantize == "int8" and found.operators == {"ethos-u": 1}
        assert found.targets["mobile"].objections == ("LiteRT has no operator ethos-u",)
        assert not found.targets["tflm"].objections and name in found.targets["tflm"].notes[0]
        said = {key: one.objections for key, one in found.targets.items() if "ethos" in key}
        assert said.pop(name) == () and set(said.values()) == {(f"Vela compiled it for {name}",)}


@pytest.mark.parametrize(
    "word, name",
    [
        (0x1005, "ethos-u55-32"),
        (0x1807, "ethos-u55-128"),
        (0x10003008, "ethos-u65-256"),
        (0x10003009, "ethos-u65-512"),
        (0x2000011B, "ethos-u85-2048"),
        (0x70000007, UNKNOWN),
    ],
)
def test_commands_name_their_accelerator(files, tmp_path, word, name):
    graph = Graph(files["dense"][1])
    operator = graph.operators()[-1]
    graph.model.subgraphs[0].operators = [operator]
    operator.opcodeIndex, operator.builtinOptions = graph.custom_code("ethos-u"), None
    commands = struct.pack("<3I", 0x31504F43, 0x100001, word)
    operator.inputs = [graph.new_tensor(0, [12], schema().TensorType.UINT8, content=commands)]
    assert compiled_for(graph) == (name,)
    (tmp_path / "m.tflite").write_bytes(graph.content())
    targets = inspect(tmp_path / "m.tflite").targets
    fitting = [key for key in ACCELERATORS if not targets[key].objections]
    # Where the file does not tell, nothing is refused.
    assert fitting == (list(ACCELERATORS) if name == UNKNOWN else [name])


@INSTALLED
@pytest.mark.parametrize("make, quantize", [("cnn", "int16x8"), ("recurrent", "int8")])
def test_what_has_16_bits_is_taken_whole(make, quantize, tmp_path):
    """16-bit activations, and the cell state of an int8 LSTM."""
    tf_keras.utils.set_random_seed(0)  # of 20 examples a few are close to two classes
    model = getattr(models, make)("tf_keras")
    data = models.examples(20, *model.inputs[0].shape[1:])
    report = export(
        model, tmp_path / "m.tflite", target="ethos-u55-128", quantize=quantize, data=data
    )
    values = {found.name: found.value for found in report.measured}
    assert values["NPU cycles"] > 0 and "left to the CPU" not in " ".join(report.remarks)
    found = inspect(tmp_path / "m.tflite")
    assert found.quantize == quantize and report.agreement > 0.9
    assert not any(found.targets[name].objections for name in ACCELERATORS)
