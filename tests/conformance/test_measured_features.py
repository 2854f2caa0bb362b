# SPDX-License-Identifier: Apache-2.0
"""Scores that are measured between two steps, with what Keras can do around a step."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from tiny_models import (
    ASKED,
    BATCH,
    KERASES,
    STEPS,
    arrays,
    check_run,
    cnn,
    compiled,
    data,
    examples,
    fit,
    masks,
    said,
    zeros,
)

import tfprune

SPARSITY = 0.6
WAYS = {  # method, schedule of six steps
    "snip": ("snip", tfprune.OneShot(SPARSITY, at=2)),
    "synflow": ("synflow", tfprune.Polynomial(SPARSITY, end=4, frequency=2)),
}
everywhere = pytest.mark.parametrize("family", KERASES)
# Both Kerases and both methods: one in each.
in_turn = pytest.mark.parametrize("family, way", [*zip(KERASES, WAYS)])
the_other_turn = pytest.mark.parametrize("family, way", [*zip(KERASES, reversed(WAYS))])


def prepared(family, model, way, wrap=False):
    name, schedule = WAYS[way]
    method = tfprune.get_method(name, schedule=schedule, rounds=3)
    if wrap:
        return tfprune.prune(model, method), tfprune.PruningCallback(data=examples(family))
    return model, tfprune.PruningCallback(method, data=examples(family))


def run(family, way, model=None, **settings):
    """A checked fit; returns the callback."""
    model, callback = prepared(family, model or cnn(family), way)
    fit(compiled(model, family, **settings), callback)
    check_run(callback, SPARSITY)
    assert callback.driver.finished == 2 * STEPS and not callback.report.warnings
    return callback


@in_turn
@pytest.mark.parametrize("settings", [{"jit_compile": True}, {"steps_per_execution": 3}], ids=str)
def test_compiled_steps(family, way, settings):
    callback = run(family, way, **settings)
    for mask, other in zip(masks(callback).values(), zeros(callback.model).values()):
        assert not (other & ~mask).any()


@everywhere
@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16"])
def test_mixed_precision_scores_in_float32(family, policy):
    """The same masks as in single precision, from the same weights."""
    precision = KERASES[family].mixed_precision
    before = (precision.dtype_policy if family == "keras" else precision.global_policy)()
    chosen = {}
    for name in ("float32", policy):
        precision.set_global_policy(name)
        try:
            model = cnn(family)
            tfprune.sparsify(model, "snip", SPARSITY, data=examples(family))
            layers = [layer for layer in model.layers if layer.weights]
            assert [layer.compute_dtype for layer in layers][:2] == 2 * [name.split("_")[-1]]
            chosen[name] = zeros(model)
        finally:
            precision.set_global_policy(before)
    for mask, other in zip(*(one.values() for one in chosen.values())):
        np.testing.assert_array_equal(mask, other)


@the_other_turn
def test_unbuilt_subclassed_model(family, way):
    layers = KERASES[family].layers

    class Subclassed(KERASES[family].Model):
        def __init__(self):
            super().__init__()
            self.conv = layers.Conv2D(4, 3, activation="relu")
            self.flat = layers.Flatten()
            self.logits = layers.Dense(3)

        def call(self, inputs):
            return self.logits(self.flat(self.conv(inputs)))

    run(family, way, Subclassed())


@in_turn
def test_a_wrapped_model_resumes_with_its_masks(family, way, tmp_path):
    model, callback = prepared(family, cnn(family), way, wrap=True)
    fit(compiled(model, family), callback)
    check_run(callback, SPARSITY)
    model.save(tmp_path / "model.keras")
    loaded = tfprune.load_model(tmp_path / "model.keras")
    again = tfprune.PruningCallback(data=examples(family))
    fit(compiled(loaded, family), again)
    assert again.driver.finished == 4 * STEPS
    for mask, other in zip(masks(callback).values(), masks(again).values()):
        np.testing.assert_array_equal(mask, other)


@everywhere
@pytest.mark.parametrize("compile_step", [False, True])
def test_a_loop_of_the_users_own_updates_between_steps(family, compile_step):
    library, model = KERASES[family], cnn(family)
    optimizer = library.optimizers.SGD(0.05)
    optimizer.build(model.trainable_variables)
    loss = library.losses.SparseCategoricalCrossentropy(from_logits=True)
    model, callback = prepared(family, model, "snip")
    callback.start(model, total_steps=STEPS)

    def step(images, labels):
        with tf.GradientTape() as tape:
            value = loss(labels, model(images, training=True))
        gradients = tape.gradient(value, model.trainable_variables)
        optimizer.apply_gradients(zip(gradients, model.trainable_variables))
        callback.settle()

    step = tf.function(step) if compile_step else step
    inputs, labels = data()
    kept = []
    for begin in range(0, len(inputs), BATCH):
        step(inputs[begin : begin + BATCH], labels[begin : begin + BATCH])
        callback.update()
        kept.append(sum(int(mask.sum()) for mask in masks(callback).values()))
    callback.finish()
    check_run(callback, SPARSITY)
    assert kept == [608, 243, 243]


@everywhere
def test_masks_are_nested_over_updates(family):
    seen = []

    class Watched(tfprune.PruningCallback):
        def on_train_batch_end(self, batch, logs=None):
            super().on_train_batch_end(batch, logs)
            seen.append(masks(self))

    method = tfprune.get_method("grasp", schedule=tfprune.Polynomial(0.8, end=1.0, frequency=1))
    callback = Watched(method, data=examples(family))
    fit(compiled(cnn(family), family), callback)
    for one, other in zip(seen, seen[1:]):
        assert all((one[name] | ~other[name]).all() for name in one)
    assert seen[0] and any((seen[0][name] != seen[-1][name]).any() for name in seen[0])


@everywhere
def test_gates_that_keep_dense_weights_let_them_return(family):
    method = tfprune.get_method(
        "snip",
        gate=tfprune.MaskGate(straight_through=True),
        schedule=tfprune.Constant(0.5, end=1.0, frequency=1),
    )
    callback = tfprune.PruningCallback(method, data=examples(family))
    fit(compiled(cnn(family), family), callback)
    check_run(callback, 0.5)
    assert any(arrays(target)[2].any() for target in callback.driver.targets)


def test_data_is_asked_for_once_and_early():
    callback = tfprune.PruningCallback("snip", 0.5)
    with pytest.raises(ValueError, match="computed from data: pass data="):
        fit(compiled(cnn("keras"), "keras"), callback)


def test_scoring_leaves_everything_bit_identical():
    model = compiled(cnn("keras"), "keras", keras.optimizers.Adam())
    model.optimizer.build(model.trainable_variables)
    fit(model)
    model.predict(data()[0], verbose=0)
    for method in [name for name in ASKED if tfprune.get_method(name).rule.is_measured]:
        before = [
            np.asarray(v).tobytes() for v in (*model.get_weights(), *model.optimizer.variables)
        ]
        state = np.random.get_state()[1].tobytes()
        drawn = tf.random.get_global_generator().state.numpy().tobytes()
        said(lambda: tfprune.sparsify(model, method, 0.0, data=examples("keras")))
        after = [
            np.asarray(v).tobytes() for v in (*model.get_weights(), *model.optimizer.variables)
        ]
        assert before == after, method
        assert state == np.random.get_state()[1].tobytes(), method
        assert drawn == tf.random.get_global_generator().state.numpy().tobytes(), method
