# SPDX-License-Identifier: Apache-2.0
"""`CostAware`: channels are ranked by what they are worth and what they cost."""

import numpy as np
import pytest
import tensorflow as tf

import tfprune
from tests.shrink_models import randomized
from tests.tiny_models import KERASES
from tfprune.channels.cost_model import Prices
from tfprune.channels.model_channels import Survey
from tfprune.masks.allocations.base import groups_of
from tfprune.masks.allocations.rankings import ranked_masks
from tfprune.masks.sites import Site


def network(family):
    """A wide convolution behind a narrow one, and a Dense layer: 6x6 images."""
    library, layers = KERASES[family], KERASES[family].layers
    inputs = library.Input((6, 6, 2))
    x = layers.Conv2D(4, 3, padding="same", name="narrow")(inputs)
    x = layers.Conv2D(12, 3, padding="same", activation="relu", name="wide")(x)
    x = layers.GlobalAveragePooling2D()(x)
    return randomized(library.Model(inputs, layers.Dense(3, name="classes")(x)))


def macs(narrow, wide):
    return 36 * 9 * (2 * narrow + narrow * wide) + 3 * wide


def bound(prices, **settings):
    return tfprune.CostAware(**settings).at(prices)


def test_savings_are_differences_of_whole_costs():
    prices = Prices(Survey.of(network("keras")))
    sizes, uses = prices.used("macs")
    for narrow, wide in ((4, 12), (1, 12), (3, 5)):
        counts = np.array([narrow, wide])
        whole = macs(narrow, wide)
        np.testing.assert_array_equal(
            sizes.savings(counts, uses),
            [whole - macs(narrow - 1, wide), whole - macs(narrow, wide - 1)],
        )
        np.testing.assert_array_equal(
            sizes.savings(tf.constant(counts), uses), sizes.savings(counts, uses)
        )


@pytest.mark.parametrize("as_tensors", [False, True])
def test_ranks_by_hand(as_tensors):
    prices = Prices(Survey.of(network("keras")))
    sites = [Site(name, (1,), None, name) for name in ("narrow", "wide")]
    scores = [np.array([3.0, 0, 2, 1]), np.array([0.0] * 6 + [1, 2, 3, 4, 5, 6])]
    saved = np.array([36 * 9 * (2 + 6), 36 * 9 * 3 + 3]) / macs(4, 12)  # 3 and 6 are left
    given = [tf.constant(one) for one in scores] if as_tensors else scores
    found = bound(prices, beta=2.0).ranks(given, sites)
    gone = -np.inf
    np.testing.assert_allclose(found[0], np.array([3, gone, 2, 1]) - 2 * saved[0])
    np.testing.assert_allclose(found[1][6:], np.arange(1, 7) - 2 * saved[1])
    assert np.isneginf(np.asarray(found[1][:6])).all()
    ratio = bound(prices).ranks(given, sites)
    np.testing.assert_allclose(ratio[0], np.array([3, gone, 2, 1]) / saved[0])
    # One of nine channels goes: by score either 1, by the penalty the one that costs more.
    masks = ranked_masks(*bound(prices, beta=2.0).ranking(given, sites, 1 - 8 / 16, 1.0))
    assert [int(np.sum(one)) for one in masks] == [2, 6]
    assert bound(prices).total(groups_of(scores), sites, 0.5, 0.5) == 8


@pytest.mark.parametrize("as_tensors", [False, True])
def test_what_is_better_gone_goes_the_sooner_the_more_goes_with_it(as_tensors):
    prices = Prices(Survey.of(network("keras")))
    sites = [Site(name, (1,), None, name) for name in ("narrow", "wide")]
    scores = [np.array([-2.0, 1, 1, 1]), np.array([-2.0] + [1.0] * 11)]
    given = [tf.constant(one) for one in scores] if as_tensors else scores
    saved = np.array([36 * 9 * (2 + 12), 36 * 9 * 4 + 3]) / macs(4, 12)
    narrow, wide = bound(prices).ranks(given, sites)
    np.testing.assert_allclose(narrow, [-2 * saved[0], *[1 / saved[0]] * 3])
    np.testing.assert_allclose(wide, [-2 * saved[1], *[1 / saved[1]] * 11])
    masks = ranked_masks(*bound(prices).ranking(given, sites, 1 / 16, 1.0))
    assert np.flatnonzero(~np.asarray(masks[0], bool)).tolist() == [0]  # the dearer of two of -2
    assert np.asarray(masks[1], bool).all()


def test_one_channel_at_a_time_in_training(family="keras"):
    model = network(family)
    model.compile("sgd", KERASES[family].losses.SparseCategoricalCrossentropy(from_logits=True))
    generator = np.random.default_rng(0)
    images = generator.normal(size=(48, 6, 6, 2)).astype("float32")
    labels = generator.integers(0, 3, 48)
    history = []

    class Watch(KERASES[family].callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            history.append(
                tuple(
                    int(
                        (
                            np.abs(self.model.get_layer(name).get_weights()[0]).sum(axis=(0, 1, 2))
                            > 0
                        ).sum()
                    )
                    for name in ("narrow", "wide")
                )
            )

    callback = tfprune.PruningCallback(
        "fisher",
        schedule=tfprune.StepwiseRemoval(0.5, count=1, frequency=1),
        allocation=tfprune.CostAware(beta=1e6),
        data=tfprune.CalibrationData((images, labels)),
    )
    model.fit(images, labels, batch_size=4, verbose=0, callbacks=[callback, Watch()])
    lost = [sum(one) - sum(other) for one, other in zip(history, history[1:])]
    assert set(lost) <= {0, 1} and history[-1] == (1, 7)
    # With such a penalty what costs most goes first: channels of the narrow layer, but one.
    assert history[next(i for i, one in enumerate(history) if sum(one) == 13)] == (1, 12)


def test_settings_and_places_that_it_does_not_take():
    for settings in ({"beta": -1}, {"beta": float("nan")}, {"unit": "watts"}, {"min_keep": -1}):
        with pytest.raises(ValueError, match=next(iter(settings))):
            tfprune.CostAware(**settings)
    model = network("keras")
    with pytest.raises(ValueError, match="Filter\\(coupled=True\\)"):
        tfprune.sparsify(model, "magnitude", 0.5, allocation=tfprune.CostAware())
    with pytest.raises(ValueError, match="Filter\\(coupled=True\\)"):
        tfprune.CostAware()([np.ones(3)], [None], 0.5, 0.5)


def test_it_is_saved_with_a_wrapped_model(tmp_path):
    wrapped = tfprune.prune(
        network("keras"),
        "magnitude",
        0.5,
        structure=tfprune.Filter(coupled=True),
        allocation=tfprune.CostAware(beta=0.5, unit="parameters"),
    )
    wrapped.save(tmp_path / "model.keras")
    again = tfprune.load_model(tmp_path / "model.keras")
    method = next(layer.method for layer in again.layers if hasattr(layer, "method"))
    assert method.rule.allocation == tfprune.CostAware(beta=0.5, unit="parameters")
