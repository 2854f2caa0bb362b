# SPDX-License-Identifier: Apache-2.0
"""Schedules of TF-MOT's kind: they reach their end, and what is no sparsity is refused by name."""

import json
import math
from dataclasses import replace

import numpy as np
import pytest
import tensorflow as tf
from tensorflow_model_optimization.sparsity.keras import ConstantSparsity, PolynomialDecay

from tfprune.masks.serialization import to_config
from tfprune.training.run_length import Run, resolve
from tfprune.training.tfmot_timetable import ForeignTimetable


class Own:
    """A schedule of a user's own."""

    def __init__(self, function):
        self.function = function

    def __call__(self, step):
        return self.function(step)

    def get_config(self):
        return {}


def always(sparsity):
    return Own(lambda step: (tf.greater_equal(step, 0), sparsity))


def updates(timetable, steps):
    """{step: sparsity} of the updates, step for step, in a compiled function."""
    call = tf.function(timetable.__call__, autograph=False)
    asked = [call(tf.constant(step, tf.int64)) for step in range(steps + 1)]
    return {step: float(sparsity) for step, (due, sparsity) in enumerate(asked) if due}


@pytest.mark.parametrize("kind", [int, np.int32, np.uint8, np.int64, np.array])
@pytest.mark.parametrize("fraction", [float, np.float32, np.float64, np.array])
def test_the_end_is_reached_whatever_the_numbers_are(kind, fraction):
    schedule = PolynomialDecay(fraction(0.0), fraction(0.75), kind(2), kind(11), frequency=kind(4))
    timetable = ForeignTimetable(schedule, 20)
    found = updates(timetable, 20)
    assert list(found) == [2, 6, 10, 11] and found[11] == timetable.final == 0.75
    assert timetable.span == (2, 11) and timetable.shortfall(20) is None
    assert json.loads(json.dumps(to_config(schedule)))["config"]["end_step"] == 11


def test_nothing_is_added_where_the_end_is_reached_anyway():
    reached = updates(ForeignTimetable(PolynomialDecay(0.0, 0.5, 0, 8, frequency=4), 10), 10)
    constant = updates(ForeignTimetable(ConstantSparsity(0.5, 1, 9, frequency=5), 12), 12)
    assert list(reached) == [0, 4, 8] and list(constant) == [1, 6]


@pytest.mark.parametrize(
    "schedule, steps, found",
    [
        (ConstantSparsity(0.5, 0), 5, (None, 0.5)),
        (ConstantSparsity(0.5, 6), 5, ("never fires", None)),
        (ConstantSparsity(0.5, 0, 100), 5, (None, 0.5)),
        (PolynomialDecay(0.0, 0.5, 0, 8), 5, ("is cut short", 0.0)),
        (PolynomialDecay(0.0, 0.5, 0, 8), 8, (None, 0.5)),
        (PolynomialDecay(0.25, 0.5, 7, 9), 5, ("never fires", None)),
        (Own(lambda step: (tf.equal(step, 3), 0.25)), 5, (None, 0.25)),
        (Own(lambda step: (tf.equal(step, 8), 0.25)), 5, ("never fires", None)),
        (Own(lambda step: (tf.reduce_all(step > 2), 0.25)), 5, (None, 0.25)),  # for scalars only
        (
            Own(lambda step: (tf.equal(step, 3), tf.cond(step < 4, lambda: 0.5, lambda: 0.25))),
            5,
            (None, 0.5),
        ),
    ],
)
def test_what_a_run_misses_of_a_schedule(schedule, steps, found):
    timetable = ForeignTimetable(schedule, steps)
    assert (timetable.shortfall(steps), timetable.reached(-1, steps)) == found
    assert timetable.reached(steps, steps) is None


def test_a_schedule_is_asked_for_its_steps_once():
    calls = []

    def singly(step):
        calls.append(step)
        return tf.equal(step, 3), tf.cond(step < 4, lambda: 0.5, lambda: 0.25)

    run = Run(50)
    timetable, _ = resolve(Own(singly), run)
    asked = len(calls)
    assert timetable.shortfall(50) is None and timetable.reached(-1, 50) == 0.5
    assert resolve(Own(singly), replace(run, groups=7))[0] is timetable and len(calls) == asked
    assert resolve(always(0.5), run)[0] is not timetable is not resolve(Own(singly), Run(50))[0]
    assert resolve(PolynomialDecay(0.0, 0.5, 0, 8), run)[1] == 0.5
    assert resolve(PolynomialDecay(0.0, 0.25, 0, 8), run)[1] == 0.25
    assert math.isnan(ForeignTimetable(Own(singly), 30_000).reached(-1, 30_000))


@pytest.mark.parametrize(
    "schedule, words",
    [
        (
            PolynomialDecay(0.0, 0.8, 5, 5),
            r"PolynomialDecay\(.*end_step=5.* nan at step 5.*OneShot",
        ),
        (PolynomialDecay(0.0, 0.8, 0, 4.0), r"PolynomialDecay\(.*since end_step=4.0 is no integer"),
        (ConstantSparsity(0.5, np.float64(2)), r"ConstantSparsity\(.*begin_step=2.0 is no integer"),
        (
            Own(lambda step: (True, 0.5)),
            r"Own\(\) returned True for whether .* tf.constant\(True\)",
        ),
        (Own(lambda step: (np.bool_(True), 0.5)), r"Own\(\) returned np.True_ for whether"),
        (Own(lambda step: (step, 0.5)), r"Own\(\) returned .* for whether"),
        (Own(lambda step: (step > 2,)), r"Own\(\) returned .* expected a pair"),
        (Own(lambda step: 1 / 0), r"Own\(\) cannot be called with a step: division by zero"),
        (
            Own(lambda step: (tf.equal(step, 3), 0.5 if step > 2 else 0.25)),
            r"Own\(\) cannot be called .* a Python `if` on it has to be tf.cond or tf.where",
        ),
        (always(True), r"Own\(\) returned True for the sparsity"),
        (always("half"), r"Own\(\) returned 'half' for the sparsity"),
        (always(tf.constant([0.5])), r"Own\(\) returned .* for the sparsity"),
        (always(math.nan), r"Own\(\) yields as sparsity nan at step 0"),
        (always(-0.25), r"Own\(\) yields as sparsity -0.25 at step 0"),
        (always(1), r"Own\(\) yields as sparsity 1 at step 0"),
        (always(np.float32(math.inf)), r"Own\(\) yields as sparsity inf at step 0"),
        (
            Own(lambda step: (tf.equal(step, 7), 0.2 * tf.cast(step, tf.float32))),
            r"Own\(\) yields as sparsity 1.4 at step 7",
        ),
    ],
)
def test_what_is_no_schedule_is_refused_by_its_name(schedule, words):
    with pytest.raises(ValueError, match="The pruning schedule " + words):
        ForeignTimetable(schedule, 10)


def test_only_updates_within_the_run_need_to_be_sparsities():
    growing = Own(lambda step: (step % 2 == 0, 0.2 * tf.cast(step, tf.float32)))
    assert ForeignTimetable(growing, 5).reached(-1, 5) == pytest.approx(0.8)
    unknown = ForeignTimetable(growing)
    assert math.isnan(unknown.final)
    with pytest.raises(tf.errors.InvalidArgumentError, match=r"Own\(\) yields as sparsity"):
        updates(unknown, 6)
    compiled = tf.function(unknown.__call__, autograph=False, jit_compile=True)
    assert not compiled(tf.constant(6, tf.int64))[0]  # which has no assertions
