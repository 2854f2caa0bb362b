# SPDX-License-Identifier: Apache-2.0
"""Scores from the gradient of the loss: SNIP and GraSP against references of their own."""

import numpy as np
import pytest
import tensorflow as tf
from tiny_models import BATCH, KERASES, cnn, compiled, data, zeros

import tfprune
from tfprune.backend import view
from tfprune.methods import REGISTRY, Method
from tfprune.statistics.calibration_data import Feed
from tfprune.statistics.gradients import gradient, hessian_gradient
from tfprune.statistics.measured_model import Subject

everywhere = pytest.mark.parametrize("family", KERASES)


def measured(measuring, model, data, **settings):
    subject = Subject.of(view(model))
    with measuring(subject, Feed(tfprune.CalibrationData.of(data)), **settings) as measure:
        return [value.numpy() for given in measure() for value in given.values()]


def tape(model, loss, inputs, labels):
    """dL/dW over all examples at once."""
    kernels = Subject.of(view(model)).kernels
    with tf.GradientTape() as tape:
        value = loss(labels, model(inputs, training=False))
    return [gradient.numpy() for gradient in tape.gradient(value, kernels)]


def close(found, expected, rtol=1e-4):
    assert len(found) == len(expected) > 0
    for one, other in zip(found, expected):
        assert np.abs(other).max() > 0
        np.testing.assert_allclose(one, other, rtol=rtol, atol=rtol * np.abs(other).max())


# SNIP.


@everywhere
def test_the_gradient_is_the_mean_over_all_examples_however_they_are_cut(family):
    model = cnn(family)
    loss = KERASES[family].losses.SparseCategoricalCrossentropy(from_logits=True)
    inputs, labels = data()
    inputs, labels = inputs[:23], labels[:23]
    expected = tape(model, loss, inputs, labels)
    for size in (23, 7, 100):
        close(
            measured(
                gradient, model, tfprune.CalibrationData((inputs, labels), loss, batch_size=size)
            ),
            expected,
        )
    batches = tf.data.Dataset.from_tensor_slices((inputs, labels)).batch(10)
    close(measured(gradient, model, tfprune.CalibrationData(batches, loss)), expected)


@everywhere
def test_the_score_is_the_product_of_weight_and_gradient(family):
    model = cnn(family)
    loss = KERASES[family].losses.SparseCategoricalCrossentropy(from_logits=True)
    subject = Subject.of(view(model))
    weights = [kernel.numpy() for kernel in subject.kernels]
    expected = [
        np.abs(weight * gradient).ravel()
        for weight, gradient in zip(weights, tape(model, loss, *data()))
    ]
    given = [
        {"gradient": one}
        for one in measured(gradient, model, tfprune.CalibrationData(data(), loss))
    ]
    close(REGISTRY["snip"].rule.scores(weights, subject.sites, given), expected)

    tfprune.sparsify(
        model, "snip", 0.8, data=tfprune.CalibrationData(data(), loss, batch_size=BATCH)
    )
    kept = np.concatenate([mask.ravel() for mask in zeros(model).values()])
    scores = np.concatenate(expected)
    assert kept.sum() == round(0.2 * kept.size)
    assert scores[kept].min() >= scores[~kept].max() * (1 - 1e-4)


@everywhere
def test_sample_weights_weigh(family):
    model = cnn(family)
    loss = KERASES[family].losses.SparseCategoricalCrossentropy(from_logits=True)
    inputs, labels = data()
    weights = np.random.default_rng(0).integers(0, 4, len(labels))
    expected = tape(model, loss, np.repeat(inputs, weights, 0), np.repeat(labels, weights))
    source = (inputs, labels, weights.astype("float32"))
    close(measured(gradient, model, tfprune.CalibrationData(source, loss, batch_size=7)), expected)


@everywhere
def test_scoring_updates_nothing(family):
    library = KERASES[family]
    model = library.Sequential(
        [
            library.Input((6, 6, 2)),
            library.layers.Conv2D(3, 3),
            library.layers.BatchNormalization(),
            library.layers.Dropout(0.5, seed=1),
            library.layers.Flatten(),
            library.layers.Dense(3),
        ]
    )
    before = [variable.numpy().tobytes() for variable in model.variables]
    source = tfprune.CalibrationData(data(), compiled(model, family).loss)
    first, second = (measured(gradient, model, source) for _ in range(2))
    measured(hessian_gradient, model, source, temperature=200.0)
    assert [variable.numpy().tobytes() for variable in model.variables] == before
    for one, other in zip(first, second):
        np.testing.assert_array_equal(one, other)


# Losses.


def head(family, units, activation=None):
    library = KERASES[family]
    model = library.Sequential(
        [
            library.Input((4,)),
            library.layers.Dense(5, activation="tanh"),
            library.layers.Dense(units, activation=activation),
        ]
    )
    generator = np.random.default_rng(3)
    model.set_weights([generator.normal(size=w.shape) for w in model.get_weights()])
    return model


GENERATOR = np.random.default_rng(9)
INPUTS = GENERATOR.normal(size=(10, 4)).astype("float32")
CLASSES = GENERATOR.integers(0, 3, 10)
ONE_HOT = np.eye(3, dtype="float32")[CLASSES]
BINARY = GENERATOR.integers(0, 2, 10)
NUMBERS = GENERATOR.normal(size=(10, 3)).astype("float32")


def own(labels, outputs):
    return tf.reduce_sum(tf.abs(outputs - tf.cast(labels, outputs.dtype)) ** 3, -1)


# (name of the loss, its settings, labels, activation of the output)
LOSSES = {
    "sparse logits": ("SparseCategoricalCrossentropy", {"from_logits": True}, CLASSES, None),
    "sparse": ("SparseCategoricalCrossentropy", {}, CLASSES, "softmax"),
    "sparse [n, 1]": ("SparseCategoricalCrossentropy", {}, CLASSES[:, None], "softmax"),
    "categorical logits": ("CategoricalCrossentropy", {"from_logits": True}, ONE_HOT, None),
    "categorical": ("CategoricalCrossentropy", {}, ONE_HOT, "softmax"),
    "smoothed": ("CategoricalCrossentropy", {"label_smoothing": 0.1}, ONE_HOT, "softmax"),
    "binary logits": ("BinaryCrossentropy", {"from_logits": True}, BINARY[:, None], None),
    "binary": ("BinaryCrossentropy", {}, BINARY[:, None], "sigmoid"),
    "multi-label": ("BinaryCrossentropy", {}, ONE_HOT, "sigmoid"),
    "mse": ("MeanSquaredError", {}, NUMBERS, None),
    "huber": ("Huber", {"delta": 0.5}, NUMBERS, None),
}


@everywhere
@pytest.mark.parametrize("name", LOSSES)
def test_losses(family, name):
    kind, settings, labels, activation = LOSSES[name]
    loss = getattr(KERASES[family].losses, kind)(**settings)
    units = 1 if labels is LOSSES["binary"][2] or labels is LOSSES["binary logits"][2] else 3
    model = head(family, units, activation)
    expected = tape(model, loss, INPUTS, labels)
    close(
        measured(gradient, model, tfprune.CalibrationData((INPUTS, labels), loss, batch_size=4)),
        expected,
    )


@everywhere
def test_the_ways_to_name_a_loss(family):
    model = head(family, 3)
    library = KERASES[family]
    expected = tape(model, library.losses.MeanSquaredError(), INPUTS, NUMBERS)
    for loss in (
        "mse",
        "mean_squared_error",
        library.losses.MeanSquaredError(),
        library.losses.mean_squared_error,
        library.losses.MeanSquaredError(reduction="sum"),
    ):
        close(measured(gradient, model, tfprune.CalibrationData((INPUTS, NUMBERS), loss)), expected)
        model.compile("sgd", loss)
        close(measured(gradient, model, (INPUTS, NUMBERS)), expected)
    close(
        measured(gradient, model, tfprune.CalibrationData((INPUTS, NUMBERS), own)),
        tape(model, lambda *args: tf.reduce_mean(own(*args)), INPUTS, NUMBERS),
    )
    # What is passed goes before what the model was compiled with.
    model.compile("sgd", "mae")
    close(measured(gradient, model, tfprune.CalibrationData((INPUTS, NUMBERS), "mse")), expected)


@everywhere
def test_labels_of_one_output_without_their_last_axis(family):
    model = head(family, 1)
    library = KERASES[family]
    expected = tape(model, library.losses.MeanSquaredError(), INPUTS, NUMBERS[:, :1])
    close(
        measured(gradient, model, tfprune.CalibrationData((INPUTS, NUMBERS[:, 0]), "mse")), expected
    )


def two_outputs(family, named):
    """The second output comes first in the alphabet."""
    library = KERASES[family]
    inputs = library.Input((4,))
    x = library.layers.Dense(5, activation="tanh")(inputs)
    first = library.layers.Dense(3, name="zeta")(x)
    second = library.layers.Dense(3, name="alpha")(x)
    outputs = {"zeta": first, "alpha": second} if named else [first, second]
    model = library.Model(inputs, outputs)
    generator = np.random.default_rng(3)
    model.set_weights([generator.normal(size=w.shape) for w in model.get_weights()])
    return model


@everywhere
@pytest.mark.parametrize("named", [False, True], ids=["list", "dictionary"])
def test_several_outputs(family, named):
    library = KERASES[family]
    model = two_outputs(family, named)
    mse = library.losses.MeanSquaredError()
    crossentropy = library.losses.SparseCategoricalCrossentropy(from_logits=True)

    def both(scale):
        def loss(labels, outputs):
            first, second = (outputs["zeta"], outputs["alpha"]) if named else outputs
            return scale * mse(labels["zeta"], first) + crossentropy(labels["alpha"], second)

        return loss

    names = {"zeta": NUMBERS, "alpha": CLASSES}
    by_name = {"zeta": "mse", "alpha": crossentropy}
    expected = tape(model, both(1.0), INPUTS, names)
    close(
        measured(gradient, model, tfprune.CalibrationData((INPUTS, names), by_name, batch_size=4)),
        expected,
    )
    model.compile("sgd", by_name)
    close(measured(gradient, model, (INPUTS, names)), expected)
    if not named:
        in_order = [NUMBERS, CLASSES]
        close(measured(gradient, model, (INPUTS, in_order)), expected)
        close(
            measured(
                gradient, model, tfprune.CalibrationData((INPUTS, in_order), ["mse", crossentropy])
            ),
            expected,
        )
    model.compile("sgd", by_name, loss_weights={"zeta": 3.0, "alpha": 1.0})
    close(measured(gradient, model, (INPUTS, names)), tape(model, both(3.0), INPUTS, names))

    with pytest.raises(ValueError, match="'beta'"):
        measured(
            gradient,
            model,
            tfprune.CalibrationData((INPUTS, names), {"zeta": "mse", "beta": "mse"}),
        )


# GraSP.


def softened_gradient(weights, temperature=200.0):
    """dL/dW in float64 of a net with one hidden layer of tanh and a softened softmax."""
    first, offset, second, last = weights
    hidden = np.tanh(INPUTS @ first + offset)
    logits = (hidden @ second + last) / temperature
    chances = np.exp(logits - logits.max(1, keepdims=True))
    chances /= chances.sum(1, keepdims=True)
    slope = (chances - ONE_HOT) / (len(INPUTS) * temperature)
    back = (slope @ second.T) * (1 - hidden**2)
    return [INPUTS.T @ back, hidden.T @ slope]


@everywhere
@pytest.mark.parametrize(
    "ends, temperature",
    [
        ("logits", 200.0),
        ("logits", 1.0),
        ("softmax", 200.0),
        ("softmax", 3.0),
        ("one-hot logits", 200.0),
        ("one-hot softmax", 200.0),
    ],
)
def test_the_hessian_times_the_gradient_against_differences_of_gradients(family, ends, temperature):
    activation = "softmax" if "softmax" in ends else None
    kind = "CategoricalCrossentropy" if "one-hot" in ends else "SparseCategoricalCrossentropy"
    labels = ONE_HOT if "one-hot" in ends else CLASSES
    model = head(family, 3, activation)
    weights = [weight.astype("float64") for weight in model.get_weights()]
    direction = softened_gradient(weights, temperature)
    step = 1e-4 / np.sqrt(sum((one**2).sum() for one in direction))

    def moved(by):
        first, offset, second, last = weights
        return softened_gradient(
            [first + by * direction[0], offset, second + by * direction[1], last], temperature
        )

    expected = [(ahead - behind) / (2 * step) for ahead, behind in zip(moved(step), moved(-step))]
    loss = getattr(KERASES[family].losses, kind)(from_logits=activation is None)
    found = measured(
        hessian_gradient,
        model,
        tfprune.CalibrationData((INPUTS, labels), loss, batch_size=4),
        temperature=temperature,
    )
    for one, other in zip(found, expected):
        assert np.linalg.norm(one - other) < 1e-3 * np.linalg.norm(other)


def test_the_temperature_of_grasp_is_a_setting_that_reaches_the_loss():
    weights = [weight.astype("float64") for weight in head("keras", 3).get_weights()]
    loss = KERASES["keras"].losses.SparseCategoricalCrossentropy(from_logits=True)

    def kept(**changes):
        model = head("keras", 3)
        model.set_weights(weights)
        method = tfprune.get_method("grasp", **changes)
        assert Method.from_config(method.get_config()) == method
        tfprune.sparsify(model, method, 0.5, data=tfprune.CalibrationData((INPUTS, CLASSES), loss))
        return np.concatenate([mask.ravel() for mask in zeros(model).values()])

    def expected(temperature):
        gradient = softened_gradient(weights, temperature)
        step = 1e-4 / np.sqrt(sum((one**2).sum() for one in gradient))
        ahead, behind = (
            softened_gradient(
                [
                    weights[0] + by * gradient[0],
                    weights[1],
                    weights[2] + by * gradient[1],
                    weights[3],
                ],
                temperature,
            )
            for by in (step, -step)
        )
        scores = np.concatenate(
            [(w * (a - b)).ravel() for w, a, b in zip(weights[::2], ahead, behind)]
        )
        chosen = np.zeros(scores.size, bool)
        chosen[np.argsort(-scores)[: round(scores.size / 2)]] = True
        return chosen

    np.testing.assert_array_equal(kept(), kept(temperature=200.0))
    np.testing.assert_array_equal(kept(), expected(200.0))
    np.testing.assert_array_equal(kept(temperature=1.0), expected(1.0))
    assert not np.array_equal(kept(), kept(temperature=1.0))


@pytest.mark.parametrize("wrong", [0, -1.0, float("nan"), float("inf"), "200", True, None])
def test_a_temperature_is_a_number_above_zero(wrong):
    with pytest.raises(ValueError, match="temperature=.*a number above 0"):
        tfprune.get_method("grasp", temperature=wrong)
    with pytest.raises(TypeError, match="temperature"):
        tfprune.get_method("snip", temperature=wrong)


@everywhere
def test_probabilities_of_their_own_are_softened_one_by_one(family):
    loss = KERASES[family].losses.BinaryCrossentropy
    logits, chances = head(family, 3), head(family, 3, "sigmoid")
    expected = measured(
        hessian_gradient,
        logits,
        tfprune.CalibrationData((INPUTS, ONE_HOT), loss(from_logits=True)),
        temperature=200.0,
    )
    close(
        measured(
            hessian_gradient,
            chances,
            tfprune.CalibrationData((INPUTS, ONE_HOT), loss()),
            temperature=200.0,
        ),
        expected,
        1e-3,
    )


@everywhere
def test_grasp_keeps_what_carries_the_gradient_on_a_quadratic(family):
    """L = mean (x w / 200 - y)^2, x diagonal: each weight has its own gradient, 2 H w - 2 c."""
    inputs = 200 * np.eye(2, dtype="float32")
    for labels in ([[5.0], [-5.0]], [[-5.0], [5.0]]):
        model = KERASES[family].Sequential(
            [KERASES[family].Input((2,)), KERASES[family].layers.Dense(1, use_bias=False)]
        )
        model.set_weights([np.array([[1.0], [1.0]])])

        def norm(removed=None):
            kept = np.array([index != removed for index in range(2)], float)
            return ((kept - np.array(labels)[:, 0]) ** 2).sum()

        raises = int(np.argmax([norm(0) - norm(), norm(1) - norm()]))
        assert norm(raises) > norm() > norm(1 - raises)
        tfprune.sparsify(
            model, "grasp", 0.5, data=tfprune.CalibrationData((inputs, np.array(labels)), "mse")
        )
        (mask,) = zeros(model).values()
        assert mask[:, 0].tolist() == [index != raises for index in range(2)]
