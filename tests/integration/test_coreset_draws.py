# SPDX-License-Identifier: Apache-2.0
"""Filters that are drawn, and the weights that read them."""

import dataclasses

import numpy as np
import pytest
import tensorflow as tf

import tfprune
from tests.coreset_models import MODELS, dense_chain, everywhere, images, kept, kernel, pruned
from tests.tiny_models import KERASES, masks, with_weights
from tfprune.backend import view
from tfprune.methods.rules.importance_sampling import ImportanceSamplingRule
from tfprune.statistics.measure import measuring
from tfprune.statistics.measured_model import Subject

DRAWN = tfprune.get_method("coreset_draws")


@everywhere
@pytest.mark.parametrize("kind", MODELS)
def test_nothing_changes_where_everything_is_kept(kind, family):
    model = MODELS[kind](family)
    data = images(model)
    before = model.predict(data, verbose=0)
    callback = pruned(model, DRAWN, sparsity=0.0)
    assert all(mask.all() for mask in kept(callback).values())
    np.testing.assert_allclose(model.predict(data, verbose=0), before, atol=1e-6)


@everywhere
@pytest.mark.parametrize("kind", MODELS)
def test_the_next_layers_are_scaled_exactly(kind, family):
    model = MODELS[kind](family)
    rule = DRAWN.rule
    subject = Subject.of(view(model))
    with measuring(rule.score.needs, subject, None, rule.structure) as measure:
        scores = [given["contact_sensitivity"].numpy() for given in measure()[:2]]
    factors = rule.factors(scores, subject.sites[:2], 0.5, final=0.5)
    before = {layer.name: [w.copy() for w in layer.get_weights()] for layer in model.layers}
    chosen = kept(pruned(model, DRAWN))
    (first, second), mask = factors, chosen["two/kernel"]
    assert ((first > 0) == chosen["one/kernel"]).all() and ((second > 0) == mask).all()
    assert len(np.unique(first)) > 2
    before["one"][0] *= chosen["one/kernel"]
    before["two"][0] *= first[:, None] * mask
    positions = len(before["out"][0]) // len(second)
    before["out"][0] *= np.tile(second, positions)[:, None]
    for layer in model.layers:
        for value, expected in zip(layer.get_weights(), before[layer.name]):
            np.testing.assert_allclose(value, expected, rtol=1e-6)


@everywhere
def test_draws_keep_exactly_as_many_as_asked_and_are_nested(family):
    smaller = None
    for sparsity in (0.9, 0.75, 0.5, 0.25, 0.1):
        chosen = kept(pruned(dense_chain(family, width=60), DRAWN, sparsity))
        assert chosen["one/kernel"].sum() == round(60 * (1 - sparsity))
        assert chosen["two/kernel"].sum() == max(1, round(9 * (1 - sparsity)))
        if smaller is not None:
            assert all((chosen[name] | ~smaller[name]).all() for name in chosen)
        smaller = chosen
    seeded = tfprune.get_method(DRAWN, rule=dataclasses.replace(DRAWN.rule, seed=1))
    other = kept(pruned(dense_chain(family, width=60), seeded))
    assert (
        other["one/kernel"] != kept(pruned(dense_chain(family, width=60), DRAWN))["one/kernel"]
    ).any()


def doubled(family, kind):
    """A model in which filters 2i and 2i + 1 of the layer `one` are the same."""
    model = MODELS[kind](family)
    for layer in model.layers:
        if layer.name in ("one", "norm"):
            layer.set_weights([np.repeat(w[..., ::2], 2, axis=-1) for w in layer.get_weights()])
    return model


@everywhere
@pytest.mark.parametrize("kind", MODELS)
def test_one_of_two_equal_filters_with_a_factor_of_two_is_both(kind, family, monkeypatch):
    model = doubled(family, kind)
    two = model.get_layer("two")
    weights = two.get_weights()
    axis = weights[0].ndim - 2
    weights[0] = np.repeat(np.take(weights[0], range(0, weights[0].shape[axis], 2), axis), 2, axis)
    two.set_weights(weights)
    data = images(model)
    before = model.predict(data, verbose=0)

    def first_of_each_pair(self, scores, sites, sparsity, final):
        return [
            tf.constant([2.0, 0.0] * (score.shape[0] // 2))
            if site.name == "one/kernel"
            else tf.ones(score.shape)
            for score, site in zip(scores, sites)
        ]

    monkeypatch.setattr(ImportanceSamplingRule, "_drawn", first_of_each_pair)
    chosen = kept(pruned(model, DRAWN))["one/kernel"]
    assert chosen.tolist() == [True, False] * (len(chosen) // 2)
    assert not kernel(model, "one")[..., 1::2].any()
    np.testing.assert_allclose(model.predict(data, verbose=0), before, atol=1e-5)


@everywhere
def test_drawn_outputs_are_right_on_average(family):
    model = dense_chain(family, width=60)
    library = KERASES[family]
    first = library.Model(model.inputs, model.get_layer("one").output)
    data = images(model)
    hidden, weights = first.predict(data, verbose=0), model.get_layer("two").get_weights()
    subject = Subject.of(view(model))
    with measuring(("contact_sensitivity",), subject, None, tfprune.Filter()) as measure:
        scores = [measure()[0]["contact_sensitivity"].numpy()]
    factors = np.mean(
        [
            dataclasses.replace(DRAWN.rule, seed=seed).factors(
                scores, subject.sites[:1], 0.5, final=0.5
            )[0]
            for seed in range(2000)
        ],
        axis=0,
    )
    # Drawing goes on until 30 are different, which biases a little.
    assert np.abs(factors - 1).max() < 0.12
    exact = hidden @ weights[0]
    error = np.linalg.norm(hidden @ (weights[0] * factors[:, None]) - exact)
    assert error < 0.05 * np.linalg.norm(exact)


@everywhere
def test_channels_that_are_added_are_drawn_together_or_not_reweighted(family):
    library = KERASES[family]
    layers = library.layers

    def model():
        inputs = library.Input((6, 6, 3))
        one = layers.Conv2D(8, 3, padding="same", name="one")(inputs)
        two = layers.Conv2D(8, 3, padding="same", name="two")(layers.ReLU(name="r")(one))
        x = layers.Conv2D(5, 3, name="three")(layers.Add(name="sum")([one, two]))
        return with_weights(library.Model(inputs, layers.Conv2D(2, 1, name="out")(x)))

    alone = model()
    before = kernel(alone, "three")
    callback = pruned(alone, DRAWN)
    np.testing.assert_array_equal(
        kernel(alone, "three")[..., kept(callback)["three/kernel"]],
        before[..., kept(callback)["three/kernel"]],
    )
    said = [text for text in callback.report.warnings if "re-weighted" in text]
    assert len(said) == 2 and "one/kernel" in said[0] and "coupled=True" in said[0]

    coupled = model()
    method = tfprune.get_method(DRAWN, structure=tfprune.Filter(coupled=True))
    callback = pruned(coupled, method)
    chosen = kept(callback)
    np.testing.assert_array_equal(chosen["one/kernel"], chosen["two/kernel"])
    assert chosen["one/kernel"].sum() == 4 and not callback.report.warnings
    (updates,) = callback.driver.updates
    assert updates.subject.sites == [target.site for target in callback.driver.targets]
    ratio = (
        kernel(coupled, "three")[..., chosen["three/kernel"]] / before[..., chosen["three/kernel"]]
    )
    np.testing.assert_allclose(ratio, np.broadcast_to(ratio[:1, :1, :, :1], ratio.shape), rtol=1e-5)
    assert ((ratio[0, 0, :, 0] > 0) == chosen["one/kernel"]).all()


@everywhere
def test_an_interrupted_update_leaves_everything_as_it_was(family, monkeypatch):
    model = dense_chain(family)
    before = [w.copy() for w in model.get_weights()]
    callback = tfprune.PruningCallback(DRAWN, schedule=tfprune.OneShot(0.5, at=1))
    callback.start(model)
    monkeypatch.setattr(
        "tfprune.methods.rules.consumer_factors.Consumers.multiplied", lambda self, factors: 1 / 0
    )
    callback.driver.settle()
    with pytest.raises(ZeroDivisionError):
        callback.update()
    for value, old in zip(model.get_weights(), before):
        np.testing.assert_array_equal(value, old)
    assert all(mask.all() for mask in masks(callback).values())


@everywhere
def test_any_score_of_filters_can_be_drawn_by(family):
    rule = ImportanceSamplingRule(tfprune.get_method("magnitude").rule.score, tfprune.Filter())
    model = dense_chain(family)
    method = tfprune.get_method("magnitude", rule=rule, schedule=tfprune.OneShot(0.5))
    chosen = kept(pruned(model, method, None))
    assert chosen["one/kernel"].sum() == 6 and chosen["out/kernel"].sum() == 2
    assert (np.abs(kernel(model, "two")).max(1) > 0)[chosen["one/kernel"]].all()
    assert not kernel(model, "two")[~chosen["one/kernel"]].any()


def test_what_a_draw_cannot_do():
    score = tfprune.get_method("magnitude").rule.score
    with pytest.raises(ValueError, match="ImportanceSamplingRule re-weights what reads a filter"):
        ImportanceSamplingRule(score, tfprune.Channel())
    with pytest.raises(ValueError, match="rounds=3"):
        ImportanceSamplingRule(score, tfprune.Filter(), rounds=3)
    with pytest.raises(ValueError, match="'grasp' may be negative"):
        ImportanceSamplingRule(tfprune.get_method("grasp").rule.score, tfprune.Filter())
    with pytest.raises(ValueError, match="leave `gate` out"):
        tfprune.get_method(DRAWN, gate=tfprune.MaskGate(straight_through=True))
