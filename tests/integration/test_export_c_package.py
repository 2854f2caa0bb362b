# SPDX-License-Identifier: Apache-2.0
"""The C package: what a C compiler makes of it, and what is refused."""

import dataclasses
import re
import shutil
import subprocess

import export_models as models
import numpy as np
import pytest

from tflite_export import c_package, export
from tflite_export.devices import tflm, tflm_operators, vela
from tflite_export.devices.registry import target
from tflite_export.devices.target import ExportContext
from tflite_export.flatbuffer.graph import Graph, schema
from tflite_export.flatbuffer.signature_io import ports, quantized
from tflite_export.runtime import tflm_interpreter
from tflite_export.runtime.tflm_interpreter import execute
from tflite_export.sparsity.encode import encode

pytestmark = pytest.mark.skipif(
    not tflm_interpreter.installed(), reason="tflite-micro has wheels for Linux on x86-64 only"
)
HOST = pytest.mark.skipif(not shutil.which("g++"), reason="gcc and g++ are not installed")
ARM = pytest.mark.skipif(
    not shutil.which("arm-none-eabi-g++"), reason="gcc-arm-none-eabi is not installed"
)
WARNINGS = ["-Wall", "-Wextra", "-Werror"]

# TFLite Micro's interface as far as a package uses it, with an interpreter that answers with the
# expected output, moved by STEP.
STUBS = {
    "tensorflow/lite/micro/micro_mutable_op_resolver.h": """
        #pragma once
        enum TfLiteStatus { kTfLiteOk = 0, kTfLiteError = 1 };
        #define TF_LITE_ENSURE_STATUS(a) do { TfLiteStatus s = (a); \\
            if (s != kTfLiteOk) return s; } while (0)
        namespace tflite {
        template <unsigned int capacity> class MicroMutableOpResolver {
         public:
          METHODS
          unsigned int added = 0;
         private:
          TfLiteStatus Add() { return added++ < capacity ? kTfLiteOk : kTfLiteError; }
        };
        }""",
    "tensorflow/lite/micro/micro_interpreter.h": """
        #pragma once
        #include <stddef.h>
        #include <stdint.h>
        #include "model_test_vector.h"
        #include "tensorflow/lite/schema/schema_generated.h"
        struct TfLiteTensor { union { char* raw; } data; size_t bytes; };
        namespace tflite {
        class MicroInterpreter {
         public:
          template <typename R>
          MicroInterpreter(const Model*, const R&, uint8_t* arena, size_t size)
              : arena_(reinterpret_cast<char*>(arena)), size_(size) {}
          TfLiteStatus AllocateTensors() { return kTfLiteOk; }
          size_t arena_used_bytes() const { return size_ / 2; }
          TfLiteTensor* input(size_t i) {
            tensor_.data.raw = arena_; tensor_.bytes = model_inputs[i].bytes; return &tensor_;
          }
          TfLiteStatus Invoke() { return kTfLiteOk; }
          TfLiteTensor* output(size_t i) {
            tensor_.bytes = model_outputs[i].bytes; tensor_.data.raw = arena_;
            const char* expected = static_cast<const char*>(model_outputs[i].data);
            if (expected == nullptr) return &tensor_;
            for (size_t n = 0; n < tensor_.bytes; ++n) arena_[n] = expected[n];
            arena_[tensor_.bytes - 1] = static_cast<char>(expected[tensor_.bytes - 1] + STEP);
            return &tensor_;
          }
         private:
          char* arena_; size_t size_; TfLiteTensor tensor_;
        };
        }""",
    "tensorflow/lite/micro/system_setup.h": """
        #pragma once
        namespace tflite { inline void InitializeTarget() {} }""",
    "tensorflow/lite/schema/schema_generated.h": """
        #pragma once
        namespace tflite {
        struct Model { unsigned int version() const { return 3; } };
        inline const Model* GetModel(const void* data) { return static_cast<const Model*>(data); }
        }""",
}


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """(package, folder, int8 file) of a pruned model."""
    folder = tmp_path_factory.mktemp("package")
    report = export(
        models.cnn("keras"),
        folder / "m.tflite",
        target="tflm",
        quantize="int8",
        data=models.examples(40, 12, 12, 2),
    )
    package = c_package(report, folder / "c", inputs=models.examples(3, 12, 12, 2))
    for name, text in STUBS.items():
        methods = " ".join(
            f"TfLiteStatus {method}() {{ return Add(); }}"
            for method in (
                "AddConv2D",
                "AddDepthwiseConv2D",
                "AddFullyConnected",
                "AddReshape",
                "AddDecode",
                "AddEthosU",
            )
        )
        path = folder / "stubs" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text.replace("METHODS", methods))
    return package, folder, (folder / "m.tflite").read_bytes()


def test_what_is_in_the_sources(made):
    package, folder, content = made
    assert sorted(path.name for path in (folder / "c").iterdir()) == sorted(package.files)
    operators = "CONV_2D DEPTHWISE_CONV_2D FULLY_CONNECTED RESHAPE TFLM_DECODE"
    assert " ".join(package.operators) == operators
    source = (folder / "c" / "model.c").read_text()
    body = source.partition("{")[2].partition("}")[0]
    stored = bytes(int(number) for number in re.findall(r"\d+", body))
    assert execute(stored, [np.zeros((1, 12, 12, 2), np.int8)])[0].dtype == np.int8
    assert stored == content and "_Alignas(16)" in source
    for port in sum(ports(content), ()):
        assert str(port) in (folder / "c" / "model.h").read_text()
    # The arena that is reserved is the measured one and a margin, as the comment says.
    header = (folder / "c" / "model.h").read_text()
    assert f"MODEL_ARENA_BYTES {package.cortex_m_bytes}\n" in header
    assert f"TFLite Micro of {tflm_operators.installed_month()}" in " ".join(header.split("\n// "))
    assert "TFLM_DECODE (bitmaps): November 2025" in header and "September 2024" in header
    assert f"MODEL_ARENA_BYTES {package.arena_bytes}\n" in header
    assert f"{package.measured_bytes} measured" in header
    assert package.measured_bytes == tflm_interpreter.arena_bytes(content)
    assert 1.1 * package.measured_bytes <= package.arena_bytes and not package.arena_bytes % 1024
    # The first example that was passed, as the file stores it, and what it gives.
    (port,), _ = ports(content)
    given = quantized(models.examples(3, 12, 12, 2)[:1], port)
    vector = (folder / "c" / "model_test_vector.c").read_text()
    numbers = [
        re.findall(r"-?\d+", part.partition("{")[2].partition("}")[0])
        for part in vector.split("static const ")[1:]
    ]
    assert [int(n) for n in numbers[0]] == given.reshape(-1).tolist()
    assert [int(n) for n in numbers[1]] == execute(content, [given])[0].reshape(-1).tolist()


def _ran(folder, package, step):
    """What a program says that the host's compiler makes of a package."""
    objects = []
    for name in ("model", "model_test_vector"):
        objects.append(str(folder / f"{name}.o"))
        subprocess.run(
            [
                "gcc",
                "-std=c11",
                "-pedantic",
                *WARNINGS,
                "-c",
                f"{package}/{name}.c",
                "-o",
                objects[-1],
            ],
            cwd=folder,
            check=True,
        )
    program = folder / "program"
    subprocess.run(
        [
            "g++",
            "-std=c++17",
            *WARNINGS,
            f"-DSTEP={step}",
            f"-I{package}",
            "-Istubs",
            f"{package}/main.cc",
            *objects,
            "-o",
            str(program),
        ],
        cwd=folder,
        check=True,
    )
    return subprocess.run([program], capture_output=True, text=True, check=False)


@HOST
@pytest.mark.parametrize("step, code", [(0, 0), (1, 0), (2, 7)])
def test_the_host_compiler_takes_it(made, step, code):
    """The program passes with the expected output, or one step of rounding, and fails with two."""
    _, folder, _ = made
    done = _ran(folder, "c", step)
    assert done.returncode == code, done.stdout
    assert ("passed" in done.stdout) == (code == 0)


@HOST
@pytest.mark.skipif(not vela.installed(), reason="ethos-u-vela is not installed")
def test_what_vela_compiled_has_no_expected_output_and_says_so(made, tmp_path):
    _, folder, content = made
    device = target("ethos-u55-128", compiled=tmp_path / "npu.tflite")
    report = export(
        models.cnn("keras"),
        tmp_path / "m.tflite",
        target=device,
        quantize="int8",
        data=models.examples(40, 12, 12, 2),
    )
    assert report.compiled == str(tmp_path / "npu.tflite")
    package = c_package(report, folder / "npu")
    assert package.operators == ("ethos-u",) and "no expected output" in package.notes[0]
    # Vela's plan of its memory fits.
    planned = {found.name: found.value for found in report.measured}["SRAM"]
    assert planned < package.arena_bytes == package.cortex_m_bytes < planned + 8192
    assert "resolver.AddEthosU()" in (folder / "npu" / "model_operators.h").read_text()
    for name in ("model.h", "model_test_vector.h", "main.cc"):
        assert "Ethos-U" in (folder / "npu" / name).read_text()
    done = _ran(folder, "npu", 0)
    assert done.returncode == 0 and "no expected output" in done.stdout
    with pytest.raises(ValueError, match="not compiled yet, .* compiled=path"):
        c_package(dataclasses.replace(report, compiled=""), folder / "npu")
    with pytest.raises(ValueError, match="is the path of the file it is made of"):
        export(
            models.cnn("keras"),
            tmp_path / "npu.tflite",
            target=device,
            quantize="int8",
            data=models.examples(40, 12, 12, 2),
        )


@ARM
def test_the_compiler_for_cortex_m_takes_it(made):
    _, folder, content = made
    flags = ["-mcpu=cortex-m4", "-mthumb", "-Os", *WARNINGS, "-Ic", "-Istubs", "-DSTEP=0"]
    for compiler, standard, name in (
        ("gcc", "c11", "model.c"),
        ("gcc", "c11", "model_test_vector.c"),
        ("g++", "c++17", "main.cc"),
    ):
        subprocess.run(
            [
                f"arm-none-eabi-{compiler}",
                f"-std={standard}",
                *flags,
                "-c",
                f"c/{name}",
                "-o",
                f"{name}.arm.o",
            ],
            cwd=folder,
            check=True,
        )
    subprocess.run(
        [
            "arm-none-eabi-g++",
            *flags[:2],
            "--specs=nosys.specs",
            "-Wl,--no-warnings",
            *(f"{name}.arm.o" for name in ("model.c", "model_test_vector.c", "main.cc")),
            "-o",
            "firmware.elf",
        ],
        cwd=folder,
        check=True,
    )
    listed = subprocess.run(
        ["arm-none-eabi-nm", "-S", "firmware.elf"],
        cwd=folder,
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    address, size, section, _ = next(
        line.split() for line in listed.splitlines() if line.endswith(" model_data")
    )
    # Read-only, so it stays in flash; aligned; all of it.
    assert section == "R" and int(address, 16) % 16 == 0 and int(size, 16) == len(content)


@pytest.mark.skipif(not shutil.which("cmake"), reason="cmake is not installed")
def test_cmake_builds_the_library(made):
    _, folder, _ = made
    for command in (["cmake", "-S", "c", "-B", "build"], ["cmake", "--build", "build"]):
        subprocess.run(command, cwd=folder, check=True, stdout=subprocess.DEVNULL)
    assert (folder / "build" / "libmodel_data.a").exists()


def test_a_float_model_of_two_inputs(tmp_path, monkeypatch):
    path = tmp_path / "m.tflite"
    export(models.two_inputs("tf_keras"), path, target="tflm")
    package = c_package(path, tmp_path / "c", name="two_in")
    assert "two_in.h" in package.files
    vector = (tmp_path / "c" / "two_in_test_vector.c").read_text()
    assert vector.count("static const float") == 4
    header = (tmp_path / "c" / "two_in.h").read_text()
    assert header.startswith(f"// A model of {path.stat().st_size:,} bytes, written by")
    taken, _ = ports(path.read_bytes())
    arrays = {"a": np.full((2, 4), 2.0), "b": np.full((2, 3), 3.0)}
    by_position = [arrays[port.name] for port in taken]
    for inputs in (arrays, by_position, tuple(by_position)):
        c_package(path, tmp_path / "c", name="two_in", inputs=inputs)
        vector = (tmp_path / "c" / "two_in_test_vector.c").read_text()
        assert vector.count("2.0f,") == 4 and vector.count("3.0f,") == 3
        assert vector.index(f"{arrays[taken[0].name][0, 0]}f,") < vector.index(
            f"{arrays[taken[1].name][0, 0]}f,"
        )
    before = (tmp_path / "c" / "two_in_test_vector.c").read_text()
    for wrong, said in (
        (by_position[:1], r"inputs has 1 array\(s\), expected a list, tuple or dict of 2"),
        (arrays["a"], r"inputs has 1 array\(s\)"),
        ({**arrays, "b": np.full((1, 3), np.nan)}, "input 'b' has NaN or infinite values"),
    ):
        with pytest.raises(ValueError, match=said):
            c_package(path, tmp_path / "c", name="two_in", inputs=wrong)
    # All files are written, or none.
    (tmp_path / "c" / "main.cc").unlink()
    (tmp_path / "c" / "main.cc").mkdir()
    with pytest.raises(OSError, match="main.cc"):
        c_package(path, tmp_path / "c", name="two_in", inputs={**arrays, "a": np.ones((1, 4))})
    nothing = [np.full(port.shape, np.nan, np.float32) for port in ports(path.read_bytes())[1]]
    monkeypatch.setattr(tflm_interpreter, "execute", lambda content, given: nothing)
    with pytest.raises(ValueError, match="output .* has NaN or infinite values for this example"):
        c_package(path, tmp_path / "c", name="two_in", inputs=arrays)
    assert (tmp_path / "c" / "two_in_test_vector.c").read_text() == before
    if shutil.which("gcc"):
        subprocess.run(
            ["gcc", "-std=c11", *WARNINGS, "-c", "two_in_test_vector.c"],
            cwd=tmp_path / "c",
            check=True,
        )


def test_state_between_calls_is_said(tmp_path):
    library = models.tf_keras
    model = library.Sequential([library.Input((4, 3)), library.layers.LSTM(2)])
    report = export(model, tmp_path / "m.tflite", target="tflm")
    assert any("(MicroInterpreter::Reset())" in remark for remark in report.remarks)
    c_package(report, tmp_path / "c")
    assert (
        "// Keeps state between calls: interpreter.Reset() before each sequence.\n"
        in (tmp_path / "c" / "model.h").read_text()
    )


def test_refusals(made, tmp_path, monkeypatch):
    _, folder, content = made
    with pytest.raises(ValueError, match="name='My model': expected small letters"):
        c_package(folder / "m.tflite", tmp_path, name="My model")
    with pytest.raises(ValueError, match=r"input '\w+' has shape \(1, 3\), expected"):
        c_package(folder / "m.tflite", tmp_path, inputs=np.ones((1, 3)))
    with pytest.raises(ValueError, match="has NaN or infinite"):
        c_package(folder / "m.tflite", tmp_path, inputs=np.full((1, 12, 12, 2), np.inf))
    for no_numbers in (np.ones((1, 12, 12, 2)) * 1j, np.full((1, 12, 12, 2), "1")):
        with pytest.raises(ValueError, match=r"input '\w+' has numbers of type .*, expected real"):
            c_package(folder / "m.tflite", tmp_path, inputs=no_numbers)
    with pytest.raises(OSError, match="cannot write .*m.tflite/c: Not a directory; pass a folder"):
        c_package(folder / "m.tflite", folder / "m.tflite" / "c")
    with pytest.raises(ValueError, match="inputs are for .'nix'., expected"):
        c_package(folder / "m.tflite", tmp_path, inputs={"nix": np.ones(3)})
    with pytest.raises(FileNotFoundError):
        c_package(tmp_path / "none.tflite", tmp_path)
    bad = tmp_path / "bad.tflite"
    bad.write_bytes(content[:500])
    with pytest.raises(ValueError, match="no .tflite file"):
        c_package(bad, tmp_path / "c")
    graph = Graph(content)
    graph.operators()[-1].opcodeIndex = graph.operator_code(schema().BuiltinOperator.RFFT2D, 1)
    bad.write_bytes(graph.content())
    with pytest.raises(ValueError, match="no operator RFFT2D; export"):
        c_package(bad, tmp_path / "c")
    dense = tflm.pack(content, ExportContext("int8", {}, {}, sparse=False)).content
    bad.write_bytes(encode(dense, "int8").content)
    with pytest.raises(ValueError, match="sparse-encoded weights .* target='tflm'"):
        c_package(bad, tmp_path / "c")
    monkeypatch.setattr(tflm_interpreter, "installed", lambda: False)
    with pytest.raises(RuntimeError, match="pip install"):
        c_package(folder / "m.tflite", tmp_path / "c")
    assert [path.name for path in tmp_path.iterdir()] == ["bad.tflite"]
