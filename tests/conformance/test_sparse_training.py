# SPDX-License-Identifier: Apache-2.0
"""Movement pruning, SET and RigL in whole runs, against loops that do not know the library."""

import math

import numpy as np
import pytest
import tensorflow as tf
from tiny_models import BATCH, KERASES, STEPS, arrays, cnn, compiled, data, fit

import tfprune
from tfprune.training.callback_base import Hooks

everywhere = pytest.mark.parametrize("family", KERASES)
optimizers = pytest.mark.parametrize("name", ["sgd", "adam"])
SHAPE, EPOCHS, CYCLE = (8, 6), 4, 2


def made(family, name):
    library = KERASES[family].optimizers
    return library.SGD(0.2, momentum=0.9) if name == "sgd" else library.Adam(0.05)


def steps_of(family, optimizer, weight):
    """Yields (step, kernel, gradient's function) of a Dense kernel; the caller updates it."""
    inputs, labels = data(SHAPE[:1])
    loss = KERASES[family].losses.SparseCategoricalCrossentropy(from_logits=True)
    kernel = tf.Variable(weight)
    optimizer.build([kernel])

    def gradient(step, mask):
        at = slice(step % STEPS * BATCH, (step % STEPS + 1) * BATCH)
        seen = tf.constant(kernel.numpy() * mask)
        with tf.GradientTape() as tape:
            tape.watch(seen)
            value = loss(labels[at], tf.matmul(inputs[at], seen))
        return tape.gradient(value, seen).numpy()

    return kernel, gradient


def top(score, keep):
    order = np.argsort(-score, axis=None, kind="stable")
    return np.isin(np.arange(score.size), order[:keep]).reshape(score.shape)


def movement_loop(family, optimizer, weight, kept):
    """The dense weight and the mask after a run. kept: {step: how many}."""
    kernel, gradient = steps_of(family, optimizer, weight)
    score, mask = np.zeros(weight.shape), np.ones(weight.shape, bool)
    for step in range(STEPS * EPOCHS):
        slope = gradient(step, mask)
        score = score - 0.5 * slope * kernel.numpy()
        optimizer.apply_gradients([(tf.constant(slope * mask, tf.float32), kernel)])
        if step + 1 in kept:
            mask = top(score, kept[step + 1])
    return kernel.numpy(), mask


def rigl_loop(family, optimizer, weight, end):
    """The same of RigL at half: 24 of 48, updates until `end`."""
    kernel, gradient = steps_of(family, optimizer, weight)
    mask = top(np.abs(weight), 24)
    kernel.assign(weight * mask)
    for step in range(STEPS * EPOCHS):
        slope = gradient(step, mask)
        optimizer.apply_gradients([(tf.constant(slope * mask, tf.float32), kernel)])
        kernel.assign(kernel * mask)
        done = step + 1
        if done <= end and (done % CYCLE == 0 or done == end):
            number = int(0.3 / 2 * (1 + math.cos(math.pi * done / end)) * 24 + 1e-9)
            held = top(np.where(mask, np.abs(kernel.numpy()), -1), 24 - number)
            grown = top(np.where(held, -1, np.abs(slope)), number)
            new = grown & ~mask
            mask = held | grown
            kernel.assign(kernel * mask)
            for one in optimizer.variables:
                if tuple(one.shape) == SHAPE:
                    one.assign(np.where(new, 0, one.numpy()))
    return kernel.numpy(), mask


def network(family, weight):
    library = KERASES[family]
    model = library.Sequential(
        [library.Input(SHAPE[:1]), library.layers.Dense(SHAPE[1], use_bias=False)]
    )
    model.set_weights([weight])
    return model


def drawn_weight():
    return np.random.default_rng(7).normal(size=SHAPE).astype("float32")


@optimizers
@everywhere
def test_movement_is_an_independent_loop(family, name):
    schedule = tfprune.Polynomial(0.75, begin=2, end=10, frequency=2)
    timetable = schedule.resolve()
    kept = {int(step): round(48 * (1 - timetable.sparsity(step))) for step in timetable.updates}
    weight, mask = movement_loop(family, made(family, name), drawn_weight(), kept)
    method = tfprune.get_method(
        "movement", gate=tfprune.MovementGate(0.5, "sgd"), schedule=schedule
    )
    callback = tfprune.PruningCallback(method)
    fit(
        compiled(network(family, drawn_weight()), family, made(family, name)),
        callback,
        epochs=EPOCHS,
        shape=SHAPE[:1],
    )
    kernel, found, hidden = arrays(callback.driver.targets[0])
    np.testing.assert_array_equal(found, mask)
    assert found.sum() == 12
    np.testing.assert_allclose(kernel, weight * mask, atol=1e-5)
    np.testing.assert_allclose(hidden, weight * ~mask, atol=1e-5)


@optimizers
@everywhere
def test_rigl_is_an_independent_loop(family, name, end=9):
    weight, mask = rigl_loop(family, made(family, name), drawn_weight(), end)
    callback = tfprune.PruningCallback(
        "rigl", schedule=tfprune.Constant(0.5, end=end, frequency=CYCLE)
    )
    fit(
        compiled(network(family, drawn_weight()), family, made(family, name)),
        callback,
        epochs=EPOCHS,
        shape=SHAPE[:1],
    )
    kernel, found, _ = arrays(callback.driver.targets[0])
    np.testing.assert_array_equal(found, mask)
    assert (found != top(np.abs(drawn_weight()), 24)).sum() >= 4
    np.testing.assert_allclose(kernel, weight, atol=1e-5)


class Watch(Hooks):
    """Kernels, masks, momenta and the gradients that were kept, after each step."""

    _needs_batches = True

    def __init__(self, callback):
        super().__init__()
        self.callback, self.seen = callback, []

    def on_train_batch_end(self, batch, logs=None):
        driver = self.callback.driver
        self.seen.append(
            [
                (
                    *arrays(target)[:2],
                    [
                        one.numpy()
                        for one in driver.adapter.momenta(
                            driver.adapter.innermost_optimizer(self.model), target.kernel
                        )
                    ],
                    target.state["dense_gradient"].numpy()
                    if "dense_gradient" in target.state
                    else None,
                )
                for target in driver.targets
            ]
        )


@pytest.mark.parametrize("family, name", [("keras", "set"), ("tf_keras", "rigl")])
def test_counts_stay_and_nothing_changes_after_the_end(family, name):
    method = tfprune.get_method(
        name,
        allocation=tfprune.PerSite({"conv": 0.0}, tfprune.ERK()),
        fraction=0.5,
        schedule=tfprune.Constant(0.7, end=8, frequency=1),
    )
    callback = tfprune.PruningCallback(method)
    watch = Watch(callback)
    fit(compiled(cnn(family), family, made(family, "adam")), callback, watch, epochs=EPOCHS)
    counts = np.array([[mask.sum() for _, mask, *_ in step] for step in watch.seen])
    assert (counts == counts[0]).all() and counts[0, 0] == 72, "the first layer is dense"
    sizes = np.array([mask.size for _, mask, *_ in watch.seen[0]])
    # 30 % of what is not listed; the small last layer keeps most
    assert counts[0, 1:].sum() == round(0.3 * sizes[1:].sum())
    assert counts[0, 2] / sizes[2] > counts[0, 1] / sizes[1]
    grown = 0
    for before, now in zip(watch.seen, watch.seen[1:]):
        for (_, old, *_), (kernel, mask, *_) in zip(before, now):
            assert not kernel[~mask].any()
            new = mask & ~old
            grown += new.sum()
            assert not kernel[new].any(), "what is grown begins at zero"
    assert grown > 10
    changed = [
        any((old != mask).any() for (_, old, *_), (_, mask, *_) in zip(before, now))
        for before, now in zip(watch.seen, watch.seen[1:])
    ]
    assert any(changed[:6]) and not any(changed[7:]), "no update after the eighth step"


def test_the_momenta_of_what_is_grown_begin_at_zero():
    method = tfprune.get_method(
        "set",
        allocation=tfprune.Uniform(),
        fraction=0.9,
        anneal="constant",
        gate=tfprune.RegrowthGate(),
        schedule=tfprune.Constant(0.5, frequency=3),
    )
    callback = tfprune.PruningCallback(method)
    watch = Watch(callback)
    optimizer = KERASES["keras"].optimizers.SGD(0.1, momentum=0.5)
    fit(
        compiled(network("keras", drawn_weight()), "keras", optimizer),
        callback,
        watch,
        epochs=4,
        shape=SHAPE[:1],
    )
    once_known = 0
    for before, at, after in zip(watch.seen, watch.seen[1:], watch.seen[2:]):
        (_, old, _, _), (_, mask, (stale,), _), (_, _, (momentum,), slope) = (
            before[0],
            at[0],
            after[0],
        )
        new = mask & ~old
        once_known += np.count_nonzero(stale[new])
        # After one step it has forgotten what it was.
        np.testing.assert_allclose(momentum[new], -0.1 * slope[new], rtol=1e-5)
    assert once_known > 5


def test_block_movement_removes_whole_blocks_and_their_scores_are_kept_in_groups():
    structure = tfprune.Block(2, 2)
    callback = tfprune.PruningCallback(
        "movement", structure=structure, schedule=tfprune.Polynomial(0.5, end=1.0, frequency=2)
    )
    fit(compiled(network("keras", drawn_weight()), "keras"), callback, epochs=2, shape=SHAPE[:1])
    (target,) = callback.driver.targets
    assert target.state["movement"].shape == (12,)
    kept = structure.reduce(arrays(target)[1].astype("float32"), target.site.layout)
    assert sorted(kept.tolist()) == [0] * 6 + [1] * 6
