# SPDX-License-Identifier: Apache-2.0
"""The examples, run as a user runs them, with little data."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DATA = Path(os.environ.get("TFPRUNE_DATA", ROOT.parent / "shared" / "data"))


@pytest.mark.skipif(
    not (DATA / "tfds" / "cifar10").is_dir(), reason=f"no CIFAR-10 under {DATA}: set TFPRUNE_DATA"
)
def test_compare_scores_prints_a_table_and_draws_it(tmp_path):
    picture = tmp_path / "curves.png"
    done = subprocess.run(
        [
            sys.executable,
            ROOT / "examples" / "compare_scores.py",
            "--data",
            DATA,
            "--steps",
            "3",
            "--split",
            "test[:2%]",
            "--scores",
            "synflow",
            "--sparsities",
            "0.9",
            "0.99",
            "--picture",
            picture,
        ],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=400,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    (row,) = [line.split("│")[1:-1] for line in done.stdout.splitlines() if "│ synflow" in line]
    assert all(0 <= float(cell) <= 100 for cell in row[1:]) and len(row) == 3
    assert picture.stat().st_size > 10_000


def test_examples_stay_short():
    for path in (ROOT / "examples").glob("*.py"):
        assert len(path.read_text().splitlines()) < 80, path.name
