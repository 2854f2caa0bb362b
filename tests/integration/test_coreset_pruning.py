# SPDX-License-Identifier: Apache-2.0
"""Coreset pruning in both Kerases: what stays dense, what is reported, bad input, training."""

import numpy as np
import pytest
import tensorflow as tf

import tfprune
from tests.coreset_models import conv_net, dense_chain, everywhere, kept, kernel, pruned
from tests.tiny_models import KERASES, cnn, compiled, fit, with_weights

DRAWN = tfprune.get_method("coreset_draws")


@everywhere
def test_the_report_says_what_the_choice_rests_on(family):
    model = conv_net(family, width=40)
    report = pruned(model).report
    notes = {row.name: " | ".join(row.notes) for row in report.sites}
    assert "scored with norm folded in" in notes["one/kernel"]
    for part in (
        "lowner_contact: ",
        "round",
        "alpha ",
        "dimension 2",
        "% of the variance",
        "the ReLU condition holds in ",
    ):
        assert part in notes["one/kernel"]
    assert "note: one/kernel: scored with norm folded in" in str(report)
    assert report.to_dict()["sites"][0]["notes"] == list(report.sites[0].notes)
    assert [(skip.name, skip.reason) for skip in report.skipped if skip.name == "out/kernel"] == [
        ("out/kernel", "its channels stay whole: model output")
    ]
    drawn = pruned(conv_net(family, width=40), DRAWN).report
    assert drawn.sites[0].notes[-1] == "what reads it is re-weighted: two/kernel"


def subclassed(library):
    class Net(library.Model):
        def __init__(self):
            super().__init__()
            self.one = library.layers.Dense(8, activation="relu", name="one")
            self.two = library.layers.Dense(3, name="two")

        def call(self, x):
            return self.two(self.one(x))

    model = Net()
    model(np.zeros((1, 5), "float32"))
    return model


@everywhere
def test_a_model_without_a_graph_is_pruned_and_says_what_it_lacks(family):
    report = pruned(subclassed(KERASES[family])).report
    assert [row.target for row in report.sites] == [0.5, pytest.approx(1 / 3)]
    for row in report.sites:
        assert "as if all its filters were read alike" in row.notes[0]
        assert "subclassed model" in row.notes[0]
    assert not report.warnings
    model = subclassed(KERASES[family])
    before = model.two.kernel.numpy()
    report = pruned(model, DRAWN).report
    assert len(report.warnings) == 2 and "was not re-weighted: " in report.warnings[0]
    after = model.two.kernel.numpy()
    np.testing.assert_array_equal(after[:, after.any(0)], before[:, after.any(0)])


@everywhere
def test_layers_whose_filters_do_not_stand_for_each_other_stay_dense(family):
    library = KERASES[family]
    layers = library.layers
    inputs = library.Input((8, 8, 4))
    x = layers.Conv2D(8, 1, name="plain")(inputs)
    x = layers.DepthwiseConv2D(3, padding="same", name="depthwise")(x)
    x = layers.Conv2D(8, 3, groups=2, padding="same", name="grouped")(x)
    x = layers.SeparableConv2D(8, 3, padding="same", name="separable")(x)
    x = layers.Conv2DTranspose(6, 2, name="transposed")(x)
    x = layers.Lambda(lambda y: tf.sort(y, axis=-1), name="lambda")(x)
    x = layers.Reshape((81, 6))(x)
    x = layers.LSTM(4, name="lstm")(x)
    x = layers.Dense(6, activation="relu", name="dense")(x)
    model = with_weights(library.Model(inputs, layers.Dense(2, name="out")(x)))
    report = pruned(model).report
    # The depthwise kernel passes the plain convolution's channels on to the grouped one.
    assert [row.name for row in report.sites] == [
        "plain/kernel",
        "separable/pointwise_kernel",
        "dense/kernel",
    ]
    reasons = {
        skip.name.split("/")[0] + skip.name.rpartition("/")[2][:2]: skip.reason
        for skip in report.skipped
    }
    assert "a channel of its own" in reasons["separablede"]
    assert "grouped convolution" in reasons["groupedke"]
    assert "lambda" in reasons["transposedke"]
    assert any("LSTMCell" in reason for reason in reasons.values())
    assert "model output" in reasons["outke"]


@everywhere
def test_layers_of_one_filter_and_equal_filters(family):
    library = KERASES[family]
    layers = library.layers
    single = with_weights(
        library.Sequential(
            [
                library.Input((4,)),
                layers.Dense(1, activation="relu", name="a"),
                layers.Dense(1, name="b"),
            ]
        )
    )
    for method in ("coreset", "coreset_caratheodory", "coreset_mussay", "coreset_draws"):
        assert kept(pruned(single, method))["a/kernel"].tolist() == [True]
        equal = dense_chain(family)
        for name in ("one", "two"):
            equal.get_layer(name).set_weights(
                [np.ones_like(w) for w in equal.get_layer(name).get_weights()]
            )
        chosen = kept(pruned(equal, method))
        assert chosen["one/kernel"].sum() == 6 and chosen["two/kernel"].sum() in (4, 5)
    zero = dense_chain(family)
    zero.set_weights([np.zeros_like(w) for w in zero.get_weights()])
    assert kept(pruned(zero))["one/kernel"].sum() == 6


@everywhere
@pytest.mark.parametrize("method", ["coreset", "coreset_mussay", "coreset_draws"])
def test_weights_that_are_not_finite_are_named(method, family):
    for layer, number in (("one", np.nan), ("two", np.inf)):
        model = dense_chain(family)
        weights = model.get_layer(layer).get_weights()
        weights[0][0, 0] = number
        model.get_layer(layer).set_weights(weights)
        before = [w.copy() for w in model.get_weights()]
        with pytest.raises(ValueError, match=r"one/kernel: .*not finite"):
            pruned(model, method)
        for value, old in zip(model.get_weights(), before):
            np.testing.assert_array_equal(value, old)


@everywhere
def test_training_goes_on_after_draws(family):
    model = compiled(cnn(family), family)
    callback = tfprune.PruningCallback(DRAWN, 0.5)
    fit(model, callback)
    chosen = kept(callback)
    assert chosen["conv/kernel"].sum() == 2 and chosen["hidden/kernel"].sum() == 4
    assert not kernel(model, "hidden")[:, ~chosen["hidden/kernel"]].any()
    assert np.isfinite(model.predict(np.ones((2, 6, 6, 2)), verbose=0)).all()
    wrapped = tfprune.prune(cnn(family), DRAWN, 0.5)
    callback = tfprune.PruningCallback()
    fit(compiled(wrapped, family), callback)
    assert {name: mask.sum() for name, mask in kept(callback).items()} == {
        "conv/kernel": 2,
        "hidden/kernel": 4,
    }
