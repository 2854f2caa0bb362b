# SPDX-License-Identifier: Apache-2.0
"""The points of filters, BatchNormalization folded in, and which filters are kept for them."""

import numpy as np
import pytest

import tfprune
from tests.coreset_models import (
    MODELS,
    conv_net,
    dense_chain,
    everywhere,
    images,
    kept,
    kernel,
    points_of,
    pruned,
)
from tests.tiny_models import KERASES
from tfprune.backend import view
from tfprune.channels.normalization_folding import folds
from tfprune.statistics.measure import measuring
from tfprune.statistics.measured_model import Subject


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
    gamma, beta, mean, variance = (
        one.numpy() for one in (norm.gamma, norm.beta, norm.moving_mean, norm.moving_variance)
    )
    scale = gamma / np.sqrt(variance + norm.epsilon)
    for name in ("two", "out"):
        folded.get_layer(name).set_weights(model.get_layer(name).get_weights())
    folded.get_layer("one").set_weights(
        [layer.kernel.numpy() * scale, (layer.bias.numpy() - mean) * scale + beta]
    )
    data = images(model)
    np.testing.assert_allclose(
        folded.predict(data, verbose=0), model.predict(data, verbose=0), atol=1e-5
    )
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
    found = {names[key]: norm.name for key, norm in folds(view(model)).items()}
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
    assert list(folds(view(library.Model(inputs, right))).values())[0].name == "right"
    assert not folds(view(library.Model(inputs, wrong(x))))


@everywhere
@pytest.mark.parametrize("name", ["coreset", "coreset_caratheodory", "coreset_mussay"])
@pytest.mark.parametrize("kind", MODELS)
def test_the_highest_scores_are_kept_and_no_other_weight_changes(kind, name, family):
    model = MODELS[kind](family)
    before = {layer.name: [w.copy() for w in layer.get_weights()] for layer in model.layers}
    scores = {}
    rule = tfprune.get_method(name).rule
    subject = Subject.of(view(model))
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
        needs = tfprune.get_method(name).rule.score.needs
        found = []
        for each in (model, other):
            subject = Subject.of(view(each))
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
    subject = Subject.of(view(model))
    needs = tfprune.get_method(name).rule.score.needs
    with measuring(needs, subject, Untouchable(), tfprune.Filter()) as measure:
        assert len(measure()) == 3
