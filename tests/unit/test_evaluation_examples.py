# SPDX-License-Identifier: Apache-2.0
"""Examples as users have them: arrays, data sets, several inputs, labels of every kind."""

import numpy as np
import pytest
import tensorflow as tf

from tfprune.evaluation.conditions import (
    NOMINAL,
    Condition,
    conditions_of,
    examples_under,
    sets_of,
    without,
)
from tfprune.evaluation.examples import Examples

X = np.random.default_rng(0).integers(0, 256, (20, 8, 8, 3)).astype(np.uint8)
Y = np.arange(20) % 4


class Once:
    """Batches that can be run through a single time."""

    def __init__(self, *batches):
        self.batches = list(batches)

    def __iter__(self):
        batches, self.batches = self.batches, None
        return iter(batches)


DATA = tf.data.Dataset.from_tensor_slices((X, Y))


@pytest.mark.parametrize(
    "data",
    [
        (X, Y),
        (X, np.eye(4)[Y]),
        (X, np.eye(4, dtype=int)[Y]),
        (X, Y[:, None]),
        (X, Y, np.ones(20)),
        DATA.batch(7),
        DATA,
        DATA.map(lambda x, y: (x, tf.one_hot(y, 4))),
        Once((X[:12], Y[:12]), (X[12:], Y[12:])),
        (tf.constant(X), tf.constant(Y)),
    ],
    ids=[
        "classes",
        "one-hot",
        "whole one-hot",
        "column",
        "weights",
        "batches",
        "single",
        "single one-hot",
        "once",
        "tensors",
    ],
)
def test_the_same_examples_in_every_form(data):
    found = Examples.of(data)
    assert (found.inputs == X).all() and found.inputs.dtype == np.uint8
    assert (found.labels == Y).all() and found.labels.dtype == np.int64
    assert found.scale == 255.0 and len(found) == 20 and found.is_images
    assert found.fingerprint == Examples.of((X, Y)).fingerprint
    assert found.first(5).fingerprint == found.part(0, 5).fingerprint != found.fingerprint


def test_what_is_assumed_is_said():
    assert Examples.of((X, np.eye(4)[Y])).notes == (
        "one-hot labels are taken for 4 classes",
        "images have values from 0 to 255: taken for 0 to 255",
    )
    assert "weights" in Examples.of((X, Y, np.ones(20))).notes[0]


@pytest.mark.parametrize(
    "inputs, scale",
    [
        (X.astype(np.float32), 255.0),
        (X / 255, 1.0),
        (X / 127.5 - 1, None),
        (X * 2.0, None),
        (X[..., :2], None),
        (X[..., 0], None),
        (X.astype(np.int32), 255.0),
        ({"a": X, "ids": Y}, 255.0),
        ([X, X], None),
    ],
    ids=[
        "floats",
        "ones",
        "centered",
        "bright",
        "two channels",
        "rank 3",
        "whole numbers",
        "dict",
        "two images",
    ],
)
def test_the_range_of_images_is_told_from_their_values(inputs, scale):
    assert Examples.of((inputs, Y)).scale == scale


def test_the_user_says_what_white_is():
    found = Examples.of((X / 200, Y), scale=1.0)
    assert found.scale == 1.0 and "cut off" in found.notes[0]
    with pytest.raises(ValueError, match="one input of images"):
        Examples.of((Y[:, None], Y), scale=1.0)


@pytest.mark.parametrize(
    "data, error, said",
    [
        ((X / np.where(Y, 1, np.nan)[:, None, None, None], Y), ValueError, "NaN"),
        ((X[:0], Y[:0]), ValueError, "no example"),
        (([], []), ValueError, "no input"),
        ((X, Y[:3]), ValueError, "equally many"),
        (None, TypeError, "data=None"),
        ((np.array(["a"]), Y[:1]), TypeError, "real numbers"),
        ((X, np.array(["a"] * 20)), TypeError, "labels"),
        (3, TypeError, "expected arrays"),
        ([(X[0], 1), (X[1], 2)], ValueError, "one example at a time"),
        ([(X[:2], Y[:2]), (X[:2, 1:], Y[:2])], ValueError, "different shapes"),
        (DATA.batch(5).repeat(), ValueError, "never ends"),
    ],
    ids=[
        "nan",
        "empty",
        "nothing",
        "lengths",
        "none",
        "text",
        "text labels",
        "number",
        "single",
        "shapes",
        "endless",
    ],
)
def test_bad_examples_are_refused(data, error, said):
    with pytest.raises(error, match=said):
        Examples.of(data)


def test_conditions_have_an_order_and_names():
    mine = (X, Y)
    found = conditions_of({"fog": None, "mine": mine, "snow": None}, [0.5, 0.1], (3, 1))
    assert [one.name for one in found] == [
        "nominal",
        "fog 3",
        "fog 1",
        "mine",
        "snow 3",
        "snow 1",
        "noise 0.5",
        "noise 0.1",
    ]
    assert len(conditions_of("all")) == 1 + 19 * 5 and conditions_of() == (NOMINAL,)
    assert conditions_of(("fog", "fog"), None, (2,))[1:] == (Condition("fog", 2),)
    assert list(sets_of({"fog": None, "mine": mine})) == ["mine"]
    sizes = conditions_of(None, (1, 0.1234567, 0.1234568))[1:]
    assert [one.name for one in sizes] == ["noise 1", "noise 0.1234567", "noise 0.1234568"]


@pytest.mark.parametrize(
    "asked, said",
    [
        (dict(corruptions="frog"), "did you mean 'fog'"),
        (dict(corruptions={"fog": (X, Y)}), "another"),
        (dict(corruptions={"noise": (X, Y)}), "another"),
        (dict(noise=0), "above 0"),
        (dict(noise=[0.1, float("nan")]), "above 0"),
        (dict(corruptions="fog", severities=(6,)), "1 to"),
    ],
)
def test_bad_conditions_are_refused(asked, said):
    with pytest.raises(ValueError, match=said):
        conditions_of(**asked)


def test_noise_is_uniform_in_deviations_of_each_channel():
    inputs = np.random.default_rng(1).normal(size=(500, 6, 2)) * [1, 10] + [0, 5]
    nominal = Examples.of((inputs, None)).first(None)
    change = {
        size: examples_under(Condition("noise", size), nominal, sets={}, seed=3).inputs - inputs
        for size in (0.1, 0.2)
    }
    spread = inputs.std(axis=(0, 1))
    assert np.abs(change[0.1]).max(axis=(0, 1)) == pytest.approx(0.1 * spread, rel=0.02)
    assert change[0.1].std(axis=(0, 1)) == pytest.approx(0.1 * spread / 3**0.5, rel=0.05)
    np.testing.assert_allclose(change[0.2], 2 * change[0.1], atol=1e-5)
    half = examples_under(Condition("noise", 0.1), nominal.part(0, 250), sets={}, seed=4).inputs
    assert (half != inputs[:250]).all() and half.dtype == np.float32


def test_noise_leaves_numbers_of_words_alone_and_corruptions_the_other_inputs():
    nominal = Examples.of(({"ids": Y, "image": X, "vector": X[:, 0, 0] / 1.0}, Y))
    noisy = examples_under(Condition("noise", 0.5), nominal, sets={}).inputs
    assert noisy["ids"] is nominal.inputs["ids"] and noisy["image"].dtype == np.float32
    assert (noisy["vector"] != nominal.inputs["vector"]).any()
    assert without(Condition("noise", 0.5), nominal) == (
        "the input 'ids' holds whole numbers that are no images",
    )
    dark = examples_under(Condition("brightness", 5), nominal, sets={}).inputs
    assert dark["image"].mean() > X.mean() and (dark["vector"] == nominal.inputs["vector"]).all()


@pytest.mark.parametrize("scale", [255.0, 1.0])
def test_float_images_are_corrupted_as_bytes(scale):
    whole = examples_under(Condition("fog", 2), Examples.of((X, Y)), sets={}, seed=1).inputs
    floats = Examples.of(((X / (255 / scale)).astype(np.float32), Y))
    found = examples_under(Condition("fog", 2), floats, sets={}, seed=1).inputs
    assert whole.dtype == np.uint8 and found.dtype == np.float32
    np.testing.assert_allclose(found * (255 / scale), whole, atol=1e-4)


@pytest.mark.parametrize("name", ["fog", "fog 3", "noise 0.1", "nominal"])
def test_a_set_of_the_users_own_has_a_name_of_its_own(name):
    with pytest.raises(ValueError, match="called already"):
        conditions_of({name: (np.ones((2, 3)), None)})
