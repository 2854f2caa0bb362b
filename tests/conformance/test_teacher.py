# SPDX-License-Identifier: Apache-2.0
"""A dense teacher in the training of a pruned model, in both Kerases."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from tiny_models import BATCH, KERASES, STEPS, cnn, compiled, data, fit, prepared, with_weights

import tfprune
from tfprune.training.callback_base import Hooks

everywhere = pytest.mark.parametrize("family", KERASES)


@pytest.fixture
def eager():
    """Without tracing, which would take nearly all of the time."""
    tf.config.run_functions_eagerly(True)
    yield
    tf.config.run_functions_eagerly(False)


def network(family, last="softmax", seed=7, decay=None):
    """With a convolution, BatchNormalization, Dropout, and Dense layers."""
    library = KERASES[family]
    layers = library.layers
    regularizer = None if decay is None else library.regularizers.L2(decay)
    inputs = library.Input((6, 6, 2))
    x = layers.Conv2D(4, 3, name="conv")(inputs)
    x = layers.BatchNormalization(name="norm")(x)
    x = layers.Dropout(0.0 if decay is not None else 0.3)(layers.Flatten()(x))
    x = layers.Dense(8, activation="relu", name="hidden", kernel_regularizer=regularizer)(x)
    x = layers.Dense(3, name="out")(x)
    outputs = layers.Activation(last, dtype="float32")(x)
    model = library.Model(inputs, outputs)
    with_weights(model, seed)
    variance = next(one for one in model.weights if "variance" in (getattr(one, "path", one.name)))
    variance.assign(np.ones(4))
    return model


def trained(family, teacher, epochs=2, model=None, **settings):
    """(model after a fit at a sparsity of 0.6, history)."""
    model = compiled(model or cnn(family), family, **settings)
    callback = tfprune.PruningCallback("magnitude", 0.6, teacher=teacher)
    return model, fit(model, callback, epochs=epochs).history


def divergence(taught, logits, temperature):
    taught, logits = (np.asarray(one, "float64") / temperature for one in (taught, logits))
    first, second = (np.exp(one) / np.exp(one).sum(-1, keepdims=True) for one in (taught, logits))
    return temperature**2 * (first * np.log(first / second)).sum(-1)


@everywhere
@pytest.mark.parametrize("last", ["softmax", "linear"])
def test_the_loss_is_that_of_the_formula(family, last, eager):
    """With weights of the examples, weight decay, and a pair of features; the teacher returns
    probabilities."""
    library = KERASES[family]
    x, y = data()
    weights = np.linspace(0, 2, len(x)).astype("float32")
    teacher, model = network(family), network(family, last, seed=3, decay=0.1)
    logits = library.Model(model.inputs, model.get_layer("out").output)
    hidden = [library.Model(one.inputs, one.get_layer("hidden").output) for one in (model, teacher)]

    class Expected(Hooks):
        """The loss of the first and only step; the network has seen averages of the batch."""

        def on_train_batch_begin(self, batch, logs=None):
            before = model.get_weights()
            own, taught = (
                one(x, training=training).numpy().astype("float64")
                for one, training in ((logits, True), (teacher, False))
            )
            features = [hidden[0](x, training=True).numpy(), hidden[1](x).numpy()]
            model.set_weights(before)
            entropy = -np.log(np.exp(own) / np.exp(own).sum(-1, keepdims=True))[np.arange(24), y]
            soft = (weights * divergence(np.log(taught), own, 3.0)).mean()
            self.soft = soft + np.square(features[0] - features[1]).mean()
            decay = 0.1 * np.square(model.get_layer("hidden").get_weights()[0]).sum()
            self.loss = 0.6 * (weights * entropy).mean() + 0.4 * self.soft + decay

        _needs_batches = True

    settings = tfprune.Distillation(
        teacher, temperature=3.0, share=0.4, features={"hidden": "hidden"}
    )
    loss = library.losses.SparseCategoricalCrossentropy(from_logits=last == "linear")
    model.compile(library.optimizers.SGD(0.1), loss)
    callback = tfprune.PruningCallback("magnitude", 0.0, teacher=settings)
    expected = Expected()
    logs = model.fit(
        x, y, sample_weight=weights, batch_size=len(x), verbose=0, callbacks=[callback, expected]
    ).history
    np.testing.assert_allclose(logs["loss"], [expected.loss], rtol=1e-5)
    np.testing.assert_allclose(logs["distillation"], [expected.soft], rtol=1e-5)


FORMS = [
    ("keras", {"jit_compile": True}),
    ("keras", {"steps_per_execution": 3}),
    ("tf_keras", {"steps_per_execution": 3}),
    ("tf_keras", {"run_eagerly": True}),
]


@pytest.fixture(scope="module")
def plain():
    """Logs of runs whose step is compiled as usual, by the name of the Keras."""
    return {family: trained(family, network(family))[1] for family in KERASES}


@pytest.mark.parametrize("family, settings", FORMS)
def test_every_form_of_the_step_computes_the_same(family, settings, plain):
    _, logs = trained(family, network(family), **settings)
    for name, values in plain[family].items():
        np.testing.assert_allclose(logs[name], values, rtol=1e-5, err_msg=name)
    np.testing.assert_allclose(plain["keras"]["loss"], plain["tf_keras"]["loss"], rtol=1e-5)


@everywhere
def test_a_loop_of_ones_own_as_fit(family):
    library, teacher = KERASES[family], network(family)
    settings = tfprune.Distillation(teacher, share=tfprune.Annealed(0.9, 0.1))
    fitted, _ = trained(family, settings)
    model, callback = cnn(family), tfprune.PruningCallback("magnitude", 0.6)
    optimizer = library.optimizers.SGD(0.05, momentum=0.9)
    optimizer.build(model.trainable_variables)
    loss = library.losses.SparseCategoricalCrossentropy(from_logits=True)
    callback.start(model, total_steps=2 * STEPS, teacher=settings)

    @tf.function
    def step(x, y):
        with tf.GradientTape() as tape:
            outputs = model(x, training=True)
            value = callback.distilled(x, outputs, loss(y, outputs))
        gradients = tape.gradient(value, model.trainable_variables)
        optimizer.apply_gradients(zip(gradients, model.trainable_variables))
        callback.settle()

    x, y = data()
    for _ in range(2):
        for begin in range(0, len(x), BATCH):
            step(tf.constant(x[begin : begin + BATCH]), tf.constant(y[begin : begin + BATCH]))
    callback.finish()
    for one, other in zip(model.get_weights(), fitted.get_weights()):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-6)


@everywhere
@pytest.mark.parametrize("loss", [False, True])
def test_without_labels_the_teacher_stands_alone(family, loss, eager):
    """As with labels and a share of 1, compiled with a loss or not."""
    library, teacher = KERASES[family], network(family)
    model = cnn(family)
    if loss:
        compiled(model, family, metrics=["accuracy"]).evaluate(*data(), verbose=0)
    else:
        model.compile(library.optimizers.SGD(0.05, momentum=0.9))
    callback = tfprune.PruningCallback("magnitude", 0.6, teacher=teacher)
    logs = model.fit(
        data()[0], batch_size=BATCH, epochs=2, verbose=0, shuffle=False, callbacks=[callback]
    ).history
    other, expected = trained(family, tfprune.Distillation(teacher, share=1.0))
    np.testing.assert_allclose(logs["loss"], expected["loss"], rtol=1e-6)
    for one, two in zip(model.get_weights(), other.get_weights()):
        np.testing.assert_array_equal(one, two)


@everywhere
def test_nothing_is_left_behind(family, tmp_path, eager):
    """Neither in the teacher, averages and random states included, nor in model or file; what is
    evaluated is the compiled loss."""
    teacher = network(family)
    before = [one.numpy() for one in teacher.variables]
    model, features = compiled(cnn(family), family), {"hidden": "hidden"}
    callback = tfprune.PruningCallback(
        "magnitude", 0.6, teacher=tfprune.Distillation(teacher, features=features)
    )
    weights = len(model.weights)
    logs = fit(model, callback, validation_data=data()).history
    for one in (model, *model.layers, *teacher.layers):
        left = {
            "compute_loss",
            "compute_metrics",
            "call",
            "train_step",
            "_validate_target_and_loss",
        }
        assert not left & set(vars(one))
    for one, value in zip(teacher.variables, before):
        np.testing.assert_array_equal(one.numpy(), value)
    assert logs["val_loss"][-1] == pytest.approx(model.evaluate(*data(), verbose=0), rel=1e-5)
    assert len(model.weights) == weights
    model.save(tmp_path / "model.keras")
    loaded = tfprune.load_model(tmp_path / "model.keras")
    assert len(loaded.weights) == weights


@everywhere
def test_a_falling_share_of_a_resumed_run_goes_on(family, eager):
    settings = tfprune.Distillation(network(family), share=tfprune.Annealed(0.9, 0.0))
    models = []
    for stops in ([2], [1, 2]):
        model, begin = compiled(cnn(family), family), 0
        for stop in stops:
            callback = tfprune.PruningCallback("magnitude", 0.6, teacher=settings)
            callback.total_steps = 2 * STEPS
            fit(model, callback, epochs=stop, initial_epoch=begin)
            begin = stop
        models.append(model)
    for one, other in zip(*(model.get_weights() for model in models)):
        np.testing.assert_array_equal(one, other)


@everywhere
def test_wrapped_models_learn_the_same(family, eager):
    teacher = network(family)
    model, callback = prepared(cnn(family), True, "magnitude", 0.6)
    callback.teacher = tfprune.Distillation(teacher)
    fit(compiled(model, family), callback)
    other, _ = trained(family, teacher)
    for one, two in zip(tfprune.strip_pruning(model).get_weights(), other.get_weights()):
        np.testing.assert_array_equal(one, two)


@everywhere
@pytest.mark.parametrize("aware", [False, True])
def test_a_teacher_alone_keeps_the_zeros(family, aware, eager):
    model = cnn(family)
    tfprune.sparsify(model, "magnitude", 0.5)
    kept = tfprune.report(model).kept
    dense = model.get_layer("hidden").get_weights()[0]
    if aware:
        model = tfprune.quantize_aware(model)
    callback = tfprune.PruningCallback(
        teacher=tfprune.Distillation(network(family), features={"hidden": "hidden"})
    )
    logs = fit(compiled(model, family), callback).history
    assert "distillation" in logs and callback.report.kept == kept
    plain = tfprune.strip_pruning(model)
    assert tfprune.report(plain).kept == kept
    assert (plain.get_layer("hidden").get_weights()[0] != dense).any()


@everywhere
def test_between_the_steps_of_shrink_to(family, eager):
    dense, seen = cnn(family), []

    def fine_tune(smaller):
        callback = tfprune.PruningCallback(teacher=dense)
        seen.append(fit(compiled(smaller, family), callback, epochs=1).history["distillation"])

    small, _ = tfprune.shrink_to(dense, tfprune.Budget(macs=0.5), steps=2, fine_tune=fine_tune)
    assert len(seen) == 1 and small.count_params() < dense.count_params()


def own_step(family, kind):
    """A subclassed model whose train_step is its author's."""
    library = KERASES[family]
    loss_of = library.losses.SparseCategoricalCrossentropy(from_logits=True)

    class Own(library.Model):
        def __init__(self):
            super().__init__()
            self.inner = cnn(family)

        def call(self, x, training=None):
            return self.inner(x, training=training)

        def train_step(self, batch):
            x, y = batch[:2]
            with tf.GradientTape() as tape:
                outputs = self(x, training=True)
                if kind == "keras":
                    loss = self.compute_loss(x=x, y=y, y_pred=outputs)
                elif kind == "no inputs":
                    loss = self.compute_loss(y=y, y_pred=outputs)
                else:
                    loss = loss_of(y, outputs)
            gradients = tape.gradient(loss, self.trainable_variables)
            self.optimizer.apply_gradients(zip(gradients, self.trainable_variables))
            return {"loss": loss}

    model = Own()
    model(data()[0])
    return model


@everywhere
def test_a_train_step_of_ones_own(family, eager):
    model, _ = trained(family, network(family), model=own_step(family, "keras"))
    other, _ = trained(family, network(family))
    for one, two in zip(model.get_weights(), other.get_weights()):
        np.testing.assert_allclose(one, two, rtol=1e-5, atol=1e-7)
    for kind, match in (("no inputs", "without x"), ("own loss", "cannot be heard|no teacher can")):
        model = own_step(family, kind)
        with pytest.raises(ValueError, match=match):
            trained(family, network(family), model=model)
        assert not {"compute_loss", "train_step"} & set(vars(model))


def test_beside_a_distiller(eager):
    """A student that is pruned as it is distilled, and a Distiller that has a teacher more."""
    teacher = network("keras", "linear")
    soft = keras.distillation.LogitsDistillation(temperature=2.0)
    for own in (None, network("keras", "linear", seed=11)):
        student = tfprune.prune(cnn("keras"), "magnitude", 0.6)
        distiller = keras.distillation.Distiller(teacher, student, soft)
        distiller.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
        callback = tfprune.PruningCallback(
            teacher=own and tfprune.Distillation(own, from_logits=True)
        )
        before = teacher.get_weights()
        logs = fit(distiller, callback).history
        assert ("distillation" in logs) == (own is not None)
        for one, value in zip(teacher.get_weights(), before):
            np.testing.assert_array_equal(one, value)
        assert callback.report.sparsity == pytest.approx(0.6, abs=0.01)


@everywhere
def test_a_model_that_the_first_step_builds(family, eager):
    layers = KERASES[family].layers
    hidden = layers.Dense(8, name="hidden")
    model = KERASES[family].Sequential([layers.Flatten(), hidden, layers.Dense(3)])
    teacher = tfprune.Distillation(network(family), features={"hidden": "hidden"})
    _, logs = trained(family, teacher, model=model)
    assert np.isfinite(logs["distillation"]).all() and logs["sparsity"][-1] > 0.55


@everywhere
def test_in_half_precision(family, eager):
    library = KERASES[family]
    policy = library.mixed_precision if family == "tf_keras" else library.config
    set_policy = getattr(policy, "set_global_policy", None) or policy.set_dtype_policy
    set_policy("mixed_float16")
    try:
        teacher, model = network(family), cnn(family)
    finally:
        set_policy("float32")
    _, logs = trained(family, teacher, model=model)
    _, expected = trained(family, network(family))
    np.testing.assert_allclose(logs["distillation"], expected["distillation"], rtol=0.02)


@everywhere
def test_single_labels(family, eager):
    """Sigmoids: the divergence of each entry, averaged."""
    library = KERASES[family]
    teacher, model = network(family, "sigmoid"), network(family, "sigmoid", seed=3, decay=0.0)
    x, y = data()
    taught = teacher.predict(x, verbose=0).astype("float64")
    model.compile(library.optimizers.SGD(0.0), "binary_crossentropy")
    callback = tfprune.PruningCallback(
        "magnitude", 0.0, teacher=tfprune.Distillation(teacher, temperature=1.0)
    )
    own = model(x, training=True).numpy().astype("float64")
    logs = model.fit(x, np.eye(3)[y], batch_size=24, verbose=0, callbacks=[callback]).history
    each = taught * np.log(taught / own) + (1 - taught) * np.log((1 - taught) / (1 - own))
    np.testing.assert_allclose(logs["distillation"], [each.mean()], rtol=1e-4)
