# SPDX-License-Identifier: Apache-2.0
"""Exemplars and changes of classes, on made-up predictions: by eye, and by the definition."""

import math
from collections import Counter

import numpy as np
import pytest
import scipy.stats

from tfprune.evaluation.exemplars import class_changes, exemplars

NAN = float("nan")
pytestmark = pytest.mark.filterwarnings("error")


def test_exemplars_by_hand():
    pruned = np.array([[0, 1, 2, 3], [0, 1, 2, 0], [0, 2, 3, 0]])
    dense = np.array([[0, 3, 3, 1], [0, 1, 3, 1], [1, 3, 3, 2]])
    # image 0: 0 and 0; 1: 1 and 3; 2: 2 and 3; 3: 0 and 1
    found = exemplars(pruned, dense)
    # pairs that differ: image 1: 2 + 2 + 3 of 9; image 2: 3 + 3 + 0; image 3: all 9
    assert found.indices.tolist() == [3, 1, 2]
    assert found.pruned.tolist() == [0, 1, 2] and found.dense.tolist() == [1, 3, 3]
    assert found.disagreements.tolist() == [9, 7, 6]


def test_exemplars_are_the_definition():
    rng = np.random.default_rng(8)
    pruned, dense = rng.integers(0, 4, (5, 300)), rng.integers(0, 4, (4, 300)).astype(np.uint8)

    def mode(column):
        counts = Counter(column.tolist())
        return min(counts, key=lambda label: (-counts[label], label))

    rows = []
    for i in range(300):
        ours, theirs = mode(pruned[:, i]), mode(dense[:, i])
        if ours != theirs:
            rows.append(
                (-sum(int(a) != int(b) for a in pruned[:, i] for b in dense[:, i]), i, ours, theirs)
            )
    rows.sort(key=lambda row: row[:2])
    found = exemplars(pruned, dense)
    assert [
        (-d, i, p, q)
        for d, i, p, q in zip(
            *(
                array.tolist()
                for array in (found.disagreements, found.indices, found.pruned, found.dense)
            )
        )
    ] == rows
    assert len(rows) > 100


def test_exemplars_of_one_network_a_side_and_of_nothing():
    found = exemplars(np.array([[0, 1, -1]]), np.array([[0, 2, 1]]))
    assert found.indices.tolist() == [1, 2] and found.disagreements.tolist() == [1, 1]
    assert len(exemplars(np.zeros((2, 0), int), np.zeros((3, 0), int)).indices) == 0
    assert len(exemplars(found.pruned[None], found.pruned[None]).indices) == 0


def test_class_changes_by_hand():
    dense = np.array([[0.9, 0.7, NAN], [0.8, 0.8, NAN]])  # 0.85, 0.75: mean 0.8
    pruned = np.array([[0.85, 0.4, NAN], [0.85, 0.5, NAN]])  # 0.85, 0.45: mean 0.65
    rows = class_changes(pruned, dense)
    assert [row.label for row in rows] == [1, 0, 2]
    assert rows[0].pruned == pytest.approx(0.45) and rows[0].dense == pytest.approx(0.75)
    assert rows[0].change == pytest.approx(-0.3)
    assert rows[0].against_mean == pytest.approx(-0.3 + 0.15)
    # deviations of 0.0707 both: t = -0.15 / sqrt(0.005 / 2 + 0.005 / 2)
    assert rows[0].t == pytest.approx(-0.15 / math.sqrt(0.005))
    assert rows[0].degrees == pytest.approx(2)
    assert rows[1].degrees == pytest.approx(1)  # the pruned ones do not vary
    assert math.isnan(rows[2].change) and rows[2].t is rows[2].degrees is rows[2].p is None


def test_class_changes_are_welchs_test_of_shifted_recalls():
    rng = np.random.default_rng(9)
    dense, pruned = rng.uniform(0.7, 1, (6, 10)), rng.uniform(0.5, 1, (4, 10))
    rows = class_changes(pruned, dense)
    for row in rows:
        ours, theirs = pruned[:, row.label] - pruned.mean(), dense[:, row.label] - dense.mean()
        a, b = np.var(ours, ddof=1) / 4, np.var(theirs, ddof=1) / 6
        t = (ours.mean() - theirs.mean()) / math.sqrt(a + b)
        degrees = (a + b) ** 2 / (a**2 / 3 + b**2 / 5)
        assert (row.t, row.degrees, row.p) == pytest.approx(
            (t, degrees, 2 * scipy.stats.t.sf(abs(t), degrees)), rel=1e-10
        )
    changes = [row.against_mean for row in rows]
    assert changes == sorted(changes) and math.fsum(changes) == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize(
    "pruned, dense",
    [
        ([[0.9, 0.8]], [[0.9, 0.9], [0.8, 0.8]]),
        ([[0.9, 0.8], [0.8, 0.9]], [[0.9, 0.9]]),
        ([[0.9, 0.1]] * 3, [[0.9, 0.3]] * 3),
        ([[NAN, NAN]] * 2, [[NAN, NAN]] * 2),
    ],
)
def test_class_changes_are_not_tested_without_spread_or_seeds(pruned, dense):
    assert {(row.t, row.degrees, row.p) for row in class_changes(pruned, dense)} == {(None,) * 3}
