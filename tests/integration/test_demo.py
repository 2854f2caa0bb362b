# SPDX-License-Identifier: Apache-2.0
"""The demo, run as a user runs it: its files, its table, and the accuracy that it promises."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    """Rows of the demo's table: name -> cells, and the folder it ran in."""
    folder = tmp_path_factory.mktemp("demo")
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "COLUMNS": "100"}
    done = subprocess.run(
        [sys.executable, ROOT / "examples" / "digits.py"],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=400,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    lines = [line.split() for line in done.stdout.splitlines()]
    names = {"dense", "pruned", "sparse", "int8"}
    return {line[0]: line for line in lines if len(line) > 8 and line[0] in names}, folder


def test_pruned_accuracy_is_within_two_points_of_dense(table):
    rows, _ = table
    accuracy = {name: float(cells[6].rstrip("%")) for name, cells in rows.items()}
    assert accuracy["dense"] > 90
    for name in ("pruned", "sparse", "int8"):
        assert accuracy[name] > accuracy["dense"] - 2


def test_the_files_are_there_and_the_sparse_one_is_smaller(table):
    rows, folder = table
    size = {name: (folder / "build/demo" / f"{name}.tflite").stat().st_size for name in rows}
    assert set(size) == {"dense", "pruned", "sparse", "int8"}
    assert size["sparse"] < 0.5 * size["dense"]
    assert all(int(rows[name][4].replace(",", "")) == size[name] for name in rows)


def test_80_percent_of_the_kernels_are_zero(table):
    rows, _ = table
    parameters, nonzeros = (int(rows["pruned"][n].replace(",", "")) for n in (1, 2))
    biases = 32 + 64 + 64 + 10
    kernels = parameters - biases
    # The count is exact per kernel; a bias may happen to be zero.
    sizes = (3 * 3 * 32, 3 * 3 * 32 * 64, 4 * 4 * 64 * 64, 64 * 10)
    kept = sum(round(size * (1 - 0.8)) for size in sizes)
    assert sum(sizes) == kernels
    assert kept <= nonzeros <= kept + biases
