# SPDX-License-Identifier: Apache-2.0
"""Pruning by the flow: exact counts, nothing comes back, nothing else changes."""

import random

import numpy as np
import pytest
import tensorflow as tf
from flow_models import conv_net, mlp, shares, subject, weighted
from tiny_models import KERASES, compiled, recording, zeros

import tfprune
from tfprune.methods.base import TopKRule
from tfprune.training.connectivity import paths

everywhere = pytest.mark.parametrize("family", KERASES)


def kept(model):
    return [int(mask.sum()) for mask in zeros(model).values()]


# What the rounds do.


@everywhere
def test_rounds_never_bring_back_and_count_exactly(family):
    records = []
    model = conv_net(family)
    size = sum(mask.size for mask in zeros(model).values())
    tfprune.sparsify(model, recording(tfprune.get_method("synflow", rounds=12), records), 0.9)
    assert len(records) == 12
    alive = [np.ones(mask.size, bool) for mask in zeros(model).values()]
    for index, (scores, _, masks) in enumerate(records):
        masks = [mask.ravel() for mask in masks]
        gone = int((1 - 0.1 ** ((index + 1) / 12)) * size) if index < 11 else round(0.9 * size)
        assert sum(mask.sum() for mask in masks) == size - gone
        for score, mask, before in zip(scores, masks, alive):
            assert (score >= 0).all() and not score[~before].any()
            assert not (mask & ~before).any()
        alive = masks
    for mask, last in zip(zeros(model).values(), alive):
        np.testing.assert_array_equal(mask.ravel(), last)


@everywhere
def test_as_many_are_kept_as_asked_and_all_of_them_lie_on_paths(family):
    model = conv_net(family)
    report = tfprune.sparsify(model, "synflow", 0.98)
    assert report.kept == sum(kept(model)) == 10
    left = paths(subject(model))
    assert left.connected and not any(left.stranded.values())


@pytest.mark.filterwarnings("ignore:All weights of .* are zero")
@everywhere
def test_one_round_empties_layers_a_hundred_do_not(family):
    none = tfprune.Global(min_keep=0)
    model = mlp(family)
    tfprune.sparsify(model, tfprune.get_method("synflow", rounds=1), 1 - 50 / 1650, allocation=none)
    assert sum(kept(model)) == 50 and kept(model).count(0) >= 2

    model = mlp(family)
    tfprune.sparsify(model, "synflow", 1 - 4 / 1650, allocation=none)
    assert kept(model) == [1, 1, 1, 1]
    assert paths(subject(model)).connected

    model = mlp(family)
    tfprune.sparsify(model, "magnitude", 1 - 12 / 1650, allocation=none)
    assert sum(kept(model)) == 12 and 0 in kept(model)


@everywhere
@pytest.mark.parametrize("method", ["random", "magnitude", "synflow"])
def test_no_layer_empties_by_default(family, method):
    model = mlp(family)
    tfprune.sparsify(
        model, tfprune.get_method(method, allocation=tfprune.Global(), rounds=1), 1 - 12 / 1650
    )
    assert sum(kept(model)) == 12 and min(kept(model)) == 1


# What is left as it was.


def stateful(family):
    """As after training: averages, dropout and an optimizer that has moments."""
    library = KERASES[family]
    layers = library.layers
    model = weighted(
        library.Sequential(
            [
                library.Input((6, 6, 2)),
                layers.Conv2D(4, 3, name="conv"),
                layers.BatchNormalization(),
                layers.ReLU(),
                layers.Dropout(0.5, seed=3),
                layers.Flatten(),
                layers.Dense(3, dtype="float32"),
            ]
        )
    )
    optimizer = library.optimizers.Adam(0.01)
    optimizer.build(model.trainable_variables)
    for variable in moments(optimizer):
        if variable.shape:
            variable.assign(np.random.default_rng(2).normal(size=variable.shape))
    return compiled(model, family, optimizer)


def moments(optimizer):
    return optimizer.variables() if callable(optimizer.variables) else optimizer.variables


def state(model):
    """Every number of a model and its optimizer, and the state of every generator there is."""
    variables = [variable.numpy() for variable in [*model.variables, *moments(model.optimizer)]]
    attributes = [sorted(vars(layer)) for layer in model.layers]
    activations = [getattr(layer, "activation", None) for layer in model.layers]
    return (
        [(one.dtype, one.tobytes()) for one in variables],
        attributes,
        activations,
        random.getstate(),
        repr(np.random.get_state()),
        tf.random.get_global_generator().state.numpy().tobytes(),
    )


@everywhere
def test_scoring_changes_nothing(family):
    model = stateful(family)
    before = state(model)
    tf.random.set_seed(7)
    first = tf.random.uniform((4,)).numpy()
    tf.random.set_seed(7)
    one = shares(model)
    other = shares(model, biases=True)
    np.testing.assert_array_equal(tf.random.uniform((4,)), first)
    assert state(model) == before
    for name, share in shares(model).items():
        np.testing.assert_array_equal(share, one[name])
        assert not np.array_equal(share, other[name])


@everywhere
def test_an_interrupted_pruning_changes_nothing(family, monkeypatch):
    model = stateful(family)
    before = state(model)
    rounds = []

    def course(self, begin, end, groups):
        for level in (0.3, 0.5, 0.7):
            rounds.append(level)
            yield level
        raise KeyboardInterrupt

    monkeypatch.setattr(TopKRule, "course", course)
    callback = tfprune.PruningCallback("synflow", schedule=tfprune.OneShot(0.9))
    with pytest.raises(KeyboardInterrupt):
        callback.start(model)
    assert len(rounds) == 3
    assert state(model) == before
    assert all(target.mask.numpy().all() for target in callback.driver.targets)


@everywhere
def test_an_error_inside_a_round_changes_nothing(family, monkeypatch):
    model = stateful(family)
    before = state(model)

    def choose(self, *args, **kwargs):
        raise RuntimeError("no choice")

    monkeypatch.setattr(TopKRule, "choose", choose)
    with pytest.raises(RuntimeError, match="no choice"):
        tfprune.sparsify(model, "synflow", 0.9)
    assert state(model) == before


@everywhere
def test_pruning_removes_weights_and_changes_no_other_number(family):
    model = stateful(family)
    dense = [weight.copy() for weight in model.get_weights()]
    tfprune.sparsify(model, "synflow", 0.8)
    for before, after in zip(dense, model.get_weights()):
        left = after != 0
        np.testing.assert_array_equal(after[left], before[left])
        if after.ndim < 2:
            np.testing.assert_array_equal(after, before)


def test_nothing_asked_nothing_done():
    model = mlp("keras")
    assert tfprune.sparsify(model, "synflow", 0.0).sparsity == 0
