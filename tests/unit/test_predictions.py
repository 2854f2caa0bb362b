# SPDX-License-Identifier: Apache-2.0
"""Predictions of every kind of network: the same numbers, made once, kept whole, resumed."""

import errno
import os
import random
from functools import cached_property

import keras
import numpy as np
import pytest
import tensorflow as tf

import tfprune
from tests.tiny_models import KERASES
from tflite_export import export
from tfprune.evaluation import converted, prediction_store
from tfprune.evaluation.conditions import NOMINAL, Condition, conditions_of
from tfprune.evaluation.examples import Examples
from tfprune.evaluation.predictions import predict
from tfprune.evaluation.predictors import as_given
from tfprune.evaluation.settings import Evaluation

X = np.random.default_rng(0).integers(0, 256, (40, 8, 8, 3)).astype(np.uint8)
EXAMPLES = Examples.of((X, np.arange(40) % 3))
CONDITIONS = conditions_of({"contrast": None, "mine": (X[:9], None)}, 0.2, (2,))
SETS = {"mine": EXAMPLES.first(9)}
SETTINGS = Evaluation(examples=20, batch_size=8, runtime="keras")


def network(family, classes=3, shape=(8, 8, 3)):
    layers = KERASES[family].layers
    inputs = KERASES[family].Input(shape)
    x = layers.Conv2D(4, 3, activation="relu")(layers.Rescaling(1 / 255)(inputs))
    x = layers.Dropout(0.5)(layers.BatchNormalization()(x))
    model = KERASES[family].Model(inputs, layers.Dense(classes)(layers.Flatten()(x)))
    generator = np.random.default_rng(5)
    model.set_weights(
        [
            generator.uniform(0.1 if one.ndim == 1 else -0.5, 0.5, one.shape)
            for one in model.get_weights()
        ]
    )  # variances are positive
    return model


@pytest.fixture(scope="module")
def models():
    return {family: network(family) for family in KERASES}


@pytest.fixture(scope="module")
def files(models, tmp_path_factory):
    """The model saved, as float32 and as int8 in bytes."""
    folder = tmp_path_factory.mktemp("files")
    models["keras"].save(folder / "model.keras")
    export(models["tf_keras"], folder / "float.tflite")
    export(models["tf_keras"], folder / "int8.tflite", quantize="int8", target="tflm", data=X)
    return folder


class Counted:
    """A function, and how many examples it has seen."""

    def __init__(self):
        self.seen = 0

    def __call__(self, batch):
        self.seen += len(batch)
        return np.reshape(batch, (len(batch), -1))[:, :3] / 100


def arrays(predictions):
    return {
        (name, one): [np.array(array) for array in predictions.outputs(name, one)]
        for name in predictions.names
        for one in predictions.conditions
    }


def same(one, other):
    assert one.keys() == other.keys()
    for key, found in one.items():
        assert len(found) == len(other[key])
        for a, b in zip(found, other[key]):
            np.testing.assert_array_equal(a, b, str(key))


def run(networks, folder=None, settings=SETTINGS, examples=EXAMPLES, conditions=CONDITIONS):
    return predict(networks, examples, conditions, folder=folder, settings=settings, sets=SETS)


def test_every_kind_of_network_gives_the_same_and_nothing_changes(models, files):
    wrapped = tfprune.prune(models["keras"], "magnitude", 0.5)
    networks = {
        **models,
        "wrapped": wrapped,
        "path": files / "model.keras",
        "float": str(files / "float.tflite"),
        "int8": files / "int8.tflite",
        "bytes": (files / "float.tflite").read_bytes(),
        "function": lambda batch: [models["keras"](np.float32(batch), training=False)],
    }
    weights = [one for model in models.values() for one in model.get_weights()]
    tf.random.set_seed(7)
    drawn = float(tf.random.uniform([]))
    tf.random.set_seed(7)
    states = random.getstate(), np.random.get_state()[1].tolist()
    found = run(networks)
    assert (random.getstate(), np.random.get_state()[1].tolist()) == states
    assert float(tf.random.uniform([])) == drawn
    after = [one for model in models.values() for one in model.get_weights()]
    assert all((a == b).all() for a, b in zip(weights, after))
    assert list(found.runtimes.values()) == ["Keras"] * 4 + ["LiteRT"] * 3 + ["function"]
    assert [len(found.outputs("keras", one)[0]) for one in found.conditions] == [40, 20, 9, 20]
    for condition in found.conditions:
        inputs = np.asarray(found.under(condition).inputs, np.float32)
        expected = models["keras"].predict(inputs, verbose=0)
        for name in networks:
            (got,) = found.outputs(name, condition)
            assert got.dtype == np.float32
            loose = 0.2 * np.abs(expected).max() if name == "int8" else 1e-5
            np.testing.assert_allclose(got, expected, atol=loose, err_msg=f"{name} {condition}")
    assert (found.labels(NOMINAL) == EXAMPLES.labels).all()
    assert len(found.labels(Condition("mine"))) == 9


def test_converted_models_agree_and_are_converted_once(models, tmp_path, monkeypatch):
    settings = Evaluation(examples=20, batch_size=8, runtime="litert")
    found = run(models, tmp_path, settings)
    assert set(found.runtimes.values()) == {"LiteRT"}
    monkeypatch.setattr(converted, "_converted", None)
    for path in tmp_path.glob("*.npy"):
        path.unlink()
    same(arrays(run(models, tmp_path, settings)), arrays(found))
    for name in models:
        np.testing.assert_allclose(
            found.outputs(name)[0], models[name].predict(X, verbose=0), atol=1e-5
        )


def test_auto_converts_for_many_predictions_and_says_why_not(models, tmp_path, monkeypatch):
    settings = Evaluation(examples=20, batch_size=8)
    assert run(models, tmp_path, settings).runtimes == {"keras": "Keras", "tf_keras": "Keras"}
    monkeypatch.setattr(converted, "MANY", 80)
    monkeypatch.setattr(converted, "_error", lambda *_: 1e-3)
    found = run({"a": models["keras"]}, tmp_path, settings)
    assert found.runtimes == {"a": "Keras"}
    assert (
        "a runs in Keras, not in LiteRT: its outputs deviate by 1.0e-03 of the largest"
        in found.notes
    )
    with pytest.raises(ValueError, match="does not run in LiteRT: its outputs deviate"):
        run({"a": models["keras"]}, tmp_path, Evaluation(runtime="litert"))


def test_examples_are_hashed_once_whatever_is_done_to_them(monkeypatch):
    hashed, hash_of = [], Examples.fingerprint.func
    counting = cached_property(lambda one: hashed.append(len(one)) or hash_of(one))
    counting.__set_name__(Examples, "fingerprint")
    monkeypatch.setattr(Examples, "fingerprint", counting)
    run({"f": Counted(), "g": Counted()}, examples=Examples.of((X, np.arange(40) % 3)))
    assert sorted(set(hashed) - {9}) == [1, 20, 40] and len(set(hashed)) == len(hashed)


def test_what_is_there_is_read_and_not_predicted_again(models, tmp_path):
    counted = Counted()
    first = run({"f": counted}, tmp_path)
    assert counted.seen == 16 + 1 + 40 + 20 + 9 + 20
    counted.seen = 0
    again = run({"f": counted}, tmp_path)
    assert counted.seen == 16  # which tell that it is the same function
    same(arrays(again), arrays(first))
    more = run({"f": counted}, tmp_path, conditions=(*CONDITIONS, Condition("noise", 0.3)))
    assert counted.seen == 2 * 16 + 20 and len(more.conditions) == 5
    model = run({"m": models["keras"]}, tmp_path)
    rebuilt = network("keras")  # other names of layers
    assert run({"m": rebuilt}, tmp_path)._keys == model._keys
    rebuilt.layers[-1].kernel.assign(rebuilt.layers[-1].kernel * 2)
    assert not set(run({"m": rebuilt}, tmp_path)._keys.values()) & set(model._keys.values())


class Killed(BaseException):
    pass


@pytest.mark.parametrize("at", [3, 30, 45, 70, 85])
def test_a_run_that_was_killed_goes_on_to_the_same_bits(at, tmp_path):
    expected = arrays(run({"f": Counted(), "g": Counted()}, tmp_path / "whole"))

    class Dying(Counted):
        def __call__(self, batch):
            found = super().__call__(batch)
            if self.seen > at + 16:
                raise Killed
            return found

    with pytest.raises(Killed):
        run({"f": Dying(), "g": Counted()}, tmp_path / "killed")
    same(arrays(run({"f": Counted(), "g": Counted()}, tmp_path / "killed")), expected)


@pytest.mark.parametrize(
    "damage",
    [
        lambda b: b[:-50],
        lambda b: b"",
        lambda b: b[:20],
        lambda b: b[:-40] + bytes([b[-40] ^ 1]) + b[-39:],
    ],
    ids=["cut", "empty", "head", "one bit"],
)
def test_a_damaged_file_is_made_again_and_said(damage, tmp_path):
    expected = run({"f": Counted()}, tmp_path)
    for name in set(expected._keys.values()):
        path = tmp_path / name
        path.write_bytes(damage(path.read_bytes()))
    for path in tmp_path.glob("*.images.npy"):
        path.write_bytes(damage(path.read_bytes()))
    counted = Counted()
    again = run({"f": counted}, tmp_path)
    same(arrays(again), arrays(run({"f": Counted()}, tmp_path / "other")))
    assert counted.seen == 16 + 40 + 20 + 9 + 20
    assert sum("was damaged and is made again" in note for note in again.notes) == 5


def test_a_full_disk_says_how_much_room_is_needed_and_leaves_no_part(tmp_path, monkeypatch):
    monkeypatch.setattr(prediction_store.Store, "free", lambda self: 100)
    with pytest.raises(OSError, match="take 0.0 MB.*another folder"):
        run({"f": Counted()}, tmp_path)
    monkeypatch.undo()

    def full(file, content):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    run({"f": Counted()}, tmp_path, conditions=())
    before = sorted(os.listdir(tmp_path))
    monkeypatch.setattr(tfprune.output.atomic_write, "_write", full)
    with pytest.raises(OSError, match="No space left.*49 rows"):
        run({"f": Counted()}, tmp_path)
    assert sorted(os.listdir(tmp_path)) == before


def test_corrupted_images_are_kept_within_their_room(tmp_path):
    conditions = conditions_of("contrast", None, (1, 2, 3))
    size = 20 * 8 * 8 * 3
    found = run(
        {"f": Counted()},
        tmp_path,
        Evaluation(examples=20, cache_bytes=3 * size),
        conditions=conditions,
    )
    assert len(list(tmp_path.glob("*.images.npy"))) == 2
    none = run(
        {"f": Counted()},
        tmp_path / "none",
        Evaluation(examples=20, cache_bytes=0),
        conditions=conditions,
    )
    assert not list((tmp_path / "none").glob("*.images.npy"))
    for condition in conditions:
        np.testing.assert_array_equal(found.under(condition).inputs, none.under(condition).inputs)


@pytest.mark.parametrize(
    "networks, said",
    [
        ({}, "no network"),
        (
            {"a": lambda x: x[:, 0, 0], "b": lambda x: x[:, 0]},
            r"'b' gives outputs of shape \[8, 3\].*'a' \[3\]",
        ),
        ({"a": lambda x: x[:1]}, "a row for each example"),
        ({"a": lambda x: []}, "expected arrays"),
        (
            {"a": network("keras", shape=(9, 9, 3))},
            r"'a' takes inputs of shape \[9, 9, 3\].*8, 8, 3",
        ),
        ({"a": b"no file"}, "a: "),
    ],
    ids=["none", "shapes", "rows", "nothing", "inputs", "bytes"],
)
def test_networks_that_cannot_be_compared_are_refused(networks, said, tmp_path):
    with pytest.raises(ValueError, match=said):
        run(networks, tmp_path)
    assert not list(tmp_path.glob("*.npy"))


def test_what_is_no_network_is_refused(tmp_path):
    with pytest.raises(TypeError, match="'a' is int; expected a Keras model"):
        run({"a": 3})
    with pytest.raises(FileNotFoundError, match="'a': no file at"):
        run({"a": tmp_path / "missing.keras"})


def test_conditions_that_the_inputs_do_not_have_are_skipped_with_the_reason():
    examples = Examples.of((np.arange(12).reshape(6, 2), None))
    found = predict({"f": lambda x: np.float32(x)}, examples, conditions_of(("fog", "snow"), 0.1))
    assert found.conditions == (NOMINAL,)
    assert [what for what, _ in found.skipped] == ["fog, snow", "noise"]


@pytest.mark.parametrize("family", KERASES)
def test_several_inputs_and_outputs_of_a_fixed_batch(family):
    library = KERASES[family]
    a = library.Input(batch_shape=(4, 5), name="a")
    b = library.Input(batch_shape=(4, 3), dtype="int32", name="b")
    embedded = library.layers.Embedding(7, 2)(b)
    model = library.Model([a, b], [library.layers.Dense(2)(a), embedded])
    inputs = {
        "a": np.random.default_rng(0).normal(size=(10, 5)),
        "b": np.random.default_rng(0).integers(0, 7, (10, 3)),
    }
    found = predict({"m": model}, Examples.of((inputs, None)), conditions_of(None, 0.1))
    first, second = found.outputs("m")
    assert first.shape == (10, 2) and second.shape == (10, 3, 2)
    weights = model.get_weights()
    by_shape = {one.shape: one for one in weights}
    np.testing.assert_allclose(first, inputs["a"] @ by_shape[5, 2], atol=1e-5)
    np.testing.assert_array_equal(second, by_shape[7, 2][inputs["b"]])
    assert found.skipped == (("noise", "the input 'b' holds whole numbers that are no images"),)


def test_what_a_layer_of_the_users_own_computes_tells_networks_apart():
    factor = [1.0]

    class Scaled(keras.layers.Layer):
        def call(self, inputs):
            return inputs * factor[0]

    model = keras.Sequential([keras.Input((3,)), Scaled(), keras.layers.Dense(2)])
    examples = Examples.of((np.ones((4, 3), np.float32),))
    before = as_given(model, examples).fingerprint
    assert as_given(model, examples).fingerprint == before
    factor[0] = 2.0
    assert as_given(model, examples).fingerprint != before
