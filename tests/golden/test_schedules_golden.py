# SPDX-License-Identifier: Apache-2.0
"""Sparsities at steps, by the formulas."""

import numpy as np
import pytest

from tfprune.masks.schedules import Constant, Exponential, OneShot, Polynomial


@pytest.mark.parametrize(
    "schedule, table",
    [
        (
            Polynomial(0.9, end=100, frequency=25),
            {0: 0, 25: 0.5203125, 50: 0.7875, 75: 0.8859375, 100: 0.9},
        ),
        # Movement pruning's: what is kept falls to 0.15 by a cubic.
        (
            Polynomial(0.85, end=4, frequency=1),
            {0: 0, 1: 1 - 0.50859375, 2: 1 - 0.25625, 3: 1 - 0.16328125, 4: 0.85},
        ),
        (
            Polynomial(0.8, initial=0.2, begin=10, end=20, power=1, frequency=5),
            {10: 0.2, 15: 0.5, 20: 0.8},
        ),
        # 40 is not on the grid of 30 steps, and is reached nevertheless.
        (Polynomial(0.9, end=40, frequency=30), {0: 0, 30: 0.9 * 63 / 64, 40: 0.9}),
        (Exponential(0.9375, end=4, frequency=1), {0: 0, 1: 0.5, 2: 0.75, 3: 0.875, 4: 0.9375}),
        (Exponential(0.96, initial=0.36, end=2, frequency=1), {0: 0.36, 1: 0.84, 2: 0.96}),
        (Constant(0.5, begin=3, end=8, frequency=2), {3: 0.5, 5: 0.5, 7: 0.5, 8: 0.5}),
        (OneShot(0.7, at=12), {12: 0.7}),
    ],
)
def test_tables(schedule, table):
    timetable = schedule.resolve()
    assert timetable.updates.tolist() == list(table)
    np.testing.assert_allclose(timetable.sparsities, list(table.values()), rtol=0, atol=1e-12)
