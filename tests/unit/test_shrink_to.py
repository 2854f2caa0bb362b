# SPDX-License-Identifier: Apache-2.0
"""`tfprune.shrink_to`: never above a budget, close to it, and nothing else changed."""

import numpy as np
import pytest

import tfprune
from tests.shrink_models import deviation, examples, masked, randomized
from tests.tiny_models import KERASES
from tfprune.channels.cost_model import Prices
from tfprune.channels.model_channels import Survey
from tfprune.surgery.masked_channels import without

everywhere = pytest.mark.parametrize("family", list(KERASES))


def network(family, width=16):
    """A stem, a residual block, a depthwise layer, a concat: 8x8 images, three classes."""
    library, layers = KERASES[family], KERASES[family].layers
    inputs = library.Input((8, 8, 3))
    stem = layers.Conv2D(width, 3, padding="same", name="stem")(inputs)
    x = layers.ReLU()(layers.BatchNormalization(name="bn")(stem))
    x = layers.Conv2D(width, 3, padding="same", use_bias=False, name="branch")(x)
    x = layers.Add()([x, stem])
    x = layers.DepthwiseConv2D(3, name="depthwise")(x)
    side = layers.Conv2D(2 * width, 1, activation="relu", name="side")(x)
    x = layers.Concatenate()([x, side])
    x = layers.Flatten()(layers.MaxPooling2D(2)(x))
    x = layers.Dense(2 * width, activation="relu", name="hidden")(x)
    return randomized(library.Model(inputs, layers.Dense(3, name="classes")(x)))


def _dense(width):
    keras = KERASES["keras"]
    return keras.Sequential(
        [
            keras.Input((4,)),
            keras.layers.Dense(width, name="hidden"),
            keras.layers.Dense(2, name="classes"),
        ]
    )


def costs(model):
    prices = Prices(Survey.of(model))
    return {
        "parameters": prices.parameters(prices.full),
        "macs": prices.macs(prices.full),
        "weight_bytes": prices.weight_bytes(prices.full, 8),
        "activation_bytes": prices.activation_bytes(prices.full, 8),
    }


@everywhere
def test_prices_of_counts_are_those_of_the_model_with_these_counts(family):
    model = network(family)
    prices = Prices(Survey.of(model))
    dead = masked(model)
    small, report = tfprune.shrink(model)
    counts = np.array([one.size - dead[one.name] for one in prices.groups])
    assert prices.parameters(prices.full) == model.count_params()
    assert prices.parameters(counts) == small.count_params() == report.parameters[1]
    assert prices.macs(counts) == report.macs[1]
    own = Prices(Survey.of(small))
    for bits in (4, 8, 32):
        assert prices.weight_bytes(counts, bits) == own.weight_bytes(own.full, bits)
        assert prices.activation_bytes(counts, bits) == own.activation_bytes(own.full, bits)


@everywhere
def test_bytes_by_hand(family):
    library, layers = KERASES[family], KERASES[family].layers
    model = library.Sequential(
        [
            library.Input((8, 8, 3)),
            layers.Conv2D(4, 3, padding="same", use_bias=False),
            layers.BatchNormalization(),
            layers.ReLU(),
            layers.MaxPooling2D(2),
            layers.Conv2D(2, 1),
            layers.Flatten(),
            layers.Dense(5),
        ]
    )
    prices = Prices(Survey.of(model))
    # Kernels 108 + 8 + 160; the BatchNorm's beta 4, biases 2 + 5.
    assert prices.weight_bytes(prices.full, 8) == 276 + 4 * 11
    assert prices.weight_bytes(prices.full, 4) == 138 + 4 * 11
    assert prices.weight_bytes(prices.full, 32) == 4 * 287
    # The most at the pooling, 8 x 8 x 4 in and 4 x 4 x 4 out; the first layer has 192 + 256.
    assert prices.activation_bytes(prices.full, 8) == 192 + 256
    assert prices.activation_bytes(prices.full, 32) == 4 * 448


@everywhere
def test_what_a_shortcut_holds_is_alive_until_it_is_read(family):
    library, layers = KERASES[family], KERASES[family].layers
    inputs = library.Input((4, 4, 2))
    x = layers.Conv2D(10, 1)(inputs)
    x = layers.Conv2D(3, 1)(x)
    outputs = layers.Concatenate()([inputs, x])
    prices = Prices(Survey.of(library.Model(inputs, outputs)))
    assert prices.activation_bytes(prices.full, 8) == 16 * (2 + 10 + 3)


@everywhere
@pytest.mark.parametrize(
    "unit, limit",
    [
        ("parameters", 0.5),
        ("parameters", 3000),
        ("macs", 0.3),
        ("weight_bytes", 0.4),
        ("activation_bytes", 0.6),
    ],
)
def test_a_model_is_within_its_budget_and_close_to_it(family, unit, limit):
    model = network(family, width=24)
    before = [one.copy() for one in model.get_weights()]
    whole = costs(model)
    small, report = tfprune.shrink_to(model, tfprune.Budget(**{unit: limit}))
    (cost,) = report.costs
    assert cost.limit == (limit if isinstance(limit, int) else int(limit * whole[unit]))
    assert (cost.unit, cost.before, cost.after) == (unit, whole[unit], costs(small)[unit])
    # As near as whole channels of these few groups come to it.
    assert cost.after <= cost.limit and cost.unused < 0.05
    for one, other in zip(before, model.get_weights()):
        np.testing.assert_array_equal(one, other)


@everywhere
def test_a_model_computes_what_the_masked_one_computes(family):
    model = network(family)
    small, report = tfprune.shrink_to(model, tfprune.Budget(macs=0.5, parameters=0.6))
    assert report.unused == min(one.unused for one in report.costs) < 0.03
    held, gone = {one.name: one for one in tfprune.channel_groups(model)}, report.record.removed()
    with without(Survey.of(model), gone):
        assert deviation(model, small, examples(model)) < 1e-5
    for name, (before, after) in report.channels.items():
        assert (before, after) == (held[name].size, int((~gone[name]).sum())) and after >= 1


def test_the_best_channels_stay():
    keras = KERASES["keras"]
    model = keras.Sequential(
        [
            keras.Input((4,)),
            keras.layers.Dense(4, use_bias=False, name="a"),
            keras.layers.Dense(2, use_bias=False, name="b"),
        ]
    )
    model.set_weights([np.array([[4.0, 1, 3, 2]] * 4), np.ones((4, 2))])
    small, report = tfprune.shrink_to(model, tfprune.Budget(macs=12))
    np.testing.assert_array_equal(small.get_weights()[0][0], [4, 3])
    assert report.record.steps == ({"a": (1, 3)},)  # the worst first


def test_allocations_by_hand():
    keras = KERASES["keras"]
    inputs = keras.Input((2,))
    wide = keras.layers.Dense(2, use_bias=False, name="wide")(inputs)
    wide = keras.layers.Dense(50, use_bias=False, name="reads_wide")(wide)
    narrow = keras.layers.Dense(2, use_bias=False, name="narrow")(inputs)
    narrow = keras.layers.Dense(1, use_bias=False, name="reads_narrow")(narrow)
    model = keras.Model(inputs, [wide, narrow])
    for layer, value in (("wide", 3.0), ("narrow", 2.0)):
        model.get_layer(layer).set_weights([np.full((2, 2), value)])

    def left(allocation, **settings):
        score = tfprune.get_method("magnitude", allocation=allocation)
        _, report = tfprune.shrink_to(model, tfprune.Budget(macs=107, **settings), score)
        return {name: after for name, (_, after) in report.channels.items()}

    # A channel of `wide` costs 52 MACs and is worth 3, one of `narrow` 3 MACs and is worth 2.
    assert left(tfprune.Global(), per_cost=False) == {"wide": 2, "narrow": 1}
    assert left(tfprune.Global()) == {"wide": 1, "narrow": 2}
    assert left(tfprune.CostAware()) == {"wide": 1, "narrow": 2}


@pytest.mark.parametrize("score", ["magnitude", "random"])
def test_the_same_share_of_every_group_where_the_method_compares_none(score):
    model = network("tf_keras")
    prices = Prices(Survey.of(model))
    budget = tfprune.Budget(macs=prices.macs(prices.full // 4))
    _, report = tfprune.shrink_to(model, budget, score)
    assert {name: after for name, (_, after) in report.channels.items()} == {
        group.name: group.size // 4 for group in prices.groups
    }


@everywhere
def test_multiples_and_smallest_counts(family):
    model = network(family, width=24)
    budget = tfprune.Budget(parameters=0.4, round_to=8, min_channels=9)
    small, report = tfprune.shrink_to(model, budget)
    assert report.costs[0].after <= report.costs[0].limit
    assert {after for _, after in report.channels.values()} <= {16, 24, 32, 40, 48}


@everywhere
def test_steps_go_in_equal_factors_and_are_fine_tuned_in_between(family):
    model = network(family)
    model.compile("sgd", "mse")
    seen = []

    def fine_tune(smaller):
        seen.append(costs(smaller)["macs"])
        inputs = examples(smaller, 8)
        return smaller.fit(inputs, np.zeros((8, 3)), verbose=0)  # its History is no model

    small, report = tfprune.shrink_to(
        model, tfprune.Budget(macs=0.25), steps=2, fine_tune=fine_tune
    )
    whole = costs(model)["macs"]
    assert len(seen) == 1 and 0.47 * whole < seen[0] <= 0.5 * whole
    assert len(report.record.steps) == 2 and small.loss == "mse"
    assert report.record.replay(model, steps=1).count_params() > small.count_params()


def test_fine_tuning_may_return_another_model():
    keras = KERASES["keras"]
    model = network("keras")
    made = []

    def fine_tune(smaller):
        made.append(keras.models.clone_model(smaller))
        return made[-1]

    small, _ = tfprune.shrink_to(model, tfprune.Budget(macs=0.25), steps=2, fine_tune=fine_tune)
    stem = made[0].get_layer("stem").get_weights()[0]
    assert np.isin(small.get_layer("stem").get_weights()[0], stem).all()


def _wider(smaller):
    return _dense(99)


def _diverged(smaller):
    value = smaller.weights[0].numpy()
    value[0, 0] = np.nan
    smaller.weights[0].assign(value)


@pytest.mark.parametrize(
    "fine_tune, said",
    [
        (_wider, r"another architecture: hidden/kernel is 4x99 instead of 4x\d+. Train the model"),
        (lambda smaller: KERASES["tf_keras"].Sequential(), "it is of the other Keras"),
        (lambda smaller: (smaller, 0.5), "fine_tune returned .* which is no model"),
        (lambda smaller: smaller.layers[0], "fine_tune returned .* which is no model"),
        (_diverged, "weight '.*kernel.*' has NaN or infinite values: .* fine_tune"),
    ],
    ids=["wider", "other Keras", "a pair", "a layer", "NaN"],
)
def test_what_fine_tuning_may_not_give_back_is_refused_at_once(fine_tune, said):
    seen = []

    def called(smaller):
        seen.append(smaller)
        return fine_tune(smaller)

    with pytest.raises(ValueError, match=said):
        tfprune.shrink_to(_dense(16), tfprune.Budget(macs=0.25), steps=3, fine_tune=called)
    assert len(seen) == 1


def test_fine_tuning_is_looked_at_before_work():
    with pytest.raises(TypeError, match="fine_tune='train': expected a function"):
        tfprune.shrink_to(_dense(4), tfprune.Budget(macs=0.5), steps=2, fine_tune="train")
    _, report = tfprune.shrink_to(_dense(4), tfprune.Budget(macs=0.5), fine_tune=_diverged)
    assert report.notes == ("fine_tune was not called: steps=1 has nothing in between",)


@pytest.mark.parametrize("family", sorted(KERASES))
def test_weights_that_are_not_finite_are_refused_by_name(family):
    model = network(family)
    bias = model.get_layer("side").bias
    bias.assign(np.full(32, np.inf, np.float32))
    for call in (tfprune.shrink, lambda one: tfprune.shrink_to(one, tfprune.Budget(macs=0.5))):
        with pytest.raises(ValueError, match="'side/bias.*NaN or infinite.*the training diverged"):
            call(model)


@pytest.mark.parametrize(
    "family, score",
    [
        ("keras", "taylor"),
        ("tf_keras", "fisher"),
        ("keras", "snip"),
        ("tf_keras", "random"),
        ("keras", "filter_threshold"),
        ("tf_keras", "coreset"),
        ("keras", "synflow"),
        ("tf_keras", "sipp"),
    ],
)
def test_scores_rank_channels(family, score):
    model = network(family)
    model.compile("sgd", "mse")
    data = tfprune.CalibrationData((examples(model, 16), np.zeros((16, 3), np.float32)))
    small, report = tfprune.shrink_to(model, tfprune.Budget(macs=0.5), score, data=data)
    assert costs(small)["macs"] == report.costs[0].after and report.unused < 0.05


@pytest.mark.parametrize(
    "score, said",
    [
        ("admm", "looks for new weights"),
        ("movement", "ranks by what only training gives"),
        ("movement_soft", "ranks by what only training gives .movement."),
        ("dpp", "ranks by.*logits"),
        *((name, "chooses what stays while a model is trained") for name in ("spp", "rigl", "set")),
    ],
)
def test_what_ranks_no_channels_is_refused(score, said):
    for given in (score, tfprune.get_method(score)):
        with pytest.raises(
            ValueError,
            match=f"'{score}' {said}.* and has no score for channels: "
            "take another one, such as 'magnitude'",
        ):
            tfprune.shrink_to(_dense(4), tfprune.Budget(macs=0.5), given)


def test_a_score_without_its_data_is_refused():
    with pytest.raises(ValueError, match="data"):
        tfprune.shrink_to(_dense(4), tfprune.Budget(macs=0.5), "taylor")


def test_latency_is_measured_and_kept():
    model, calls = network("keras"), []

    def meter(one):
        calls.append(one.count_params() / 1000)
        return calls[-1]

    whole = model.count_params() / 1000
    small, report = tfprune.shrink_to(model, tfprune.Budget(latency=whole / 2, meter=meter))
    (cost,) = report.costs
    assert cost.after == small.count_params() / 1000 <= whole / 2
    assert cost.unused < 0.05 and len(calls) < 12
    assert str(cost).startswith(f"latency: {whole:.3f} -> ")
    both, report = tfprune.shrink_to(model, tfprune.Budget(macs=0.2, latency=whole, meter=meter))
    assert report.costs[0].after <= 0.2 * report.costs[0].before


@pytest.mark.parametrize(
    "settings, said",
    [
        ({}, "no limit"),
        ({"macs": 0}, "macs=0"),
        ({"macs": 1.0}, "between 0 and 1"),
        ({"parameters": -3}, "parameters=-3"),
        ({"macs": True}, "macs=True"),
        ({"macs": "half"}, "half"),
        ({"latency": 3.0}, "meter"),
        ({"macs": 0.5, "bits": 0}, "bits=0"),
        ({"macs": 0.5, "round_to": 0}, "round_to=0"),
        ({"latency": float("nan"), "meter": len}, "latency=nan"),
    ],
)
def test_budgets_that_are_none(settings, said):
    with pytest.raises(ValueError, match=said):
        tfprune.Budget(**settings)


def test_calls_that_cannot_be_served():
    model = network("keras")
    with pytest.raises(TypeError, match="Budget"):
        tfprune.shrink_to(model, 0.5)
    with pytest.raises(ValueError, match="steps=0"):
        tfprune.shrink_to(model, tfprune.Budget(macs=0.5), steps=0)
    with pytest.raises(ValueError, match=r"macs=1,000.* smallest model .* macs=\d"):
        tfprune.shrink_to(model, tfprune.Budget(macs=1000))
    with pytest.raises(ValueError, match="latency=1"):
        tfprune.shrink_to(model, tfprune.Budget(latency=1, meter=lambda one: 2.0))
    keras = KERASES["keras"]
    rigid = keras.Sequential([keras.Input((4,)), keras.layers.Dense(2)])
    with pytest.raises(ValueError, match="No channel"):
        tfprune.shrink_to(rigid, tfprune.Budget(macs=0.5))
    anything = keras.Sequential(
        [keras.Input((None, None, 3)), keras.layers.Conv2D(4, 3), keras.layers.Conv2D(2, 3)]
    )
    with pytest.raises(ValueError, match="fixed sizes"):
        tfprune.shrink_to(anything, tfprune.Budget(activation_bytes=0.5))


def test_a_budget_that_is_kept_already_changes_nothing():
    model = network("keras")
    same, report = tfprune.shrink_to(model, tfprune.Budget(macs=10**9))
    assert same.count_params() == model.count_params() and report.record.steps == ()


@everywhere
def test_wrapped_models_are_stripped(family):
    model = network(family)
    wrapped = tfprune.prune(model, "magnitude", 0.5)
    small, report = tfprune.shrink_to(wrapped, tfprune.Budget(parameters=0.5))
    assert small.count_params() == report.costs[0].after <= model.count_params() // 2
