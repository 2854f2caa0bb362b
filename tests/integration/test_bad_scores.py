# SPDX-License-Identifier: Apache-2.0
"""Scores that need a model, data or a loss, and are given something else."""

import numpy as np
import pytest
import tensorflow as tf
from tiny_models import BATCH, KERASES, cnn, compiled, data, examples, fit, zeros

import tfprune
from tfprune.methods import REGISTRY
from tfprune.methods.statistics_table import measured

everywhere = pytest.mark.parametrize("family", KERASES)
both = pytest.mark.parametrize("method", ["snip", "grasp"])


def untouched(model, action, error, match):
    """The error that an action ends with; the model is what it was."""
    before = [weight.tobytes() for weight in model.get_weights()]
    with pytest.raises(error, match=match):
        action()
    assert [weight.tobytes() for weight in model.get_weights()] == before


def refused(model, source, match, method="snip", error=ValueError):
    untouched(model, lambda: tfprune.sparsify(model, method, 0.5, data=source), error, match)


def crossentropy(family, logits=True):
    return KERASES[family].losses.SparseCategoricalCrossentropy(from_logits=logits)


# Data.


@everywhere
@pytest.mark.parametrize(
    "method",
    sorted(
        name
        for name, method in REGISTRY.items()
        if measured(method.rule.score.needs) and not name.startswith(("synflow", "coreset"))
    ),
)
def test_no_data(family, method):
    refused(cnn(family), None, r"computed from data: pass data=\(x, y\)", method)
    model = compiled(cnn(family), family)
    callback = tfprune.PruningCallback(method, 0.5)
    untouched(model, lambda: fit(model, callback), ValueError, "computed from data")


@everywhere
@both
def test_data_that_yields_nothing(family, method):
    model = compiled(cnn(family), family)
    inputs, labels = data()
    spent = iter([])
    empty = tf.data.Dataset.from_tensor_slices((inputs, labels)).batch(4).take(0)
    for source in (
        (inputs[:0], labels[:0]),
        [],
        spent,
        empty,
        tfprune.CalibrationData(empty, batches=3),
    ):
        refused(model, source, "The data yields no batch", method)


@everywhere
def test_a_generator_that_is_exhausted_by_the_first_update(family):
    inputs, labels = data()
    batches = (
        (inputs[start : start + BATCH], labels[start : start + BATCH])
        for start in range(0, len(labels), BATCH)
    )
    callback = tfprune.PruningCallback(
        "snip", schedule=tfprune.Polynomial(0.5, end=1.0, frequency=2), data=batches
    )
    with pytest.raises(ValueError, match="run through again for every update"):
        fit(compiled(cnn(family), family), callback)
    # One pass is enough for one update, also where a check looks at its first batch before.
    batches = iter([(inputs, labels)])
    assert tfprune.sparsify(compiled(cnn(family), family), "snip", 0.5, data=batches).kept == 304


@everywhere
@both
@pytest.mark.parametrize("wrong", [np.nan, np.inf])
def test_inputs_that_are_no_numbers(family, method, wrong):
    inputs, labels = data()
    inputs[-1, 2, 3, 0] = wrong  # in the last batch
    source = tfprune.CalibrationData((inputs, labels), crossentropy(family), batch_size=BATCH)
    refused(cnn(family), source, "inputs that are NaN or infinite", method)


@everywhere
def test_inputs_that_do_not_fit(family):
    inputs, labels = data()
    model = compiled(cnn(family), family)
    for wrong in (inputs[:, :5], inputs[..., :1], inputs.reshape(24, -1), inputs[:, :, :, 0]):
        refused(model, (wrong, labels), r"inputs of shape \(24, .*takes \(None, 6, 6, 2\)")
    refused(model, ([inputs, inputs], labels), r"The data has inputs of shape .*, .*takes")
    refused(model, (inputs, labels[:-1]), r"the arrays hold \[23, 24\] examples")
    refused(model, (inputs, labels, labels, labels), "A batch of the data is 4 parts")
    refused(model, 3, "data=3: expected arrays .x, y.", error=TypeError)
    refused(model, [3], "A batch of the data is int")


@everywhere
def test_as_many_inputs_as_the_model_has(family):
    library = KERASES[family]
    first, second = library.Input((2,), name="a"), library.Input((3,), name="b")
    x = library.layers.Concatenate()([first, second])
    model = library.Model([first, second], library.layers.Dense(2)(x))
    model.compile("sgd", "mse")
    one, other, labels = np.ones((4, 2)), np.ones((4, 3)), np.zeros((4, 2))
    refused(model, (one, labels), r"The data has inputs of shape \(4, 2\); .*takes .*\(None, 3\)")
    refused(model, ([other, one], labels), r"inputs of shape \(4, 3\), \(4, 2\)")
    assert tfprune.sparsify(model, "snip", 0.5, data=([one, other], labels)).kept == 5


# Labels and losses.


@everywhere
@both
def test_labels_that_do_not_fit(family, method):
    model = cnn(family)
    inputs, labels = data()
    one_hot = np.eye(3, dtype="float32")[labels]
    sparse = crossentropy(family)
    categorical = KERASES[family].losses.CategoricalCrossentropy(from_logits=True)

    def given(labels, loss):
        return tfprune.CalibrationData((inputs, labels), loss)

    refused(model, given(one_hot, sparse), "labels do not fit the loss.*float32.*sparse", method)
    refused(model, given(labels, categorical), "labels do not fit the loss.*int64", method)
    refused(model, given(labels + 1, sparse), "(?s)outside of|do not fit", method)
    refused(model, given(-1 - labels, sparse), "(?s)outside of|do not fit", method)
    refused(model, given(np.full(24, np.nan, "float32"), "mse"), "not finite|do not fit", method)
    refused(
        model,
        tfprune.CalibrationData((inputs,), sparse),
        "no labels, and the score needs a loss",
        method,
    )
    refused(
        model,
        tfprune.CalibrationData((inputs, [labels, labels]), sparse),
        "labels for 2 outputs",
        method,
    )
    refused(model, given(np.array(["a"] * 24), sparse), "do not fit the loss", method)


@everywhere
def test_labels_of_a_later_batch(family):
    inputs, labels = data()
    labels[-1] = 7
    source = tfprune.CalibrationData((inputs, labels), crossentropy(family), batch_size=BATCH)
    refused(
        cnn(family),
        source,
        "label value of 7|NaN",
        error=(ValueError, tf.errors.InvalidArgumentError),
    )


@everywhere
@both
def test_no_loss(family, method):
    model = cnn(family)
    refused(
        model,
        data(),
        r"needs a loss, and the model .* not compiled.*CalibrationData\(\(x, y\), loss=",
        method,
    )
    model.compile("sgd")
    refused(model, data(), "needs a loss", method)
    refused(model, tfprune.CalibrationData(data(), "crossentropy"), "crossentropy", method)


@everywhere
@both
def test_logits_for_a_loss_that_wants_probabilities(family, method):
    source = tfprune.CalibrationData(data(), crossentropy(family, logits=False))
    refused(
        cnn(family), source, "expects probabilities.*look like logits.*from_logits=True", method
    )
    source = tfprune.CalibrationData(data(), "sparse_categorical_crossentropy")
    refused(cnn(family), source, "expects probabilities", method)


@pytest.mark.filterwarnings('ignore:"`sparse_categorical_crossentropy` received')
@everywhere
@both
def test_probabilities_for_a_loss_that_wants_logits(family, method):
    library = KERASES[family]
    base = cnn(family)
    model = library.Model(base.input, library.layers.Softmax()(base.output))
    source = tfprune.CalibrationData(data(), crossentropy(family))
    with pytest.warns(UserWarning, match="are probabilities .*from_logits=True.* as it is"):
        assert tfprune.sparsify(model, method, 0.5, data=source).kept == 304


# Models.


@everywhere
@both
def test_a_gradient_that_is_zero_everywhere(family, method):
    library = KERASES[family]
    base = cnn(family)
    model = library.Model(base.input, library.layers.Lambda(tf.stop_gradient)(base.output))
    refused(
        model, examples(family), "nothing to choose the weights .* is 0 at every weight", method
    )


@everywhere
@pytest.mark.parametrize("method", ["snip", "grasp", "synflow", "taylor"])
def test_weights_that_are_no_numbers(family, method):
    for wrong in (np.nan, np.inf):
        model = cnn(family)
        kernel = model.layers[1].kernel.numpy()
        kernel[0, 0, 0, 0] = wrong
        model.layers[1].kernel.assign(kernel)
        refused(model, examples(family), "NaN", method)


@everywhere
def test_an_unbuilt_model(family):
    library = KERASES[family]
    model = library.Sequential([library.layers.Flatten(), library.layers.Dense(3)])
    with pytest.raises(ValueError, match="is not built, so it has no weights yet"):
        tfprune.sparsify(model, "synflow", 0.5)


# More than the floor allows, and what happens without one.


@pytest.mark.parametrize(
    "allocation",
    [
        tfprune.Uniform(),
        tfprune.Global(),
        tfprune.ERK(),
        tfprune.LAMP(),
        tfprune.PFP(),
        tfprune.PerSite({"hidden": 0.999}, others=tfprune.Global()),
        tfprune.Global(min_keep=5),
    ],
    ids=repr,
)
def test_a_sparsity_that_the_floor_does_not_allow(allocation):
    model = cnn("keras")
    floor = allocation.min_keep
    with pytest.warns(UserWarning, match="reached is"):
        (text,) = tfprune.sparsify(model, "magnitude", 0.999, allocation=allocation).warnings
    kept = sum(mask.sum() for mask in zeros(model).values())
    assert kept == 3 * floor
    assert "Asked was a sparsity of 0.999" in text and f"keeps at least {floor} of" in text
    assert f"reached is {1 - kept / 608:.6g}:" in text


def test_a_sparsity_that_the_floor_allows_is_nothing_to_talk_about():
    for allocation in (tfprune.Uniform(), tfprune.Global(), tfprune.Global(min_keep=0)):
        assert not tfprune.sparsify(
            cnn("tf_keras"), "magnitude", 0.9, allocation=allocation
        ).warnings


@everywhere
def test_filters_that_the_floor_keeps(family):
    with pytest.warns(UserWarning, match="Asked was a sparsity of 0.95, reached is 0.8:"):
        tfprune.sparsify(cnn(family), "filter_threshold", 0.95)  # 3 of 15 filters


@everywhere
def test_layers_that_collapse_are_named(family):
    expected = "All weights of hidden/kernel are zero: nothing passes this layer."
    model = cnn(family)
    with pytest.warns(UserWarning, match=expected):
        report = tfprune.sparsify(
            model, "magnitude", 0.5, allocation=tfprune.PerSite({"hidden": 0.9999}, min_keep=0)
        )
    assert report.warnings == (expected,) == tfprune.report(model).warnings
    assert " ".join(str(report).split()).count("nothing passes this layer") == 1
    assert "none is left" in tfprune.report(model).paths
