# SPDX-License-Identifier: Apache-2.0
"""Every method whose gate acts on the optimizer's updates, in both Kerases."""

import numpy as np
import pytest
import tf_keras
from tiny_models import (
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
    with_weights,
)

import tfprune
from tfprune.methods import REGISTRY

ACTING = [name for name, method in REGISTRY.items() if method.gate.acts]
SPARSITY = 0.6
SCHEDULE = tfprune.Polynomial(SPARSITY, end=1.0, frequency=2)
everywhere = pytest.mark.parametrize("family", KERASES)
# One method that does all that a gate can do in both Kerases, of the others one for each kind of
# gate in one.
OTHERS = {type(REGISTRY[name].gate): name for name in ACTING if name != "spp"}.values()
each = pytest.mark.parametrize(
    "family, name",
    [*((family, "spp") for family in KERASES), *(("keras", name) for name in OTHERS)],
)


def method(name):
    structure = REGISTRY[name].rule.structure
    changes = {"structure": tfprune.Element()} if structure.fixed or structure.balanced else {}
    return tfprune.get_method(name, schedule=SCHEDULE, **changes)


def test_there_are_some():
    assert {"srste", "spp"} <= set(ACTING)


@everywhere
def test_half_precision_compiled_in_several_steps(family, name="spp"):
    library = KERASES[family]
    policy = (
        library.mixed_precision.global_policy()
        if family == "tf_keras"
        else library.mixed_precision.dtype_policy()
    )
    library.mixed_precision.set_global_policy("mixed_float16")
    try:
        model, callback = cnn(family), tfprune.PruningCallback(method(name), data=examples(family))
        compiled(model, family, jit_compile=True, steps_per_execution=STEPS)
        fit(model, callback)
    finally:
        library.mixed_precision.set_global_policy(policy)
    check_run(callback, SPARSITY)
    assert all(np.isfinite(weight).all() for weight in model.get_weights())


@pytest.mark.filterwarnings(
    "ignore:The pruning schedule .* is cut short", "ignore:Nothing was pruned in"
)
@each
def test_a_saved_model_goes_on_where_it_stopped(family, name, tmp_path):
    path = tmp_path / "half.keras"

    class Saving(KERASES[family].callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            if epoch == 0:
                self.model.save(path)
                self.saved = self.model.get_weights()

    def wrapped():
        model = tfprune.prune(cnn(family), method(name))
        optimizer = KERASES[family].optimizers.Adam(0.01)
        return compiled(model, family, optimizer), tfprune.PruningCallback(data=examples(family))

    saving = Saving()
    whole, callback = wrapped()
    fit(whole, callback, saving, epochs=2)
    if (family, name) == ("keras", "spp"):  # a run that has ended leaves no less than one under way
        half, stopping = wrapped()
        stopping.total_steps = 2 * STEPS
        fit(half, stopping, epochs=1)
        half.save(path)
        saving.saved = half.get_weights()
    again = tfprune.load_model(path)
    for one, other in zip(saving.saved, again.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)
    going_on = tfprune.PruningCallback(data=examples(family))
    fit(again, going_on, epochs=2, initial_epoch=1)
    for one, other in zip(masks(callback).values(), masks(going_on).values()):
        np.testing.assert_array_equal(one, other)
    for one, other in zip(callback.driver.targets, going_on.driver.targets):
        np.testing.assert_allclose(arrays(one)[0], arrays(other)[0], atol=1e-6)


@everywhere
def test_a_model_without_an_optimizer(family):
    callback = tfprune.PruningCallback("spp", 0.5)
    callback.start(cnn(family), total_steps=10)
    with pytest.raises(ValueError, match="has no optimizer: compile it first"):
        callback.open()


def test_a_legacy_optimizer():
    model = compiled(cnn("tf_keras"), "tf_keras", tf_keras.optimizers.legacy.SGD(0.1))
    with pytest.raises(TypeError, match="use tf_keras.optimizers.SGD"):
        fit(model, tfprune.PruningCallback("spp", 0.5))


@everywhere
def test_a_step_without_the_compiled_optimizer(family):
    library = KERASES[family]

    class Own(library.Model):
        def train_step(self, pair):
            return {"loss": 0.0}

    base = cnn(family)
    model = compiled(Own(base.inputs, base.outputs), family)
    with pytest.raises(ValueError, match="made none with the optimizer"):
        fit(model, tfprune.PruningCallback("spp", 0.5))


@everywhere
def test_an_interrupted_run_leaves_nothing_in_the_optimizer(family):
    class Stop(Exception):
        pass

    class Stopping(KERASES[family].callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            raise Stop

    model = compiled(cnn(family), family)
    with pytest.raises(Stop):
        fit(model, tfprune.PruningCallback("spp", 0.5), Stopping())
    fit(model, tfprune.PruningCallback("magnitude", SPARSITY))
    assert "update_step" not in vars(model.optimizer)


@everywhere
def test_a_model_that_is_not_built(family):
    library = KERASES[family]
    model = library.Sequential([library.layers.Flatten(), library.layers.Dense(3)])
    callback = tfprune.PruningCallback("spp", 0.5)
    if family == "keras":
        fit(compiled(model, family), callback, epochs=1)
        assert callback.report.sites
    else:
        with pytest.raises(ValueError, match="not built: call it on a batch before"):
            fit(compiled(model, family), callback, epochs=1)


def loop(family, optimizer, steps, change):
    """Training steps with one Dense kernel whose gradient is `change`d, without the library."""
    import tensorflow as tf

    inputs, labels = data((4,))
    library = KERASES[family]
    model = library.Sequential([library.Input((4,)), library.layers.Dense(3, use_bias=False)])
    weight = np.random.default_rng(7).normal(size=(4, 3)).astype("float32")
    kernel = tf.Variable(weight)
    optimizer.build([kernel])
    loss = library.losses.SparseCategoricalCrossentropy(from_logits=True)
    for step in range(steps):
        at = slice((step % STEPS) * BATCH, (step % STEPS + 1) * BATCH)
        mask = change.mask(kernel.numpy())
        with tf.GradientTape() as tape:
            seen = tf.Variable(kernel * mask)
            tape.watch(seen)
            value = loss(labels[at], tf.matmul(inputs[at], seen))
        gradient = tape.gradient(value, seen) + change.rate * (1 - mask) * kernel
        optimizer.apply_gradients([(gradient, kernel)])
    model.set_weights([weight])
    return model, kernel.numpy(), change.mask(kernel.numpy())


class TwoOfFour:
    rate = 0.05

    @staticmethod
    def mask(weight):
        order = np.argsort(-np.abs(weight), axis=0, kind="stable")
        mask = np.zeros_like(weight)
        np.put_along_axis(mask, order[:2], 1, axis=0)
        return mask


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
@pytest.mark.parametrize("wrap", [False, True], ids=["callback", "wrapped"])
@everywhere
def test_srste_is_an_independent_loop(family, wrap, optimizer):
    optimizers = KERASES[family].optimizers

    def make():
        return optimizers.SGD(0.1, momentum=0.9) if optimizer == "sgd" else optimizers.Adam(0.05)

    model, weight, mask = loop(family, make(), 2 * STEPS, TwoOfFour)
    chosen = tfprune.get_method(
        "srste",
        gate=tfprune.WeightDecayGate(TwoOfFour.rate),
        schedule=tfprune.Constant(0.5, frequency=1),
    )
    callback = tfprune.PruningCallback() if wrap else tfprune.PruningCallback(chosen)
    if wrap:
        model = tfprune.prune(model, chosen)
    fit(compiled(model, family, make()), callback, shape=(4,))
    kernel, kept, hidden = arrays(callback.driver.targets[0])
    np.testing.assert_array_equal(kept, mask != 0)
    np.testing.assert_allclose(kernel, weight * mask, atol=2e-6)
    np.testing.assert_allclose(hidden, weight * (1 - mask), atol=2e-6)


def test_srste_gradient_by_hand():
    from tfprune.methods.gates import Moment

    weight, kept = np.array([0.4, -0.1, 0.3, 0.05]), np.array([True, False, True, False])
    now = Moment(None, None, weight, kept, {}, 0)
    gradient, changes = tfprune.WeightDecayGate(2e-4).learn(now, np.array([0.1, 0.2, -0.1, 0.3]))
    np.testing.assert_allclose(gradient, [0.1, 0.19998, -0.1, 0.30001], rtol=1e-12)
    assert changes == {}


@pytest.mark.filterwarnings(
    "ignore:The pruning schedule .* never fires", "ignore:Nothing was pruned in"
)
@pytest.mark.parametrize("optimizer", ["SGD", "Adam", "AdamW"])
@everywhere
def test_what_spp_leaves_out_of_a_step_comes_out_unchanged(family, optimizer):
    optimizers = KERASES[family].optimizers
    made = (
        optimizers.SGD(0.1, momentum=0.9)
        if optimizer == "SGD"
        else getattr(optimizers, optimizer)(0.05)
    )
    layers = KERASES[family].layers
    # Draws go by names. Were all of the last layer's filters left out, nothing would be learned.
    model = KERASES[family].Sequential(
        [
            KERASES[family].Input((6, 6, 2)),
            layers.Flatten(),
            layers.Dense(8, name="hidden"),
            layers.Dense(16, name="last"),
        ]
    )
    compiled(with_weights(model), family, made)
    made.build(model.trainable_variables)
    # Chances of 1/2 for all groups, and no update of them.
    spp = tfprune.get_method(
        "spp", structure=tfprune.Filter(), schedule=tfprune.Constant(0.5, begin=10**6, frequency=1)
    )
    callback = tfprune.PruningCallback(spp)
    seen = []

    class Watch(KERASES[family].callbacks.Callback):
        def on_train_batch_begin(self, batch, logs=None):
            for target in callback.driver.targets:
                chance = target.state["chance"]
                chance.assign(np.full(chance.shape, 0.5, np.float32))
            self.before = self.values()

        def values(self):
            home, optimizer = callback.driver.adapter, model.optimizer
            return [
                [one.numpy() for one in (target.kernel, *home.momenta(optimizer, target.kernel))]
                for target in callback.driver.targets
            ]

        def on_train_batch_end(self, batch, logs=None):
            for before, after in zip(self.before, self.values()):
                moved = np.stack([one != other for one, other in zip(before, after)])
                filters = moved.any(axis=1)
                # The kernel and its momenta move together, and whole filters at once.
                assert (filters == filters[0]).all() and (moved.mean(axis=1)[filters] > 0.9).all()
                seen.extend(filters[0])

    watch = Watch()
    fit(model, callback, watch, epochs=8)
    assert len(watch.before[0]) == (2 if optimizer == "SGD" else 3)
    share, count = np.mean(seen), len(seen)
    assert abs(share - 0.5) < 4 * 0.5 / np.sqrt(count), (share, count)


# A soft threshold t = .1: s = (0, .4, .8), .4 -> .34 -> .304 -> .2824, .8 -> .86 -> .917 -> .97115
@pytest.mark.parametrize(
    "gate, kernel_then, dense_then",
    [
        (tfprune.MaskGate(True), [0, 0.304, 1.0568875], [0.4, 0.304, 1.0568875]),
        (tfprune.MaskGate(False), [0, 0.304, 1.0568875], [0, 0.304, 1.0568875]),
        (tfprune.SoftThresholdGate(), [0, 0.2824, 0.97115], [0.4, 0.3824, 1.07115]),
    ],
    ids=["straight", "lost", "soft"],
)
def test_three_steps_by_hand(gate, kernel_then, dense_then):
    """A = diag(1, 4, .5), b = 1, w = (.1, .5, .9), m = (0, 1, 1): three steps of w -= lr g(s),
    s = m w or the soft threshold of w."""
    import keras
    import tensorflow as tf

    curvature = tf.constant([[1.0], [4.0], [0.5]])
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(1, use_bias=False)])
    model.set_weights([np.array([[0.1], [0.5], [0.9]], np.float32)])
    model.compile(keras.optimizers.SGD(0.1), lambda _, y: 3 * (curvature * y * y / 2 - y))
    callback = tfprune.PruningCallback(
        tfprune.get_method("dpf", gate=gate, schedule=tfprune.OneShot(1 / 3))
    )
    model.fit(
        np.eye(3),
        np.zeros((3, 1)),
        batch_size=3,
        epochs=3,
        verbose=0,
        shuffle=False,
        callbacks=[callback],
    )
    kernel, mask, hidden = arrays(callback.driver.targets[0])
    assert mask.ravel().tolist() == [False, True, True]
    np.testing.assert_allclose(kernel.ravel(), kernel_then, rtol=1e-6)
    np.testing.assert_allclose((kernel + hidden).ravel(), dense_then, rtol=1e-6)


@pytest.mark.filterwarnings(
    "ignore:The pruning schedule .* never fires", "ignore:Nothing was pruned in"
)
@everywhere
def test_weights_that_are_not_finite_end_a_run_whose_loss_is(family):
    library = KERASES[family]
    layers = library.layers
    model = library.Sequential(
        [library.Input((2,)), layers.Dense(4, activation="relu"), layers.Dense(1)]
    )
    model.compile(library.optimizers.SGD(0.1), "mse")
    before = model.get_weights()
    data = np.ones((8, 2), np.float32)
    data[5] = np.nan

    class Last(library.callbacks.Callback):
        """ReLU may or may not turn NaN into 0: the loss that Keras gives is replaced."""

        def on_epoch_end(self, epoch, logs=None):
            logs["loss"] = 1.0

    callback = tfprune.PruningCallback("dpf", schedule=tfprune.Constant(0.5, begin=0.9))
    with pytest.warns(UserWarning, match="not finite, though the loss is: the run diverged and"):
        history = model.fit(
            data, np.ones((8, 1)), batch_size=4, epochs=3, verbose=0, callbacks=[Last(), callback]
        )
    assert len(history.epoch) == 1
    for one, other in zip(before, model.get_weights()):
        np.testing.assert_array_equal(one, other)


@pytest.mark.filterwarnings(
    "ignore:The pruning schedule .* never fires", "ignore:Nothing was pruned in"
)
@everywhere
@pytest.mark.parametrize("method", ["spp", "dpf"])
def test_a_run_that_diverges_is_stopped_and_gets_its_last_good_weights_back(family, method):
    model = compiled(cnn(family), family, KERASES[family].optimizers.SGD(1e30))
    before = model.get_weights()
    callback = tfprune.PruningCallback(method, schedule=tfprune.Constant(0.5, begin=0.9))
    with pytest.warns(UserWarning, match="diverged and was stopped, .* weights of the beginning"):
        history = fit(model, callback, epochs=4)
    assert len(history.epoch) == 1
    for one, other in zip(before, model.get_weights()):
        np.testing.assert_array_equal(one, other)
