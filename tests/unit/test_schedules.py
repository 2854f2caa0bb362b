# SPDX-License-Identifier: Apache-2.0
"""Schedules and timetables: when, how sparse, and that the end is reached."""

import json
import math

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given
from hypothesis import strategies as st

from tfprune.masks.resolved_schedule import Epochs, Timetable
from tfprune.masks.schedules import (
    Constant,
    Exponential,
    OneShot,
    Polynomial,
    StepwiseRemoval,
    accepts,
)
from tfprune.masks.serialization import from_config, to_config


@pytest.mark.filterwarnings("ignore:initial=.* is above sparsity=")
@given(
    schedule=st.sampled_from([Polynomial, Exponential]),
    sparsity=st.floats(0, 0.999),
    initial=st.floats(0, 0.999),
    begin=st.integers(0, 500),
    span=st.integers(0, 500),
    frequency=st.integers(1, 600),
)
def test_the_last_update_is_the_end_and_final(schedule, sparsity, initial, begin, span, frequency):
    timetable = schedule(
        sparsity, initial=initial, begin=begin, end=begin + span, frequency=frequency
    ).resolve()
    assert timetable.updates[-1] == begin + span
    assert timetable.sparsities[-1] == timetable.final == sparsity
    assert timetable.sparsity(begin + span + 10) == sparsity
    assert ((timetable.sparsities >= 0) & (timetable.sparsities < 1)).all()
    assert set((timetable.updates[:-1] - begin) % frequency) <= {0}
    if initial <= sparsity:
        assert (np.diff(timetable.sparsities) >= -1e-12).all()


def test_times_in_three_units():
    fractions = Polynomial(0.8, begin=0.1, end=0.5).resolve(total_steps=200)
    epochs = Polynomial(0.8, begin=Epochs(2), end=Epochs(10)).resolve(steps_per_epoch=10)
    steps = Polynomial(0.8, begin=20, end=100).resolve()
    for timetable in (fractions, epochs):
        np.testing.assert_array_equal(timetable.updates, steps.updates)
        np.testing.assert_array_equal(timetable.sparsities, steps.sparsities)
    assert OneShot(0.5, at=1).resolve().updates.tolist() == [1]
    assert OneShot(0.5, at=1.0).resolve(total_steps=70).updates.tolist() == [70]


@pytest.mark.parametrize("kind", [np.int8, np.uint8, np.int32, np.uint64, np.array])
def test_integers_of_numpy_are_integers(kind):
    """Their own arithmetic would overflow, and a configuration file cannot hold them."""
    fraction = np.array(0.75) if kind is np.array else np.float32(0.75)
    for numpy, python in [
        (
            Polynomial(fraction, begin=kind(3), end=kind(100), frequency=kind(7)),
            Polynomial(0.75, begin=3, end=100, frequency=7),
        ),
        (OneShot(fraction, at=kind(100)), OneShot(0.75, at=100)),
        (Constant(fraction, end=Epochs(kind(100))), Constant(0.75, end=Epochs(100))),
        (
            StepwiseRemoval(fraction, count=kind(2), frequency=kind(100), groups=kind(100)),
            StepwiseRemoval(0.75, count=2, frequency=100, groups=100),
        ),
    ]:
        assert repr(numpy) == repr(python)
        assert json.loads(json.dumps(to_config(numpy))) == to_config(python)
        one, other = (schedule.resolve(10_000, 30) for schedule in (numpy, python))
        np.testing.assert_array_equal(one.updates, other.updates)
        assert one.final == 0.75


def test_about_a_hundred_updates_without_a_frequency():
    assert len(Polynomial(0.8, end=10_000).resolve().updates) == 101
    assert len(Polynomial(0.8, end=7).resolve().updates) == 8
    assert Constant(0.8).resolve(total_steps=5_000).repeat == 50
    assert Constant(0.8).resolve().repeat == 100


def test_constant_with_an_end_stops():
    timetable = Constant(0.5, begin=2, end=9, frequency=3).resolve()
    assert [step for step in range(30) if timetable.is_update(step)] == [2, 5, 8, 9]


def test_nothing_is_sparse_before_the_first_update():
    timetable = OneShot(0.5, at=10).resolve()
    assert [timetable.sparsity(step) for step in (0, 9, 10, 11)] == [0, 0, 0.5, 0.5]


@pytest.mark.parametrize(
    "make, words",
    [
        (lambda: OneShot(1.0), r"sparsity=1.0: expected .* in \[0, 1\)"),
        (lambda: OneShot(-0.1), "sparsity=-0.1"),
        (lambda: Constant(math.nan), "sparsity=nan"),
        (lambda: Constant("0.5"), "sparsity='0.5'"),
        (lambda: Polynomial(0.5, initial=1.5), "initial=1.5"),
        (lambda: Polynomial(0.5, begin=10, end=5), "begin=10 is after end=5"),
        (lambda: Polynomial(0.5, begin=0.9), "begin=0.9 is after end=0.5"),
        (lambda: Polynomial(0.5, begin=Epochs(3), end=Epochs(2)), "is after"),
        (lambda: Polynomial(0.5, end=1.5), "end=1.5: expected a step"),
        (lambda: Polynomial(0.5, begin=-1), "begin=-1"),
        (lambda: Polynomial(0.5, power=0), "power=0"),
        (lambda: Exponential(0.5, frequency=0), "frequency=0"),
        (lambda: Exponential(0.5, frequency=2.5), "frequency=2.5"),
        (lambda: OneShot(0.5, at=True), "at=True"),
        (lambda: OneShot(True), "sparsity=True"),
        (lambda: Constant(math.inf), "sparsity=inf"),
        (lambda: Constant(np.float32(math.nan)), "sparsity=nan"),
        (lambda: Polynomial(0.5, initial=np.float32(-0.25)), "initial=-0.25"),
        (lambda: Polynomial(0.5, begin=np.int32(10), end=np.uint8(5)), "begin=10 is after end=5"),
        (lambda: Polynomial(0.5, end=np.bool_(True)), "end=True: expected a step"),
        (lambda: Polynomial(0.5, end=10.0), "end=10.0: expected a step"),
        (lambda: Polynomial(0.5, power=True), "power=True"),
        (lambda: Exponential(0.5, frequency=np.bool_(True)), "frequency=True"),
        (lambda: Epochs(True), "Epochs"),
        (lambda: Epochs(-1), "Epochs"),
        (lambda: Timetable([], []), "at least one"),
        (lambda: Timetable([5, 5], [0.1, 0.2]), "ascend"),
    ],
)
def test_wrong_settings_are_refused(make, words):
    with pytest.raises(ValueError, match=words):
        make()


def test_unknown_lengths_ask_for_the_argument():
    with pytest.raises(ValueError, match="pass total_steps="):
        Polynomial(0.5).resolve(steps_per_epoch=10)
    with pytest.raises(ValueError, match="pass steps_per_epoch="):
        OneShot(0.5, at=Epochs(1)).resolve(total_steps=10)
    with pytest.raises(ValueError, match="step 90, after end=50"):
        Polynomial(0.5, begin=0.9, end=50).resolve(total_steps=100)


def test_accepts():
    class Foreign:
        def __call__(self, step):
            return True, 0.5

        def get_config(self):
            return {}

    assert accepts(Constant(0.5)) and accepts(Foreign())
    assert not any(accepts(other) for other in (Foreign, 0.5, None, lambda step: (True, 0.5)))


@pytest.mark.parametrize(
    "schedule",
    [
        OneShot(0.5, at=Epochs(2)),
        Constant(0.5, end=0.5),
        Exponential(0.5),
        Polynomial(0.5, 0.1, begin=3, end=30, power=2, frequency=7),
    ],
)
def test_configuration_round_trip(schedule):
    assert from_config(to_config(schedule)) == schedule


@pytest.mark.parametrize("jit", [False, True])
@pytest.mark.parametrize(
    "schedule",
    [
        OneShot(0.3, at=5),
        Constant(0.5, begin=3, frequency=7),
        Polynomial(0.9, end=33, frequency=10),
    ],
)
def test_tensors_tell_the_same(schedule, jit):
    timetable = schedule.resolve()
    call = tf.function(timetable.__call__, jit_compile=jit, autograph=False)
    for step in range(45):
        due, sparsity = call(tf.constant(step, tf.int64))
        assert (bool(due), float(sparsity)) == (timetable.is_update(step), timetable.sparsity(step))
        assert sparsity.dtype == tf.float64
