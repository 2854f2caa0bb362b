# SPDX-License-Identifier: Apache-2.0
"""What Keras can do around a training step, in both Kerases, with pruning in it."""

import contextlib

import keras
import numpy as np
import pytest
import tensorflow as tf
import tf_keras
from tiny_models import KERASES, STEPS, check_run, cnn, compiled, fit, masks, with_weights, zeros

import tfprune

SPARSITY = 0.6
# Each way of pruning: the method, and whether the model is wrapped for it. (What the ways have in
# common is traced anew for each of them, which takes seconds.)
WAYS = {"callback": ("magnitude", False), "wrapped": ("random", True)}
everywhere = pytest.mark.parametrize("family", KERASES)
# Both Kerases and both ways: one way in each.
in_turn = pytest.mark.parametrize("family, way", [*zip(KERASES, WAYS)])
the_other_turn = pytest.mark.parametrize("family, way", [*zip(KERASES, reversed(WAYS))])


def prepared(model, way, keeps=True):
    """(model, callback) for one of the ways.

    With `keeps` dense weights are kept, so that NumPy can repeat the choice of the last step.
    """
    name, wrap = WAYS[way]
    method = tfprune.get_method(
        name,
        gate=tfprune.MaskGate(straight_through=keeps),
        schedule=tfprune.Polynomial(SPARSITY, end=1.0, frequency=2),
    )
    if wrap:
        return tfprune.prune(model, method), tfprune.PruningCallback()
    return model, tfprune.PruningCallback(method)


def run(family, way, model=None, optimizer=None, **settings):
    """A checked fit; returns the callback."""
    model, callback = prepared(model or cnn(family), way)
    fit(compiled(model, family, optimizer, **settings), callback)
    check_run(callback, SPARSITY)
    assert callback.driver.finished == 2 * STEPS
    return callback


def assert_same_masks(one, other):
    assert len(one) == len(other) > 0
    for mask, second in zip(one.values(), other.values()):
        np.testing.assert_array_equal(mask, second)


@in_turn
def test_several_steps_per_execution_give_the_same_masks(family, way):
    single = run(family, way)
    several = run(family, way, steps_per_execution=3)
    assert_same_masks(masks(single), masks(several))
    for one, other in zip(single.driver.targets, several.driver.targets):
        np.testing.assert_array_equal(one.kernel.numpy(), other.kernel.numpy())


@pytest.mark.parametrize(
    "family, way, steps", [("keras", "callback", 1), ("tf_keras", "wrapped", 3)]
)
def test_jit_compile(family, way, steps):
    # The other way round: with a gate that acts, and in loops of one's own.
    run(family, way, jit_compile=True, steps_per_execution=steps)


@contextlib.contextmanager
def policy_of(family, name):
    precision = KERASES[family].mixed_precision
    before = (precision.dtype_policy if family == "keras" else precision.global_policy)()
    precision.set_global_policy(name)
    try:
        yield
    finally:
        precision.set_global_policy(before)


@the_other_turn
@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16"])
def test_mixed_precision(family, way, policy):
    with policy_of(family, policy):
        callback = run(family, way)
    assert all(target.kernel.dtype == tf.float32 for target in callback.driver.targets)
    optimizer = callback.model.optimizer
    assert ("LossScale" in type(optimizer).__name__) == (policy == "mixed_float16")


@pytest.mark.parametrize("way", WAYS)
def test_gradient_accumulation(way):
    # tf_keras has no such setting.
    run("keras", way, optimizer=keras.optimizers.SGD(0.05, gradient_accumulation_steps=2))


@in_turn
def test_averaged_weights_stay_sparse(family, way):
    sgd = KERASES[family].optimizers.SGD
    model, callback = prepared(cnn(family), way, keeps=False)
    fit(compiled(model, family, sgd(0.05, use_ema=True, ema_momentum=0.5)), callback)
    check_run(callback, SPARSITY)
    assert_same_masks(zeros(callback.model), masks(callback))


def test_an_optimizer_of_the_legacy_kind():
    # Keras 3 has none.
    run("tf_keras", "callback", optimizer=tf_keras.optimizers.legacy.Adam())


@in_turn
def test_a_train_step_of_the_users_own(family, way):
    library = KERASES[family]

    class Own(library.Model):
        taken = 0

        def train_step(self, data):
            Own.taken += 1
            inputs, labels = data
            with tf.GradientTape() as tape:
                loss = self.compute_loss(inputs, labels, self(inputs, training=True))
            gradients = tape.gradient(loss, self.trainable_variables)
            self.optimizer.apply_gradients(zip(gradients, self.trainable_variables))
            return {"loss": loss}

    base, callback = prepared(cnn(family), way)
    model = Own(base.inputs, base.outputs)
    fit(compiled(model, family), callback)
    assert Own.taken
    check_run(callback, SPARSITY)
    assert "train_step" not in vars(model)


def subclassed(family):
    """An unbuilt model; its weights come with the first batch."""
    layers = KERASES[family].layers

    class Subclassed(KERASES[family].Model):
        def __init__(self):
            super().__init__()
            self.conv = layers.Conv2D(4, 3, activation="relu")
            self.blocks = [layers.Flatten(), layers.Dense(8, activation="relu")]
            self.logits = layers.Dense(3, dtype="float32")

        def call(self, inputs):
            hidden = self.conv(inputs)
            for block in self.blocks:
                hidden = block(hidden)
            return self.logits(hidden)

    return Subclassed()


@everywhere
@pytest.mark.parametrize("settings", [{}, {"steps_per_execution": 3}], ids=str)
def test_unbuilt_subclassed_model(family, settings):
    callback = run(family, "callback", subclassed(family), **settings)
    assert_same_masks(zeros(callback.model), masks(callback))


@everywhere
def test_built_subclassed_model_and_a_second_fit(family):
    model = subclassed(family)
    model(np.zeros((1, 6, 6, 2), "float32"))
    with_weights(model)
    run(family, "callback", model)
    assert "train_step" not in vars(model)
    run(family, "callback", model)
