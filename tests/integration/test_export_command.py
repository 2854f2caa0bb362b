# SPDX-License-Identifier: Apache-2.0
"""`python -m tflite_export`."""

import subprocess
import sys

import export_models as models
import numpy as np
import pytest

from tflite_export.__main__ import main


@pytest.mark.parametrize("family, name", [("keras", "m.keras"), ("tf_keras", "m.h5")])
def test_saved_model_to_int8(family, name, tmp_path, capsys):
    """With a name for the file, behind the options, or the model's own."""
    models.mlp(family).save(tmp_path / name)
    np.save(tmp_path / "x.npy", models.examples(30, 64))
    given = [] if family == "keras" else [str(tmp_path / "other.tflite")]
    out = tmp_path / ("m.tflite" if family == "keras" else "other.tflite")
    options = ["--quantize", "int8", "--target", "tflm", "--data", str(tmp_path / "x.npy")]
    assert main([str(tmp_path / name), *options, *given]) == 0
    assert out.exists() and "on 30 data examples" in " ".join(capsys.readouterr().out.split())


def test_archive_for_two_inputs(tmp_path, capsys):
    models.two_inputs("keras").save(tmp_path / "m.keras")
    np.savez(tmp_path / "x.npz", b=models.examples(9, 3), a=models.examples(9, 4))
    paths = [str(tmp_path / name) for name in ("m.keras", "m.tflite", "x.npz")]
    options = ["--data", paths[2], "--sparse", "no", "--latency", "--option", "runs=3"]
    assert main([*paths[:2], *options]) == 0
    printed = capsys.readouterr().out
    assert "sparse=False" in printed and "latency, 1 thread" in printed


@pytest.mark.parametrize(
    "options, message",
    [
        (["--quantize", "int8"], "needs representative data"),
        (["--data", "missing.npy"], "--data missing.npy: expected a .npy file"),
        (["--data", __file__], f"--data {__file__}: expected a .npy file of numbers"),
        (["--target", "tflm", "--latency"], "'tflm' has no option 'latency'; it has 'ram_bytes'"),
    ],
)
def test_errors_are_one_line(options, message, tmp_path, capsys):
    models.mlp("keras").save(tmp_path / "m.keras")
    assert main([str(tmp_path / "m.keras"), str(tmp_path / "m.tflite"), *options]) == 1
    lines = capsys.readouterr().err.strip().splitlines()
    assert lines[-1].startswith("error: ") and message in lines[-1]
    assert not (tmp_path / "m.tflite").exists()


def test_help_is_quick_and_names_the_choices():
    command = [sys.executable, "-m", "tflite_export", "--help"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    assert "ethos-u55-128" in done.stdout and "int16x8" in done.stdout
