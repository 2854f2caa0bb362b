# SPDX-License-Identifier: Apache-2.0
"""Several callbacks prune in one run: each weight takes one, and all of them act."""

import numpy as np
import pytest
import tensorflow as tf
from tiny_models import KERASES, STEPS, cnn, compiled, examples, fit, zeros

import tfprune

everywhere = pytest.mark.parametrize("family", KERASES)
SITES = ["conv/kernel", "hidden/kernel", "logits/kernel"]


def only(layer, method="magnitude", sparsity=None, **settings):
    """A callback that prunes one layer of `cnn`."""
    dense = {name: 0.0 for name in ("conv", "hidden", "logits") if name != layer}
    return tfprune.PruningCallback(method, sparsity, allocation=tfprune.PerSite(dense), **settings)


def three(family):
    """One hides weights and acts around the step, one is measured on data, one has its own time."""
    return [
        only("conv", "spp", 0.5),
        only("hidden", "snip", 0.75, data=examples(family)),
        only("logits", schedule=tfprune.OneShot(0.25, at=4)),
    ]


def kept(model):
    return {name: int(mask.sum()) for name, mask in zeros(model).items()}


@everywhere
def test_all_act_and_all_give_the_report_of_the_run(family):
    reached = []
    for steps in (1, 2):
        model, callbacks = compiled(cnn(family), family, steps_per_execution=steps), three(family)
        history = fit(model, *callbacks)
        report = callbacks[0].report
        assert all(callback.report is report for callback in callbacks)
        assert [site.name for site in report.sites] == SITES and not report.skipped
        assert not report.warnings and "train_step" not in vars(model)
        assert [site.target for site in report.sites] == [0.5, 0.75, 0.25]
        assert [site.kept for site in report.sites] == [36, 128, 18]
        assert history.history["sparsity"][-1] == report.sparsity == tfprune.report(model).sparsity
        assert [callback.driver.finished for callback in callbacks] == 3 * [2 * STEPS]
        reached.append(model.get_weights())
    for one, other in zip(*reached):
        np.testing.assert_array_equal(one, other)


@everywhere
def test_weights_that_are_restored_between_them_are_masked_too(family):
    class Restore(KERASES[family].callbacks.Callback):
        def on_train_end(self, logs=None):
            self.model.set_weights(dense)

    model = compiled(cnn(family), family)
    dense = model.get_weights()
    callbacks = [only("conv", sparsity=0.5), only("hidden", sparsity=0.75)]
    fit(model, callbacks[0], Restore(), callbacks[1])
    assert kept(model) == {"conv/kernel": 36, "hidden/kernel": 128, "logits/kernel": 24}
    assert callbacks[0].report.sparsity == callbacks[1].report.sparsity == 1 - 188 / 608
    assert not callbacks[0].report.warnings and "train_step" not in vars(model)


def test_channels_that_are_left_dense_together_are_free_for_another():
    layers = KERASES["keras"].layers
    inputs = KERASES["keras"].Input((6, 6, 2))
    x = layers.Dense(8, name="wide")(layers.Flatten()(inputs))
    x = layers.Add()([layers.Dense(4, name="one")(x), layers.Dense(4, name="two")(x)])
    model = KERASES["keras"].Model(inputs, layers.Dense(3, name="out")(x))

    def coupled(name):
        return tfprune.PruningCallback(
            "magnitude",
            0.5,
            structure=tfprune.Filter(coupled=True),
            allocation=tfprune.PerSite({name: 0.0}),
        )

    text = r"filters of 'two' are chosen with those of one/kernel, two/kernel.*name the .* 'one'"
    with pytest.raises(ValueError, match=text):
        coupled("two").start(model, total_steps=4)
    others = tfprune.PerSite({name: 0.0 for name in ("wide", "one", "out")})
    fit(
        compiled(model, "keras"),
        coupled("one"),
        tfprune.PruningCallback("magnitude", 0.5, allocation=others),
    )
    assert kept(model) == {"wide/kernel": 288, "one/kernel": 32, "two/kernel": 16, "out/kernel": 12}
    exact = tfprune.PruningCallback("magnitude", structure=tfprune.NofM(2, 4))
    with pytest.raises(ValueError, match=r"wrap the layers of NofM.* with tfprune.prune and pass"):
        fit(model, exact, only("wide", sparsity=0.5))


@everywhere
@pytest.mark.parametrize("first", ["wrapped", "method"])
def test_the_wrapped_layers_and_beside_them_the_others(family, first):
    def wrap(layer):
        return tfprune.prune(layer, "magnitude", 0.75) if layer.name == "hidden" else layer

    model = KERASES[family].models.clone_model(cnn(family), clone_function=wrap)
    callbacks = [tfprune.PruningCallback(), tfprune.PruningCallback("dpf", 0.5)]
    fit(compiled(model, family), *callbacks[:: 1 if first == "wrapped" else -1])
    assert kept(tfprune.strip_pruning(model)) == {
        "conv/kernel": 36,
        "hidden/kernel": 128,
        "logits/kernel": 12,
    }
    with pytest.raises(ValueError, match="wrapped for pruning already"):
        fit(model, callbacks[1])
    with pytest.raises(ValueError, match="prune the same weights: hidden/kernel"):
        fit(model, callbacks[0], tfprune.PruningCallback())
    assert "train_step" not in vars(model)


@everywhere
@pytest.mark.parametrize("built", [True, False])
def test_one_weight_takes_one(family, built):
    library = KERASES[family]
    layers = [
        library.layers.Flatten(),
        library.layers.Dense(4, name="a"),
        library.layers.Dense(3, name="b"),
    ]
    model = library.Sequential(layers)
    if built:
        model.build((None, 6, 6, 2))
    before = [weight.copy() for weight in model.get_weights()] if built else []
    callbacks = [
        tfprune.PruningCallback("magnitude", schedule=tfprune.OneShot(0.5)),
        tfprune.PruningCallback("dpf", 0.5, allocation=tfprune.PerSite({"a": 0.0})),
    ]
    text = (
        r"PruningCallback\('magnitude'\) and PruningCallback\('dpf'\) of this fit prune the "
        r"same weights: b/kernel.*PerSite\({'b': 0.0}\)"
    )
    with pytest.raises(ValueError, match=text):
        fit(compiled(model, family), *callbacks)
    assert "train_step" not in vars(model)
    for weight, old in zip(model.get_weights() if built else [], before):
        np.testing.assert_array_equal(weight, old)
    fit(compiled(model, family), callbacks[0])
    assert callbacks[0].report.sparsity == 0.5


@everywhere
def test_after_an_interrupt_the_next_run_takes_over(family):
    library = KERASES[family]

    class Interrupt(library.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            raise KeyboardInterrupt

    model = compiled(cnn(family), family)
    with pytest.raises(KeyboardInterrupt):
        fit(model, *three(family), Interrupt())
    callback = tfprune.PruningCallback("magnitude", schedule=tfprune.OneShot(0.5, at=2))
    fit(model, callback)
    assert "train_step" not in vars(model)
    assert [site.kept for site in callback.report.sites] == [36, 256, 12]


@everywhere
def test_callbacks_that_cannot_see_each_other_are_refused(family):
    class Holder(KERASES[family].callbacks.Callback):
        def __init__(self, held):
            super().__init__()
            self.held = held

        def on_train_begin(self, logs=None):
            self.held.set_model(self.model)
            self.held.set_params(self.params)
            self.held.on_train_begin(logs)

        def on_epoch_begin(self, epoch, logs=None):
            self.held.on_epoch_begin(epoch, logs)

    model = compiled(cnn(family), family)
    with pytest.raises(ValueError, match=r"pass both themselves, .*callbacks=\[first, second\]"):
        fit(model, only("conv", sparsity=0.5), Holder(only("hidden", sparsity=0.5)))
    assert "train_step" not in vars(model)


@pytest.mark.parametrize(
    "others, text",
    [
        (lambda: only("hidden", "dpf", 0.5), None),
        (
            lambda: tfprune.PruningCallback("magnitude", 0.5),
            r"no longer prunes conv/kernel: another PruningCallback .*PerSite\({'conv': 0.0}",
        ),
        (lambda: only("hidden", "dpp", 0.5), "another PruningCallback has taken its place there"),
    ],
    ids=["disjoint", "overlapping", "two around the optimizer"],
)
def test_a_loop_of_the_users_own(others, text):
    model = compiled(cnn("keras"), "keras")
    callbacks = [only("conv", "spp", 0.5), others()]
    inputs, labels = examples("keras").source
    for callback in callbacks:
        callback.start(model, total_steps=4)

    def loop():
        for _ in range(4):
            for callback in callbacks:
                callback.open()
            with tf.GradientTape() as tape:
                loss = model.compute_loss(y=labels, y_pred=model(inputs, training=True))
            gradients = tape.gradient(loss, model.trainable_variables)
            model.optimizer.apply_gradients(zip(gradients, model.trainable_variables))
            for callback in callbacks:
                callback.settle()

    if text is not None:
        with pytest.raises(ValueError, match=text):
            loop()
        return
    loop()
    for callback in callbacks:
        callback.finish()
    assert kept(model) == {"conv/kernel": 36, "hidden/kernel": 256, "logits/kernel": 24}
