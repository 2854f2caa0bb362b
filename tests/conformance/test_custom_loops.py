# SPDX-License-Identifier: Apache-2.0
"""Training loops of the user's own: start, settle after every step, finish."""

import functools

import numpy as np
import pytest
import tensorflow as tf
from tiny_models import (
    BATCH,
    KERASES,
    STEPS,
    arrays,
    check_run,
    cnn,
    compiled,
    data,
    fit,
    masks,
    zeros,
)

import tfprune

SPARSITY = 0.6
SCHEDULE = tfprune.Polynomial(SPARSITY, end=1.0, frequency=2)
everywhere = pytest.mark.parametrize("family", KERASES)
# A loop that is compiled with XLA takes seconds: with the callback alone in one Keras, wrapped in
# the other.
FORMS = [(family, form) for form in ("eager", "graph") for family in KERASES]


def compiled_as(form, step):
    return step if form == "eager" else tf.function(step, jit_compile=form == "xla")


def batches(epochs=2):
    inputs, labels = data()
    for _ in range(epochs):
        for begin in range(0, len(inputs), BATCH):
            yield (
                tf.constant(inputs[begin : begin + BATCH]),
                tf.constant(labels[begin : begin + BATCH].astype("int32")),
            )


def loop(family, model, callback, form):
    """SGD with momentum, written out; returns the report."""
    library = KERASES[family]
    optimizer = library.optimizers.SGD(0.05, momentum=0.9)
    optimizer.build(model.trainable_variables)
    loss_of = library.losses.SparseCategoricalCrossentropy(from_logits=True)
    callback.start(model, total_steps=2 * STEPS)

    def step(inputs, labels):
        with tf.GradientTape() as tape:
            loss = loss_of(labels, model(inputs, training=True))
        gradients = tape.gradient(loss, model.trainable_variables)
        optimizer.apply_gradients(zip(gradients, model.trainable_variables))
        callback.settle()

    step = compiled_as(form, step)
    for inputs, labels in batches():
        step(inputs, labels)
    return callback.finish()


@pytest.mark.parametrize("family, form", [*FORMS, ("keras", "xla")])
def test_callback_alone(family, form):
    name = "magnitude" if form == "eager" else "random"
    method = tfprune.get_method(name, gate=tfprune.MaskGate(True), schedule=SCHEDULE)
    callback, model = tfprune.PruningCallback(method), cnn(family)
    report = loop(family, model, callback, form)
    check_run(callback, SPARSITY)
    assert not report.warnings and report is callback.report
    for mask, other in zip(masks(callback).values(), zeros(model).values()):
        np.testing.assert_array_equal(mask, other)


@functools.cache
def fitted(family):
    """The callback of a fit, to compare with."""
    callback = tfprune.PruningCallback("magnitude", schedule=SCHEDULE)
    fit(compiled(cnn(family), family), callback)
    return callback


@pytest.mark.parametrize("family, form", [*FORMS, ("tf_keras", "xla")])
def test_wrapped_and_as_in_fit(family, form):
    callback = tfprune.PruningCallback()
    wrapped = tfprune.prune(cnn(family), "magnitude", schedule=SCHEDULE)
    assert not loop(family, wrapped, callback, form).warnings
    check_run(callback, SPARSITY)
    if form == "xla":
        return  # fused arithmetic differs in the last bits
    for mask, other in zip(masks(callback).values(), masks(fitted(family)).values()):
        np.testing.assert_array_equal(mask, other)


@everywhere
def test_straight_through_against_a_loop_without_the_library(family):
    """W <- W - v with the gradient taken at W*M; M = NumPy's choice of W at every second step."""
    model = cnn(family)
    reference = {name: weight.numpy() for name, weight in kernels(cnn(family)).items()}
    callback = tfprune.PruningCallback(
        tfprune.get_method("magnitude", gate=tfprune.MaskGate(True), schedule=SCHEDULE)
    )
    fit(compiled(model, family), callback)

    plain = cnn(family)
    loss_of = KERASES[family].losses.SparseCategoricalCrossentropy(from_logits=True)
    timetable = SCHEDULE.resolve(total_steps=2 * STEPS)
    dense = [variable.numpy() for variable in plain.trainable_variables]
    velocity = [np.zeros_like(weight) for weight in dense]
    kept = {name: np.ones(weight.shape, bool) for name, weight in reference.items()}
    places = {
        index: name
        for index, variable in enumerate(plain.trainable_variables)
        for name, kernel in kernels(plain).items()
        if kernel is variable
    }
    assert len(places) == 3

    def refresh(step):
        if timetable.is_update(step):
            for index, name in places.items():
                order = np.argsort(-np.abs(dense[index]).ravel(), kind="stable")
                mask = np.zeros(order.size, bool)
                mask[order[: round(order.size * (1 - timetable.sparsity(step)))]] = True
                kept[name] = mask.reshape(dense[index].shape)
        for index, variable in enumerate(plain.trainable_variables):
            name = places.get(index)
            variable.assign(dense[index] if name is None else dense[index] * kept[name])

    refresh(0)
    for step, (inputs, labels) in enumerate(batches(), start=1):
        with tf.GradientTape() as tape:
            loss = loss_of(labels, plain(inputs, training=True))
        for index, gradient in enumerate(tape.gradient(loss, plain.trainable_variables)):
            step_back = np.float32(0.05) * gradient.numpy()
            velocity[index] = np.float32(0.9) * velocity[index] - step_back
            dense[index] = dense[index] + velocity[index]
        refresh(step)

    by_name = {name: index for index, name in places.items()}
    for target in callback.driver.targets:
        kernel, mask, hidden = arrays(target)
        np.testing.assert_array_equal(mask, kept[target.site.name])
        np.testing.assert_allclose(kernel + hidden, dense[by_name[target.site.name]], atol=2e-6)
        assert hidden.any()


def kernels(model):
    return {
        f"{layer.name}/kernel": layer.kernel for layer in model.layers if hasattr(layer, "kernel")
    }


def test_settle_and_finish_need_a_start():
    for call in ("settle", "finish"):
        with pytest.raises(RuntimeError, match="call start first"):
            getattr(tfprune.PruningCallback("magnitude", 0.5), call)()
