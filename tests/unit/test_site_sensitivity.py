# SPDX-License-Identifier: Apache-2.0
"""What single weights cost when they are pruned: against a pass over the whole model for each."""

import numpy as np
import pytest
import tensorflow as tf
from tiny_models import KERASES, cnn, compiled, data, with_weights

import tfprune
from tfprune.backend import view
from tfprune.evaluation import sensitivity as measured
from tfprune.masks.select import select

families = pytest.mark.parametrize("family", KERASES)
RATIOS = (0.5, 0.75)


def branched(family):
    """A skip past a nested model, and a layer that is used twice, with what training changes."""
    library = KERASES[family]
    layers = library.layers
    image = library.Input((6, 6, 2), name="image")
    inner = library.Sequential([library.Input((6, 6, 4)), layers.Conv2D(4, 3, padding="same")])
    first = layers.BatchNormalization(name="norm")(layers.Conv2D(4, 3, padding="same")(image))
    x = layers.Add()([first, inner(first)])
    x = layers.GlobalAveragePooling2D()(layers.Dropout(0.5, name="drop")(x))
    shared = layers.Dense(4, name="shared")
    model = library.Model(image, layers.Dense(3, name="out")(shared(shared(x))))
    norm = with_weights(model).get_layer("norm")
    norm.moving_variance.assign(np.linspace(0.5, 2.0, 4, dtype="float32"))
    return model


def state(model):
    """Everything that it holds, in bits."""
    raw = view(model).backend
    return [np.array(raw.value(one)).tobytes() for one in raw.variables(model)]


def whole_pass(model, inputs, labels):
    """Mean cross-entropy of logits, in NumPy."""
    outputs = np.asarray(model(inputs, training=False), np.float64)
    outputs -= outputs.max(axis=1, keepdims=True)
    chosen = outputs[np.arange(len(labels)), labels]
    return float(np.mean(np.log(np.exp(outputs).sum(axis=1)) - chosen))


@families
@pytest.mark.parametrize("make", [cnn, branched])
def test_losses_are_those_of_the_whole_model_with_one_weight_pruned(family, make):
    model = make(family)
    inputs, labels = data()
    before = state(model)
    found = tfprune.sensitivity(
        compiled(model, family), "magnitude", (inputs, labels), ratios=RATIOS
    )
    assert state(model)[: len(before)] == before
    assert found.unit == "loss" and found.metric == "points" and found.examples == len(inputs)
    sites = view(model).sites
    assert [one.name for one in found.sites] == [item.site.name for item in sites]
    assert found.dense == pytest.approx(whole_pass(model, inputs, labels), rel=1e-5)
    for item, one in zip(sites, found.sites, strict=True):
        kernel = item.variable.numpy()
        for place, ratio in enumerate(RATIOS):
            order = np.argsort(-np.abs(kernel).ravel(), kind="stable")
            count = round(kernel.size * (1 - ratio))
            pruned = np.zeros(kernel.size, kernel.dtype)
            pruned[order[:count]] = kernel.ravel()[order[:count]]
            item.variable.assign(pruned.reshape(kernel.shape))
            loss = whole_pass(model, inputs, labels)
            item.variable.assign(kernel)
            assert one.kept[found.choices.index(ratio)] == count
            assert one.losses[place] == pytest.approx(loss, rel=1e-4)


@families
def test_inputs_alone_give_the_distance_to_the_dense_outputs(family):
    model, (inputs, _) = cnn(family), data()
    dense = np.asarray(model(inputs, training=False), np.float64)
    found = tfprune.sensitivity(model, "magnitude", inputs, ratios=(0.5,))
    assert found.unit == "relative squared error" and found.metric == "" and found.dense == 0.0
    last = view(model).sites[-1]
    kernel = last.variable.numpy()
    keep = select(np.abs(kernel).ravel(), kernel.size // 2)
    last.variable.assign(kernel * keep.reshape(kernel.shape))
    off = np.square(np.asarray(model(inputs, training=False)) - dense).sum()
    last.variable.assign(kernel)
    assert found.sites[-1].losses[0] == pytest.approx(off / np.square(dense).sum(), rel=1e-4)


@families
def test_refitting_what_is_left_loses_less_and_leaves_no_trace(family):
    model, (inputs, _) = cnn(family), data()
    before = state(model)
    given = dict(data=inputs, ratios=(0.5,))
    plain = tfprune.sensitivity(model, "magnitude", **given)
    refitted = tfprune.sensitivity(model, "magnitude", **given, reconstruct=True)
    assert state(model) == before
    assert [one.kept for one in plain.sites] == [one.kept for one in refitted.sites]
    # The outputs of the last layer are the model's, so that they are nearer for certain.
    assert refitted.sites[-1].losses[0] < 0.9 * plain.sites[-1].losses[0]
    assert refitted.sites[0].losses != plain.sites[0].losses


@pytest.mark.parametrize("method", ["random", "snip", "synflow", "sipp"])
def test_masks_are_those_that_sparsify_writes_for_the_weight_alone(method):
    model = compiled(cnn("tf_keras"), "tf_keras")
    given = data()
    found = tfprune.sensitivity(model, tfprune.get_method(method, rounds=1), given, ratios=RATIOS)
    inputs, labels = given
    for one in found.sites[1:]:
        pruned = compiled(cnn("tf_keras"), "tf_keras")
        others = {other.name: 0.0 for other in found.sites}
        tfprune.sparsify(
            pruned,
            tfprune.get_method(method, rounds=1),
            0.5,
            allocation=tfprune.PerSite({**others, one.name: 0.75}),
            data=given,
        )
        assert one.losses[1] == pytest.approx(whole_pass(pruned, inputs, labels), rel=1e-4)


@families
def test_a_model_without_a_graph_is_one_step(family):
    library = KERASES[family]

    class Net(library.Model):
        def __init__(self):
            super().__init__()
            self.flat = library.layers.Flatten()
            self.hidden = library.layers.Dense(5, name="hidden")
            self.out = library.layers.Dense(3, name="out")

        def call(self, inputs, training=None):
            return self.out(self.hidden(self.flat(inputs)))

    model, given = Net(), data()
    model(given[0][:2])
    found = tfprune.sensitivity(with_weights(model), "magnitude", given, ratios=(0.5,))
    assert len(found.sites) == 2 and all(one.losses[0] != found.dense for one in found.sites)
    with pytest.raises(ValueError, match="is not known.*parameters or weight_bytes"):
        found.allocation(tfprune.Budget(macs=0.5))


# Allocations.


@pytest.fixture(scope="module")
def report():
    model = cnn("tf_keras")
    return model, tfprune.sensitivity(model, "magnitude", data()[0], ratios=(0.25, 0.5, 0.75, 0.9))


def test_the_allocation_has_the_sparsity_when_the_model_is_pruned_by_it(report):
    _, found = report
    model = cnn("tf_keras")
    made = found.allocation(0.7)
    done = tfprune.sparsify(model, "magnitude", 0.7, allocation=made)
    asked = dict(made.sparsities)
    for one in done.sites:
        site = next(each for each in found.sites if each.name == one.name)
        costs = dict(zip(found.choices, site.costs("parameters", 8), strict=True))
        assert one.kept == costs[asked[one.name]]
    assert done.kept <= round(0.3 * done.size)
    assert eval(found.per_site(0.7), {"tfprune": tfprune}) == made


@pytest.mark.parametrize(
    "limits", [{"parameters": 0.4}, {"macs": 0.5}, {"weight_bytes": 0.6}, {"weight_bytes": 500}]
)
def test_a_budget_of_the_whole_model_is_kept(report, limits):
    model, found = report
    budget = tfprune.Budget(**limits)
    (unit,) = budget.units
    dense = sum(one.costs(unit, 8)[0] for one in found.sites) + found.rest.cost(unit, 8)
    if unit == "parameters":
        assert dense == model.count_params()
    if unit == "macs":
        assert dense == sum(one.macs for one in tfprune.report(model).sites)
    chosen = dict(found.allocation(budget).sparsities)
    used = sum(one.costs(unit, 8)[found.choices.index(chosen[one.name])] for one in found.sites)
    assert used + found.rest.cost(unit, 8) <= budget.limits({unit: dense})[unit]
    assert any(chosen.values())


def test_weights_say_which_losses_count(report):
    _, found = report
    names = [one.name for one in found.sites]
    spared = found.allocation(0.5, weights={names[0]: 1e6})
    pruned = found.allocation(0.5, weights={name: 1e6 for name in names[1:]})
    assert dict(spared.sparsities)[names[0]] < dict(pruned.sparsities)[names[0]]


def test_a_single_site_is_pruned_as_far_as_it_must():
    library = KERASES["keras"]
    model = library.Sequential([library.Input((6, 6, 2)), library.layers.Flatten()])
    model.add(library.layers.Dense(3))
    found = tfprune.sensitivity(model, "magnitude", data()[0], ratios=(0.25, 0.5, 0.75))
    (ratio,) = dict(found.allocation(0.4).sparsities).values()
    assert ratio == pytest.approx(
        1 - 0.75 * (0.5 / 0.75) ** 0.75, abs=1e-4
    )  # three of four steps to 0.5


@pytest.mark.parametrize(
    "budget, error, words",
    [
        (0.95, ValueError, "even with 0.9 of each weight removed"),
        (tfprune.Budget(weight_bytes=10), ValueError, "leaves 10 weight_bytes, but the model has"),
        (1.0, ValueError, "budget"),
        ("half", TypeError, "a sparsity in"),
        (tfprune.Budget(macs=0.5, parameters=0.5), ValueError, "one limit"),
        (tfprune.Budget(activation_bytes=0.5), ValueError, "one limit"),
    ],
)
def test_budgets_that_cannot_be_met_say_why(report, budget, error, words):
    with pytest.raises(error, match=words):
        report[1].allocation(budget)


def test_weights_of_no_site_are_refused(report):
    with pytest.raises(ValueError, match="'nothing'; the sites are conv/kernel"):
        report[1].allocation(0.5, weights={"nothing": 1.0})
    with pytest.raises(ValueError, match="at least 0"):
        report[1].allocation(0.5, weights={"conv/kernel": -1.0})


# What is refused.


@pytest.mark.parametrize(
    "changes, error, words",
    [
        (dict(data=None), ValueError, "data=None: pass examples"),
        (dict(data=np.full((4, 6, 6, 2), np.nan, "float32")), ValueError, "NaN or infinite"),
        (dict(data=np.zeros((4, 5, 5, 2), "float32")), ValueError, "takes"),
        (dict(method="movement"), ValueError, "no scores to prune a single weight by"),
        (dict(method="admm"), ValueError, "looks for new weights"),
        (dict(ratios=()), ValueError, "at least one fraction"),
        (dict(ratios=(0.5, 1.0)), ValueError, "ratios"),
        (dict(ratios=0.5), TypeError, "several fractions"),
        (dict(reconstruct="yes"), TypeError, "True or False"),
        (
            dict(method=tfprune.get_method("magnitude", structure=tfprune.NofM(2, 4))),
            ValueError,
            "no ratios to try",
        ),
        (
            dict(method=tfprune.get_method("magnitude", structure=tfprune.Filter(coupled=True))),
            ValueError,
            "shrink_to",
        ),
    ],
)
def test_what_cannot_be_measured_is_refused(changes, error, words):
    given = {"method": "magnitude", "data": data()[0], **changes}
    with pytest.raises(error, match=words):
        tfprune.sensitivity(cnn("tf_keras"), given.pop("method"), given.pop("data"), **given)


def test_models_that_cannot_be_measured_are_refused():
    library = KERASES["keras"]
    with pytest.raises(ValueError, match="is not built"):
        tfprune.sensitivity(library.Sequential([library.layers.Dense(3)]), "magnitude", data()[0])
    wrapped = tfprune.prune(cnn("keras"), "magnitude", 0.5)
    with pytest.raises(ValueError, match="strip_pruning"):
        tfprune.sensitivity(wrapped, "magnitude", data()[0])
    broken = cnn("keras")
    broken.layers[-1].kernel.assign(tf.fill(broken.layers[-1].kernel.shape, np.nan))
    with pytest.raises(ValueError, match="before anything is pruned"):
        tfprune.sensitivity(broken, "magnitude", data()[0])
    with pytest.raises(TypeError, match="Keras"):
        tfprune.sensitivity("model", "magnitude", data()[0])


@families
def test_after_an_error_everything_is_as_it_was(family, monkeypatch):
    model, before = cnn(family), None
    before = state(model)
    calls = []

    def fail(walk):
        calls.append(walk)
        if len(calls) == 3:
            raise RuntimeError("out of memory")
        return outputs(walk)

    outputs = measured._outputs
    monkeypatch.setattr(measured, "_outputs", fail)
    with pytest.raises(RuntimeError, match="out of memory"):
        tfprune.sensitivity(model, "magnitude", data()[0], ratios=RATIOS)
    assert state(model) == before
