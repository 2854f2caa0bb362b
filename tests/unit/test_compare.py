# SPDX-License-Identifier: Apache-2.0
"""Comparisons of networks whose every loss is known."""

import json

import keras
import numpy as np
import pytest

import tfprune
from tfprune.evaluation.tasks import Task

CLASSES = 4
LABELS = np.arange(400) % CLASSES


def _confident(classes):
    """Probabilities of 0.7 for these classes."""
    return np.where(np.arange(CLASSES) == np.asarray(classes)[:, None], 0.7, 0.1)


def _told(inputs):
    """The class that is written into the first column of the inputs."""
    return np.rint(inputs[:, 0]).astype(int) % CLASSES


def _dense(inputs):
    return _confident(_told(inputs))


def _without(label, share=2):
    """Takes every second example of a class for the next one."""

    def network(inputs):
        classes = _told(inputs)
        struck = (classes == label) & (np.rint(inputs[:, 1]).astype(int) % share == 0)
        return _confident(np.where(struck, (classes + 1) % CLASSES, classes))

    return network


@pytest.fixture(scope="module")
def data():
    inputs = np.stack([LABELS, np.arange(len(LABELS)) // CLASSES], 1).astype(np.float32)
    return inputs, LABELS


def test_losses_classes_and_exemplars_are_those_that_were_planted(data):
    found = tfprune.compare({"dense": _dense, "pruned": _without(2)}, data)
    dense, pruned = found.networks
    assert (dense.loss, pruned.loss, pruned.lost) == (0.0, 12.5, 12.5)
    assert pruned.deviation == pytest.approx(100 * np.sqrt(0.125 * 0.875 / 399))
    assert [one.label for one in pruned.classes][0] == 2
    assert pruned.classes[0].change == -0.5 and pruned.classes[0].t is None
    struck = np.flatnonzero((LABELS == 2) & (data[0][:, 1] % 2 == 0))
    assert np.array_equal(np.sort(pruned.exemplars.indices), struck)
    assert pruned.confusion.network[2].tolist() == [0, 0, 50, 50]
    assert pruned.noise[0].agreement == 0.875
    assert pruned.noise[0].distance == pytest.approx(0.125 * np.sqrt(2 * 0.6**2))
    assert dense.calibration.error == pytest.approx(0.3)


def test_every_class_that_is_struck_is_named_first(data):
    networks = {"dense": _dense, **{str(n): _without(n % CLASSES, 2 + n // 4) for n in range(12)}}
    found = tfprune.compare(networks, data)
    assert [one.classes[0].label for one in found.compared] == [n % CLASSES for n in range(12)]
    assert all(f"worst class {n % CLASSES}" in text for n, text in enumerate(found.lead))


def test_copies_are_averaged_and_their_classes_tested(data):
    found = tfprune.compare(
        {"dense": [_dense, _without(0, 25)], "pruned": [_without(1, 2), _without(1, 4)]},
        data,
        noise=(0.01,),
    )
    pruned = found.networks[1]
    assert pruned.copies == 2 and pruned.loss == pytest.approx((12.5 + 6.25) / 2)
    assert pruned.classes[0].label == 1 and pruned.classes[0].p is not None
    assert [one.size for one in found.yardstick] == [0.0, 0.01]
    assert found.yardstick[0].agreement == 0.99


def test_a_set_of_the_users_own_and_noise_are_shifts(data):
    def deaf(inputs):
        """Wrong where the second column is negative."""
        return _confident(_told(inputs) + (inputs[:, 1] < 0))

    shifted = (data[0] * np.float32([1, -1]) - np.float32([0, 1]), data[1])
    found = tfprune.compare(
        {"dense": _dense, "deaf": deaf}, data, corruptions={"mirrored": shifted}, noise=(1e-3,)
    )
    one = found.networks[1]
    assert [shift.condition for shift in one.shifts] == ["mirrored", "noise 0.001"]
    assert (one.worst_kind.condition, one.worst_kind.against) == ("mirrored", 100.0)
    assert "worst corruption mirrored" in found.lead[0]
    assert found.reference.worst_kind is None


@pytest.mark.parametrize(
    "metric, labels, outputs, unit",
    [
        (None, "float", "same", "squared error"),
        ("absolute", "float", "same", "absolute"),
        (None, "positions", "classes of each", "points"),
        (None, None, "same", ""),
        ("absolute", "float", "two", "absolute"),
        ("absolute", "dict", "two", "absolute"),
        (None, "dict", "two", ""),
        ("absolute", None, "same", ""),
        (None, "strange", "same", ""),
    ],
    ids=[
        "regression",
        "metric",
        "segmentation",
        "no labels",
        "two outputs",
        "two labels",
        "no metric",
        "no labels for a metric",
        "no fitting labels",
    ],
)
def test_what_is_no_class_is_judged_by_a_metric_or_distance(
    metric, labels, outputs, unit, tmp_path
):
    draw = np.random.default_rng(0)
    inputs = draw.normal(size=(30, 6)).astype(np.float32)
    targets = {
        "float": inputs + 1,
        "positions": (inputs > 0).astype(int),
        None: None,
        "strange": draw.normal(size=(30, 5, 5)),
        "dict": {"boxes": inputs + 1, "scores": inputs},
    }[labels]

    def network(scale):
        def call(batch):
            batch = batch * scale
            if outputs == "two":
                return batch, batch + 1
            return np.stack([-batch, batch], -1) if outputs == "classes of each" else batch

        return call

    def absolute(labels, given):
        given = given[0] if outputs == "two" else given
        return np.abs((labels["boxes"] if isinstance(labels, dict) else labels) - given)

    found = tfprune.compare(
        {"dense": network(1.0), "scaled": network(-0.5)},
        (inputs,) if targets is None else (inputs, targets),
        noise=(0.1,),
        settings=tfprune.Evaluation(metric=absolute if metric else None),
    )
    assert found.unit == unit and not found.networks[1].classes
    expected = {
        "squared error": np.square(1.5 * inputs + 1).mean() - 1,
        "absolute": np.abs(1.5 * inputs + 1).mean() - 1,
        "points": 100.0,
    }.get(unit)
    assert found.networks[1].lost == (None if expected is None else pytest.approx(expected))
    assert found.networks[1].noise[0].distance > 0
    json.dumps(found.to_dict(), allow_nan=False)
    assert "scaled" in str(found) and found.page(tmp_path / "a.html").stat().st_size < 500_000


def test_networks_without_gradients_leave_out_their_features_and_nothing_else():
    images = np.random.default_rng(0).integers(0, 256, (8, 4, 4, 1)).astype(np.uint8)
    layers = keras.layers
    rounding, smooth = (
        keras.Sequential(
            [
                keras.Input((4, 4, 1)),
                layers.Lambda(keras.ops.round if rounded else keras.ops.square),
                layers.Flatten(),
                layers.Dense(3),
            ]
        )
        for rounded in (True, False)
    )
    found = tfprune.compare(
        {"rounding": rounding, "smooth": smooth},
        (images, np.arange(8) % 3),
        settings=tfprune.Evaluation(features=2),
    )
    assert (found.features.rows, found.features.columns) == (("smooth",), ("rounding", "smooth"))
    assert "informative features: those of rounding: No gradient" in found.skipped[0]


def test_a_second_call_predicts_nothing(data, tmp_path):
    calls = []

    def counted(inputs):
        calls.append(len(inputs))
        return _dense(inputs)

    networks = {"dense": counted, "pruned": _without(3)}
    first = tfprune.compare(networks, data, noise=(0.1,), folder=tmp_path)
    made = len(calls)
    second = tfprune.compare(networks, data, noise=(0.1,), folder=tmp_path)
    assert second.to_dict() == first.to_dict()
    assert sum(calls[made:]) <= 16  # the first examples tell which network it is


@pytest.mark.parametrize(
    "models",
    [{"a": [_dense, _dense], "a #1": _dense}, {1: _dense, "1": _dense}],
    ids=["copy", "number"],
)
def test_networks_that_would_share_a_name_are_refused(models, data):
    with pytest.raises(ValueError, match="another name|names that differ"):
        tfprune.compare(models, data)


def test_class_names_are_as_many_as_classes(data):
    with pytest.raises(ValueError, match="2 names for 4 classes"):
        tfprune.compare(
            {"dense": _dense}, data, settings=tfprune.Evaluation(class_names=("a", "b"))
        )


def test_what_is_no_number_is_said(data, recwarn):
    found = tfprune.compare({"dense": _dense, "broken": lambda x: _dense(x) * np.nan}, data)
    assert "broken: outputs are NaN or infinite for 400 of 400 examples" in str(found)
    assert found.networks[1].loss == 100.0 and "nan" not in str(found).replace("NaN", "")
    del found
    assert not recwarn.list


def test_whole_float_labels_are_classes_and_nan_is_refused(data):
    found = tfprune.compare({"dense": _dense}, (data[0], data[1].astype(np.float32)))
    assert found.unit == "points" and found.reference.loss == 0.0
    with pytest.raises(ValueError, match="1 labels are NaN"):
        tfprune.compare({"dense": _dense}, (data[0], np.append(data[1][1:] * 1.0, np.nan)))


def test_a_few_examples_do_not_tell_what_stands_out(data):
    found = tfprune.compare(
        {"dense": _dense, "pruned": _without(0, 1)}, (data[0][:8], data[1][:8]), noise=(0.1,)
    )
    assert np.isnan(found.networks[1].deviation) and "+-" not in found.lead[0]
    assert not any(shift.stands_out for shift in found.networks[1].shifts)


def test_labels_that_are_no_class_are_refused():
    with pytest.raises(ValueError, match="labels from 0 to 3, but the networks have 3 outputs"):
        Task.of(np.arange(4), [np.ones((4, 3))], None)


def test_a_metric_of_the_wrong_shape_is_named():
    def mean(labels, outputs):
        return 1.0

    with pytest.raises(ValueError, match="metric mean returned shape"):
        Task.of(np.arange(4), [np.ones((4, 3))], mean).loss(np.arange(4), [np.ones((4, 3))])


@pytest.mark.parametrize("models", [{}, [], None, {"a": []}], ids=str)
def test_models_without_a_name_are_refused(models, data):
    with pytest.raises((TypeError, ValueError), match="models"):
        tfprune.compare(models, data)


def test_a_page_of_many_networks_keeps_to_its_size(data, tmp_path):
    networks = {
        "dense": _dense,
        **{f"network {n}": _without(n % CLASSES, 2 + n) for n in range(40)},
    }
    found = tfprune.compare(networks, data, noise=(0.1,))
    page = found.page(tmp_path / "a.html").read_text()
    assert len(page.encode()) < 500_000
    assert "the first 6 of 40 networks" in page and "Classes: network 5" in page
    assert "Classes: network 6" not in page and len(found.to_dict()["networks"]) == 41
