# SPDX-License-Identifier: Apache-2.0
"""Prune potentials of networks whose every loss is known."""

import csv
import json
import re

import keras
import numpy as np
import pytest

import tfprune
from tfprune.evaluation.run_store import Run

SIDE = 20  # inputs, classes, and examples
X, Y = np.eye(SIDE, dtype=np.float32), np.arange(SIDE)


def _curve(folder, wrong):
    """A network for each (method, seed, sparsity) that gets so many of the examples wrong."""
    runs = []
    for (method, seed, sparsity), count in wrong.items():
        model = keras.Sequential([keras.Input((SIDE,)), keras.layers.Dense(SIDE, use_bias=False)])
        kernel = np.eye(SIDE, dtype=np.float32)
        kernel[:count] = np.roll(kernel[:count], 1, axis=1)
        model.set_weights([kernel])
        path = folder / f"{method}-{seed}-{sparsity}.keras"
        model.save(path)
        runs.append(Run(method, sparsity, seed, path, round(100 - 100 * sparsity), 100))
    return tfprune.Curve(tuple(runs))


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    folder = tmp_path_factory.mktemp("curve")
    curve = _curve(
        folder,
        {
            ("dense", 0, 0.0): 2,
            ("dense", 1, 0.0): 4,
            ("mine", 0, 0.2): 2,
            ("mine", 0, 0.5): 3,
            ("mine", 0, 0.8): 2,
            ("mine", 0, 0.9): 9,
            ("mine", 1, 0.2): 4,
            ("mine", 1, 0.5): 3,
            ("mine", 1, 0.8): 5,
            ("mine", 1, 0.9): 8,
        },
    )
    mirrored = {"others": (np.roll(X, 3, axis=1), np.roll(Y, -3))}
    settings = tfprune.Evaluation(delta=4.9)
    return tfprune.potential(
        curve, (X, Y), corruptions=mirrored, noise=(0.01,), folder=folder, settings=settings
    ), folder


def test_the_first_crossing_and_the_largest_ratio_are_those_of_the_losses(found):
    report, _ = found
    nominal = {one.seed: (one.first, one.largest) for one in report.of("mine", "nominal")}
    assert nominal == {0: (0.2, 0.8), 1: (0.5, 0.5)}
    assert report.dense == {
        seed: {"nominal": loss, "others": loss, "noise 0.01": loss}
        for seed, loss in ((0, 10.0), (1, 20.0))
    }
    assert report.mean("mine", "nominal") == pytest.approx(0.35)


def test_excess_agreement_and_the_yardstick_are_told(found):
    report, _ = found
    rows = {(row.seed, row.asked, row.condition): row for row in report.rows}
    assert rows[0, 0.9, "nominal"].loss == 45.0 and rows[0, 0.9, "nominal"].agreement == 0.65
    assert rows[0, 0.9, "noise 0.01"].excess == 0.0 == rows[0, 0.9, "noise 0.01"].against
    assert rows[0, 0.9, "others"].excess == 0.0
    assert [one.agreement for one in report.yardstick] == [0.9, 0.9]
    assert [(one.condition, one.slope) for one in report.growths] == [
        ("others", 0.0),
        ("noise 0.01", 0.0),
    ]


def test_rows_are_tidy_lines_and_a_table(found):
    report, folder = found
    lines = [json.loads(text) for text in (folder / "potential.jsonl").read_text().splitlines()]
    with open(folder / "potential.csv", newline="") as file:
        table = list(csv.DictReader(file))
    assert len(lines) == len(table) == len(report.rows) == 8 * 3
    assert [float(row["loss"]) for row in table] == [line["loss"] for line in lines]
    assert {line["potential_first"] for line in lines if line["seed"] == 0} == {0.2}


def test_the_page_and_the_print_have_the_potentials(found, tmp_path):
    report, _ = found
    text = re.sub(r"\s+", " ", str(report))
    assert "prune potential 35 % on clean data" in text and "35 / 65" in text
    page = report.page(tmp_path / "a.html").read_text()
    assert "35 / 65" in page and ">50 %<" in page
    shown = [float(one) for one in re.findall(r">(\d+)</text>", page)]
    assert shown and max(shown) <= 100  # axes are in percent


def test_a_curve_without_networks_or_labels_is_refused(found):
    with pytest.raises(ValueError, match="no pruned network"):
        tfprune.potential(tfprune.Curve(()), (X, Y))
    with pytest.raises(TypeError, match="curve="):
        tfprune.potential("folder", (X, Y))
