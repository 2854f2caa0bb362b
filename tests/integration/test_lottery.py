# SPDX-License-Identifier: Apache-2.0
"""Lottery tickets: exact densities, what is rewound and what is not, bad arguments."""

import math

import numpy as np
import pytest
import tf_keras
from tiny_models import BATCH, KERASES, STEPS, compiled, data, with_weights, zeros

import tfprune
from tfprune.training.callback_base import Hooks


def network(family, **settings):
    """Two Dense layers, 150 weights, and BatchNorm; a kernel begins with a zero."""
    library, layers = KERASES[family], KERASES[family].layers
    model = with_weights(
        library.Sequential(
            [
                library.Input((12,)),
                layers.Dense(10, name="hidden"),
                layers.BatchNormalization(),
                layers.Dense(3, name="logits"),
            ]
        )
    )
    weights = model.get_weights()
    weights[0][0, 0] = 0.0
    model.set_weights(weights)
    return compiled(model, family, KERASES[family].optimizers.Adam(0.05), **settings)


def arguments(**more):
    x, y = data((12,))
    return {
        "x": x,
        "y": y,
        "batch_size": BATCH,
        "epochs": 1,
        "shuffle": False,
        "verbose": 0,
        **more,
    }


class Watch(Hooks):
    """Weights, optimizer's steps and learning rate at the beginning of each training and after
    each of its steps; and spoils the learning rate."""

    _needs_batches = True

    def __init__(self):
        super().__init__()
        self.begun, self.after = [], []

    def on_epoch_begin(self, epoch, logs=None):
        optimizer = self.model.optimizer
        self.begun.append(
            (
                self.model.get_weights(),
                int(optimizer.iterations.numpy()),
                float(optimizer.learning_rate.numpy()),
            )
        )
        self.after.append([])

    def on_train_batch_end(self, batch, logs=None):
        self.after[-1].append(self.model.get_weights())
        self.model.optimizer.learning_rate.assign(1e-3)


def masked(model, weights, masks):
    """The weights with the masks on the two kernels."""
    kernels = [index for index, weight in enumerate(weights) if weight.ndim == 2]
    found = list(weights)
    for index, mask in zip(kernels, masks.values()):
        found[index] = weights[index] * mask
    return found


def ranked(weights, alive):
    """The flat mask of the next level: the largest of the weights that are alive."""
    flat = np.abs(np.concatenate([one.ravel() for one in weights if one.ndim == 2]))
    order = np.argsort(-np.where(alive, flat, -np.inf), kind="stable")
    return np.isin(np.arange(150), order[: alive.sum() - math.ceil(alive.sum() / 5)])


@pytest.mark.parametrize(
    "family, rewind, number", [("keras", 0, 2), ("tf_keras", 2, 1), ("keras", None, 1)]
)
def test_densities_are_exact_and_weights_are_rewound(family, rewind, number):
    model, watch = network(family), Watch()
    first = model.get_weights()
    levels = tfprune.find_lottery_ticket(
        model, arguments(callbacks=[watch]), levels=number, rewind=rewind
    )
    goal = first if rewind == 0 else watch.after[0][-1 if rewind is None else 1]
    alive = np.full(150, True)
    assert len(levels) == number + 1 == len(watch.begun)
    for level, kept in zip(levels, (150, 120, 96)):
        flat = np.concatenate([mask.ravel() for mask in level.masks.values()])
        assert flat.sum() == kept and level.density == kept / 150
        assert len(level.result.history["loss"]) == 1
        assert level.report.sites[0].target == pytest.approx(
            1 - level.masks["hidden/kernel"].mean()
        )
        if level.number:
            # A weight that is rewound to zero is not taken for a pruned one.
            alive = ranked(watch.after[level.number - 1][-1], alive)
            np.testing.assert_array_equal(flat, alive)
            weights, steps, rate = watch.begun[level.number]
            assert steps == 0 and rate == pytest.approx(0.05)
            for one, other in zip(weights, masked(model, goal, level.masks)):
                np.testing.assert_array_equal(one, other)
        for weights in watch.after[level.number]:
            assert not weights[0][~level.masks["hidden/kernel"]].any()
    for name, held in zeros(model).items():
        assert not (held & ~levels[-1].masks[name]).any()


def test_a_function_that_trains_and_a_method_of_ones_own():
    model, seen = network("keras"), []
    given = arguments()

    def train(model, callbacks):
        seen.append(len(callbacks))
        return model.fit(**given, callbacks=callbacks).epoch

    method = tfprune.get_method(
        "magnitude", structure=tfprune.Filter(), allocation=tfprune.Uniform()
    )
    levels = tfprune.find_lottery_ticket(model, train, levels=1, fraction=0.5, method=method)
    assert [level.result for level in levels] == [[0], [0]] and len(seen) == 2
    assert levels[1].masks["hidden/kernel"].all(axis=0).sum() in (5, 6)


BAD = {
    "levels=0": dict(levels=0),
    "fraction=1": dict(fraction=1),
    "rewind=-1": dict(rewind=-1),
    "nothing would be left of 150": dict(levels=99),
    "does not choose by weights alone": dict(method="snip"),
    "has fewer steps": dict(rewind=STEPS + 1, levels=1),
}


@pytest.mark.parametrize("message", BAD)
def test_bad_arguments(message):
    with pytest.raises(ValueError, match=message):
        tfprune.find_lottery_ticket(network("keras"), arguments(), **BAD[message])


def test_bad_models_and_functions():
    with pytest.raises(TypeError, match="arguments of model.fit"):
        tfprune.find_lottery_ticket(network("keras"), 3)
    with pytest.raises(ValueError, match="did not pass its callbacks on"):
        tfprune.find_lottery_ticket(network("keras"), lambda model, callbacks: None, levels=1)
    with pytest.raises(ValueError, match="strip_pruning"):
        tfprune.find_lottery_ticket(tfprune.prune(network("keras"), "magnitude", 0.5), arguments())
    with pytest.raises(ValueError, match="not built"):
        tfprune.find_lottery_ticket(
            KERASES["keras"].Sequential([KERASES["keras"].layers.Dense(3)]), arguments()
        )
    legacy = compiled(network("tf_keras"), "tf_keras", tf_keras.optimizers.legacy.SGD(0.1))
    with pytest.raises(ValueError, match="cannot be put back"):
        tfprune.find_lottery_ticket(legacy, arguments(), levels=1)


def test_several_steps_in_one_execution():
    with pytest.raises(ValueError, match="was seen after 3 steps"):
        tfprune.find_lottery_ticket(
            network("keras", steps_per_execution=3), arguments(), levels=1, rewind=2
        )
