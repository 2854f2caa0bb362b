"""Coreset pruning on models of both Kerases: points, importance, draws, re-weighting, reports."""

import dataclasses

import numpy as np
import pytest
import tensorflow as tf
from tests.tiny_models import KERASES, cnn, compiled, fit, masks, with_weights

import tfprune
from tfprune.adapters import adapter_of
from tfprune.methods import Draw
from tfprune.statistics import coresets
from tfprune.statistics.measuring import measuring
from tfprune.statistics.subject import Subject
from tfprune.surgery.folding import folds
from tfprune.surgery.outlets import outlets

everywhere = pytest.mark.parametrize("family", KERASES)
DRAWN = tfprune.get("coreset_draws")


def dense_chain(family, width=12):
    library = KERASES[family]
    layers = library.layers
    return with_weights(library.Sequential([
        library.Input((5,)), layers.Dense(width, activation="relu", name="one"),
        layers.Dense(9, activation="tanh", name="two"), layers.Dense(3, name="out"),
    ]))


def conv_net(family, norm=True, width=10):
    """conv, BatchNormalization, ReLU, conv, Flatten, Dense."""
    library = KERASES[family]
    layers = library.layers
    inputs = library.Input((6, 6, 3))
    x = layers.Conv2D(width, 3, name="one")(inputs)
    if norm:
        x = layers.BatchNormalization(name="norm")(x)
    x = layers.Conv2D(8, 3, activation="relu", name="two")(layers.ReLU()(x))
    x = layers.Flatten()(x)
    model = with_weights(library.Model(inputs, layers.Dense(3, name="out")(x)))
    if norm:
        variance = model.get_layer("norm").moving_variance
        variance.assign(np.abs(variance.numpy()) + 0.1)
    return model


MODELS = {"dense": dense_chain, "conv": conv_net}


def images(model):
    shape = model.inputs[0].shape[1:]
    return np.random.default_rng(2).normal(size=(16, *shape)).astype("float32")


def kernel(model, name):
    return model.get_layer(name).kernel.numpy()


def points_of(model):
    """{site name: the points of its filters}."""
    subject = Subject.of(model, adapter_of(model))
    ways, norms = outlets(model, subject.sites), folds(model)
    return {item.site.name: coresets.neurons(item, ways[item.site.name],
                                             norms.get(id(item.owner)), subject.adapter)
            for item in subject.found}


def pruned(model, method="coreset", sparsity=0.5, **settings):
    """The callback of a run that prunes once, without training."""
    callback = tfprune.PruningCallback(method, sparsity, **settings)
    callback.start(model)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("tfprune.callbacks._warn", lambda texts: None)
        callback.finish()
    return callback


def kept(callback):
    """{site name: which filters are kept}."""
    return {name: mask.reshape(-1, mask.shape[-1]).any(0) for name, mask in masks(callback).items()}


# Points.


@everywhere
def test_points_are_weights_and_bias_times_the_largest_weight_that_reads_them(family):
    model = dense_chain(family)
    layer = model.get_layer("one")
    expected = np.column_stack([layer.kernel.numpy().T, layer.bias.numpy()])
    expected = expected * np.abs(kernel(model, "two")).max(axis=1)[:, None]
    np.testing.assert_allclose(points_of(model)["one/kernel"], expected, rtol=1e-6)


@everywhere
def test_flatten_gives_every_channel_all_its_positions(family):
    model = conv_net(family)
    largest = np.abs(kernel(model, "out")).reshape(4, 8, 3)  # 2 x 2 positions, 8 channels
    layer = model.get_layer("two")
    rows = layer.kernel.numpy().reshape(-1, 8).T
    rows = np.column_stack([rows, layer.bias.numpy()]) * largest.max(axis=(0, 2))[:, None]
    np.testing.assert_allclose(points_of(model)["two/kernel"], rows, rtol=1e-6)


@everywhere
def test_points_with_batch_normalization_are_those_of_the_folded_convolution(family):
    model, folded = conv_net(family), conv_net(family, norm=False)
    norm, layer = model.get_layer("norm"), model.get_layer("one")
    gamma, beta, mean, variance = (one.numpy() for one in (
        norm.gamma, norm.beta, norm.moving_mean, norm.moving_variance))
    scale = gamma / np.sqrt(variance + norm.epsilon)
    for name in ("two", "out"):
        folded.get_layer(name).set_weights(model.get_layer(name).get_weights())
    folded.get_layer("one").set_weights(
        [layer.kernel.numpy() * scale, (layer.bias.numpy() - mean) * scale + beta])
    data = images(model)
    np.testing.assert_allclose(folded.predict(data, verbose=0), model.predict(data, verbose=0),
                               atol=1e-5)
    mine, other = points_of(model), points_of(folded)
    assert mine.keys() == other.keys()
    for name, rows in mine.items():
        np.testing.assert_allclose(rows, other[name], rtol=1e-4, atol=1e-6)


@everywhere
def test_only_a_normalization_that_is_all_that_reads_a_linear_layer_is_folded(family):
    library = KERASES[family]
    layers = library.layers
    inputs = library.Input((6, 6, 3))
    bends = layers.Conv2D(4, 1, activation="relu", name="bends")(inputs)
    twice = layers.Conv2D(4, 1, name="twice")(layers.BatchNormalization(name="after")(bends))
    other = layers.BatchNormalization(name="beside")(twice)
    x = layers.Conv2D(4, 1, name="alone")(layers.Add()([twice, other]))
    x = layers.BatchNormalization(name="behind")(layers.Dropout(0.5)(x))
    inner = library.Sequential([library.Input((6, 6, 4)), layers.Conv2D(5, 1, name="inside")])
    x = layers.BatchNormalization(name="outside")(inner(x))
    shared = layers.Conv2D(5, 1, name="shared")
    x = layers.BatchNormalization(name="once")(shared(shared(x)))
    last = layers.Conv2D(5, 1, name="last")(x)
    model = library.Model(inputs, [last, layers.BatchNormalization(name="end")(last)])
    names = {id(layer): layer.name for layer in (*model.layers, *inner.layers)}
    found = {names[key]: norm.name for key, norm in folds(model).items()}
    assert found == {"alone": "behind", "inside": "outside"}


@everywhere
def test_channels_first_folds_along_the_channels(family):
    if family == "tf_keras":
        pytest.skip("tf_keras has no convolutions with channels first on a CPU")
    library = KERASES[family]
    layers = library.layers
    inputs = library.Input((3, 9, 9))
    x = layers.Conv2D(4, 3, data_format="channels_first", name="conv")(inputs)
    right = layers.BatchNormalization(axis=1, name="right")(x)
    wrong = layers.BatchNormalization(name="wrong")
    assert list(folds(library.Model(inputs, right)).values())[0].name == "right"
    assert not folds(library.Model(inputs, wrong(x)))


# What is chosen.


@everywhere
@pytest.mark.parametrize("name", ["coreset", "coreset_caratheodory", "coreset_mussay"])
@pytest.mark.parametrize("kind", MODELS)
def test_the_highest_scores_are_kept_and_no_other_weight_changes(kind, name, family):
    model = MODELS[kind](family)
    before = {layer.name: [w.copy() for w in layer.get_weights()] for layer in model.layers}
    scores = {}
    rule = tfprune.get(name).rule
    subject = Subject.of(model, adapter_of(model))
    with measuring(rule.score.needs, subject, None, rule.structure) as measure:
        for site, given in zip(subject.sites, measure()):
            scores[site.name] = given[rule.score.needs[0]].numpy()
    chosen = kept(pruned(model, name))
    assert set(chosen) == {"one/kernel", "two/kernel"}
    for site, mask in chosen.items():
        assert mask.sum() == round(len(mask) / 2)
        assert scores[site][mask].min() >= scores[site][~mask].max()
        layer = site.split("/")[0]
        before[layer][0] = before[layer][0] * mask.astype("float32")
    for layer in model.layers:
        for value, expected in zip(layer.get_weights(), before[layer.name]):
            np.testing.assert_array_equal(value, expected)


@everywhere
def test_the_order_of_filters_and_the_scale_of_the_data_do_not_matter(family):
    model = dense_chain(family, width=40)
    order = np.random.default_rng(0).permutation(40)
    other = dense_chain(family, width=40)
    one, two = model.get_layer("one").get_weights(), model.get_layer("two").get_weights()
    other.get_layer("one").set_weights([4 * one[0][:, order], 4 * one[1][order]])
    other.get_layer("two").set_weights([two[0][order], two[1]])
    for name in ("coreset", "coreset_caratheodory", "coreset_mussay"):
        needs = tfprune.get(name).rule.score.needs
        found = []
        for each in (model, other):
            subject = Subject.of(each, adapter_of(each))
            with measuring(needs, subject, None, tfprune.Filter()) as measure:
                found.append(measure()[0][needs[0]].numpy())
        assert len(np.unique(found[0])) > 2
        shares = [values / values.sum() for values in found]
        np.testing.assert_allclose(shares[1], shares[0][order], rtol=1e-5)


class Untouchable:
    """Data of which nothing may be read."""

    def __getattribute__(self, name):
        raise AssertionError(f"the data was looked at: {name}")


@pytest.mark.parametrize("name", ["coreset", "coreset_caratheodory", "coreset_mussay"])
def test_no_data_is_touched(name):
    model = dense_chain("keras")
    subject = Subject.of(model, adapter_of(model))
    needs = tfprune.get(name).rule.score.needs
    with measuring(needs, subject, Untouchable(), tfprune.Filter()) as measure:
        assert len(measure()) == 3


# Draws.


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
    subject = Subject.of(model, adapter_of(model))
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
    seeded = tfprune.get(DRAWN, rule=dataclasses.replace(DRAWN.rule, seed=1))
    other = kept(pruned(dense_chain(family, width=60), seeded))
    assert (other["one/kernel"] != kept(pruned(dense_chain(family, width=60), DRAWN))[
        "one/kernel"]).any()


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
        return [tf.constant([2.0, 0.0] * (score.shape[0] // 2)) if site.name == "one/kernel"
                else tf.ones(score.shape) for score, site in zip(scores, sites)]

    monkeypatch.setattr(Draw, "_drawn", first_of_each_pair)
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
    subject = Subject.of(model, adapter_of(model))
    with measuring(("contact_sensitivity",), subject, None, tfprune.Filter()) as measure:
        scores = [measure()[0]["contact_sensitivity"].numpy()]
    factors = np.mean([
        dataclasses.replace(DRAWN.rule, seed=seed).factors(
            scores, subject.sites[:1], 0.5, final=0.5)[0] for seed in range(2000)
    ], axis=0)
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
    np.testing.assert_array_equal(kernel(alone, "three")[..., kept(callback)["three/kernel"]],
                                  before[..., kept(callback)["three/kernel"]])
    said = [text for text in callback.report.warnings if "re-weighted" in text]
    assert len(said) == 2 and "one/kernel" in said[0] and "coupled=True" in said[0]

    coupled = model()
    method = tfprune.get(DRAWN, structure=tfprune.Filter(coupled=True))
    callback = pruned(coupled, method)
    chosen = kept(callback)
    np.testing.assert_array_equal(chosen["one/kernel"], chosen["two/kernel"])
    assert chosen["one/kernel"].sum() == 4 and not callback.report.warnings
    (updates,) = callback.driver.updates
    assert updates.subject.sites == [target.site for target in callback.driver.targets]
    ratio = kernel(coupled, "three")[..., chosen["three/kernel"]] / before[
        ..., chosen["three/kernel"]]
    np.testing.assert_allclose(ratio, np.broadcast_to(ratio[:1, :1, :, :1], ratio.shape), rtol=1e-5)
    assert ((ratio[0, 0, :, 0] > 0) == chosen["one/kernel"]).all()


@everywhere
def test_an_interrupted_update_leaves_everything_as_it_was(family, monkeypatch):
    model = dense_chain(family)
    before = [w.copy() for w in model.get_weights()]
    callback = tfprune.PruningCallback(DRAWN, schedule=tfprune.OneShot(0.5, at=1))
    callback.start(model)
    monkeypatch.setattr("tfprune.reweighting.Reweighting.multiply", lambda self, factors: 1 / 0)
    callback.driver.settle()
    with pytest.raises(ZeroDivisionError):
        callback.update()
    for value, old in zip(model.get_weights(), before):
        np.testing.assert_array_equal(value, old)
    assert all(mask.all() for mask in masks(callback).values())


@everywhere
def test_any_score_of_filters_can_be_drawn_by(family):
    rule = Draw(tfprune.get("magnitude").rule.score, tfprune.Filter())
    model = dense_chain(family)
    method = tfprune.get("magnitude", rule=rule, schedule=tfprune.OneShot(0.5))
    chosen = kept(pruned(model, method, None))
    assert chosen["one/kernel"].sum() == 6 and chosen["out/kernel"].sum() == 2
    assert (np.abs(kernel(model, "two")).max(1) > 0)[chosen["one/kernel"]].all()
    assert not kernel(model, "two")[~chosen["one/kernel"]].any()


def test_what_a_draw_cannot_do():
    score = tfprune.get("magnitude").rule.score
    with pytest.raises(ValueError, match="Draw re-weights what reads a filter"):
        Draw(score, tfprune.Channel())
    with pytest.raises(ValueError, match="rounds=3"):
        Draw(score, tfprune.Filter(), rounds=3)
    with pytest.raises(ValueError, match="'grasp' may be negative"):
        Draw(tfprune.get("grasp").rule.score, tfprune.Filter())
    with pytest.raises(ValueError, match="leave `gate` out"):
        tfprune.get(DRAWN, gate=tfprune.Fixed(straight_through=True))


# What stays dense, what is reported, bad input.


@everywhere
def test_the_report_says_what_the_choice_rests_on(family):
    model = conv_net(family, width=40)
    report = pruned(model).report
    notes = {row.name: " | ".join(row.notes) for row in report.sites}
    assert "scored with norm folded in" in notes["one/kernel"]
    for part in ("lowner_contact: ", "round", "alpha ", "dimension 2", "% of the variance",
                 "the ReLU condition holds in "):
        assert part in notes["one/kernel"]
    assert "note: one/kernel: scored with norm folded in" in str(report)
    assert report.to_dict()["sites"][0]["notes"] == list(report.sites[0].notes)
    assert [(skip.name, skip.reason) for skip in report.skipped if skip.name == "out/kernel"] == [
        ("out/kernel", "its channels stay whole: model output")]
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
    x = layers.Lambda(lambda y: y + 1.0, name="lambda")(x)
    x = layers.Reshape((81, 6))(x)
    x = layers.LSTM(4, name="lstm")(x)
    x = layers.Dense(6, activation="relu", name="dense")(x)
    model = with_weights(library.Model(inputs, layers.Dense(2, name="out")(x)))
    report = pruned(model).report
    # The depthwise kernel passes the plain convolution's channels on to the grouped one.
    assert [row.name for row in report.sites] == ["plain/kernel", "separable/pointwise_kernel",
                                                  "dense/kernel"]
    reasons = {skip.name.split("/")[0] + skip.name.rpartition("/")[2][:2]: skip.reason
               for skip in report.skipped}
    assert "a channel of its own" in reasons["separablede"]
    assert "grouped convolution" in reasons["groupedke"]
    assert "lambda" in reasons["transposedke"]
    assert any("LSTMCell" in reason for reason in reasons.values())
    assert "model output" in reasons["outke"]


@everywhere
def test_layers_of_one_filter_and_equal_filters(family):
    library = KERASES[family]
    layers = library.layers
    single = with_weights(library.Sequential([
        library.Input((4,)), layers.Dense(1, activation="relu", name="a"),
        layers.Dense(1, name="b")]))
    for method in ("coreset", "coreset_caratheodory", "coreset_mussay", "coreset_draws"):
        assert kept(pruned(single, method))["a/kernel"].tolist() == [True]
        equal = dense_chain(family)
        for name in ("one", "two"):
            equal.get_layer(name).set_weights(
                [np.ones_like(w) for w in equal.get_layer(name).get_weights()])
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
        "conv/kernel": 2, "hidden/kernel": 4}
