# SPDX-License-Identifier: Apache-2.0
"""Pruning records: saved, loaded, replayed; and families that are made from one."""

import json

import numpy as np
import pytest

import tfprune
from tests.shrink_models import deviation, examples, randomized
from tests.tiny_models import KERASES

everywhere = pytest.mark.parametrize("family", list(KERASES))
BUDGET = tfprune.Budget(parameters=0.5)


def network(family, seed=5):
    library, layers = KERASES[family], KERASES[family].layers
    inputs = library.Input((6, 6, 3))
    x = layers.Conv2D(8, 3, activation="relu", name="first")(inputs)
    x = layers.Conv2D(16, 3, activation="relu", name="second")(x)
    x = layers.GlobalAveragePooling2D()(x)
    return randomized(library.Model(inputs, layers.Dense(3, name="classes")(x)), seed)


@everywhere
def test_a_record_is_replayed_on_the_same_and_on_fresh_weights(family, tmp_path):
    model = network(family)
    small, report = tfprune.shrink_to(model, BUDGET, steps=3)
    assert len(report.record.steps) == 3
    model.save(tmp_path / "model.keras")
    path = report.record.save(tmp_path / "model.keras")
    assert path == tmp_path / "model.pruning.json"
    record = tfprune.PruningRecord.load(tmp_path / "model.keras")
    assert record == report.record
    assert deviation(small, record.replay(model), examples(model)) < 1e-6
    fresh = record.replay(network(family, seed=6))
    assert [one.shape for one in fresh.get_weights()] == [one.shape for one in small.get_weights()]
    # What is left of the first kernel stands in the whole model at the recorded channels.
    left = np.flatnonzero(~record.removed()["first"])
    np.testing.assert_array_equal(
        record.replay(model).get_layer("first").get_weights()[0],
        model.get_layer("first").get_weights()[0][..., left],
    )


def test_a_record_in_a_folder(tmp_path):
    record = tfprune.PruningRecord({"a": 5}, ({"a": (1, 3)}, {"a": (0,)}))
    assert record.save(tmp_path) == tmp_path / "pruning.json"
    assert tfprune.PruningRecord.load(tmp_path) == record
    assert record.removed(1)["a"].tolist() == [False, True, False, True, False]
    assert record.removed()["a"].tolist() == [True, True, False, True, False]
    assert record.and_then({"a": [0]}).steps[-1] == {"a": (2,)}
    assert [one.name for one in tmp_path.iterdir()] == ["pruning.json"]


def _text(groups, *steps, version=1):
    return json.dumps(
        {"format": "tfprune.record", "version": version, "groups": groups, "steps": list(steps)}
    )


@pytest.mark.parametrize(
    "text, reason",
    [
        ("", "JSONDecodeError"),
        ("[]", "TypeError"),
        ("{", "JSONDecodeError"),
        ("\xff", "Unicode"),
        ('{"a":' * 100_000, "RecursionError"),
        ("[" * 100_000, "RecursionError"),
        (_text({"a": 2}, version=2), "format"),
        (_text([]), "AttributeError"),
        (_text(3), "Attribute"),
        (_text({"a": 2}, 3), "AttributeError"),
        (_text({"a": 2}, {"a": 1}), "TypeError"),
        *(
            (_text({"a": size}), f"'a' has {size} channels: expected an integer from 1 to")
            for size in (-1, 0, 1.7, float("inf"), float("nan"), True, None, 10**30)
        ),
        *(
            (
                _text({"a": 2}, {"a": [one]}),
                f"removes channel {one!r} of 'a': expected an integer from 0",
            )
            for one in ("x", 2, -1, 0.5, float("inf"), True, [0])
        ),
        (_text({"a": 2}, {"b": [0]}), "a group that it does not list"),
        (_text({"a": 3}, {"a": [0]}, {"a": [0]}), "a channel of 'a' twice"),
        (_text({"a": 2}, {"a": [0]}, {"a": [1]}), "removes all 2 channels of 'a'; at least one"),
    ],
)
def test_files_that_are_no_records(tmp_path, text, reason):
    path = tmp_path / "record.json"
    path.write_bytes(text.encode("latin-1"))
    with pytest.raises(ValueError) as raised:
        tfprune.PruningRecord.load(path)
    assert str(path) in str(raised.value) and reason in str(raised.value)


def test_files_that_never_end_are_no_records():
    with pytest.raises(ValueError, match="/dev/zero is not a pruning record .* it has more than"):
        tfprune.PruningRecord.load("/dev/zero")


def test_records_that_do_not_fit(tmp_path):
    with pytest.raises(FileNotFoundError, match="No pruning record"):
        tfprune.PruningRecord.load(tmp_path / "missing.json")
    with pytest.raises(FileNotFoundError, match="missing does not exist; create it first"):
        tfprune.PruningRecord({"first": 8}).save(tmp_path / "missing" / "record.json")
    for call in (tfprune.PruningRecord({"first": 8}).save, tfprune.PruningRecord.load):
        with pytest.raises(ValueError, match="path='': expected the path of a pruning record"):
            call("")
    model = network("keras")
    with pytest.raises(ValueError, match="'first' has 9 channels in the record and 8 in the model"):
        tfprune.PruningRecord({"first": 9, "second": 16}).replay(model)
    with pytest.raises(ValueError, match="'third' has 4 .* and no in the model"):
        tfprune.PruningRecord({"first": 8, "second": 16, "third": 4}).replay(model)


@everywhere
def test_a_family_by_hand(family):
    model = network(family)
    record = tfprune.PruningRecord(
        {"first": 8, "second": 16}, ({"first": (0, 1, 2, 3), "second": tuple(range(6))},)
    )  # 4 and 10 are left
    half, same, twice, whole = tfprune.scaled_models(model, record, [0.5, 1.0, 1.5, 9])
    assert half.channels == {"first": 2, "second": 5}
    assert same.channels == {"first": 4, "second": 10}
    assert twice.channels == {"first": 6, "second": 15}
    assert whole.channels == {"first": 8, "second": 16}
    assert deviation(same.model, record.replay(model), examples(model)) < 1e-6
    assert deviation(whole.model, model, examples(model)) < 1e-6
    # Channels 2 and 3 went last, so they come back first.
    np.testing.assert_array_equal(
        twice.model.get_layer("first").get_weights()[0],
        model.get_layer("first").get_weights()[0][..., 2:],
    )
    # Of what was left, the two with the smallest weights go first.
    kernel = model.get_layer("first").get_weights()[0][..., 4:]
    best = np.sort(np.argsort(np.abs(kernel).mean(axis=(0, 1, 2)))[2:])
    np.testing.assert_array_equal(half.model.get_layer("first").get_weights()[0], kernel[..., best])


@everywhere
def test_a_family_within_budgets(family):
    model = network(family)
    _, report = tfprune.shrink_to(model, BUDGET)
    limits = [1400, 1000, 700, 400, 200]
    members = tfprune.scaled_models(
        model, report.record, [tfprune.Budget(weight_bytes=one) for one in limits]
    )
    found = [one.costs["weight_bytes"] for one in members]
    assert all(0.75 * limit < cost <= limit for cost, limit in zip(found, limits)), found
    sizes = [one.model.count_params() for one in members]
    assert sizes == sorted(sizes, reverse=True) and len(set(sizes)) == 5
    assert "weight_bytes" in str(members[0])


def test_sizes_that_no_family_has():
    model, record = network("keras"), tfprune.PruningRecord({"first": 8, "second": 16})
    for size in (0, -1.0, "half", True, float("inf")):
        with pytest.raises(ValueError, match="no size of a model"):
            tfprune.scaled_models(model, record, [size])
    with pytest.raises(ValueError, match="below the smallest model of the family"):
        tfprune.scaled_models(model, record, [tfprune.Budget(parameters=10)])
    with pytest.raises(ValueError, match="latency"):
        tfprune.scaled_models(model, record, [tfprune.Budget(latency=1, meter=len)])
    with pytest.raises(ValueError, match="another architecture"):
        tfprune.scaled_models(model, tfprune.PruningRecord({"first": 8}), [0.5])
