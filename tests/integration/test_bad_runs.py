# SPDX-License-Identifier: Apache-2.0
"""Bad weights and bad runs: what was wrong is said, and nothing is lost."""

import numpy as np
import pytest
import tensorflow as tf
from tiny_models import (
    KERASES,
    cnn,
    compiled,
    data,
    fit,
    masks,
    prepared,
    said,
    with_weights,
    zeros,
)

import tfprune

everywhere = pytest.mark.parametrize("family", KERASES)
ways = pytest.mark.parametrize("wrap", [False, True], ids=["callback", "wrapped"])


@everywhere
@pytest.mark.parametrize("value", [0.0, 0.25])
@pytest.mark.parametrize(
    "structure", [tfprune.Element(), tfprune.Block(2, 3), tfprune.Filter()], ids=repr
)
def test_equal_weights_keep_exact_counts(family, value, structure):
    model = cnn(family)
    model.set_weights([np.full_like(weight, value) for weight in model.get_weights()])
    callback = tfprune.PruningCallback(
        "magnitude", structure=structure, schedule=tfprune.OneShot(0.6)
    )
    callback.start(model)
    for target in callback.driver.targets:
        groups = structure.reduce(target.mask.numpy().astype("float64"), target.site.layout) == 1
        keep = max(1, round(groups.size * 0.4))
        assert groups.sum() == keep
        assert groups[:keep].all(), "ties go to the lower index"


@everywhere
@ways
def test_nan_weights_are_said_and_nothing_is_lost(family, wrap):
    base = cnn(family)
    weights = base.get_weights()
    weights[2][:, 0] = np.nan
    base.set_weights(weights)
    model, callback = prepared(base, wrap, schedule=tfprune.OneShot(0.5))
    compiled(model, family, KERASES[family].optimizers.SGD(0.0))
    texts = said(lambda: fit(model, callback))
    assert any("hidden/kernel holds NaN" in text for text in texts)
    assert any("hidden/kernel holds NaN" in text for text in callback.report.warnings)
    for name, mask in masks(callback).items():
        assert mask.sum() == round(mask.size / 2), name
    assert not masks(callback)["hidden/kernel"][:, 0].any()  # the first to go


@everywhere
def test_a_wrapped_model_without_the_callback(family):
    model = compiled(tfprune.prune(cnn(family), "magnitude", 0.5), family)
    error = RuntimeError if family == "keras" else tf.errors.InvalidArgumentError
    says = r"but nothing prunes it.*start\(model\) before, settle\(\) after.*, and finish\(\)"
    with pytest.raises(error, match=says):
        fit(model)
    inputs, labels = data()
    model.evaluate(inputs, labels, verbose=0)
    model.predict(inputs, verbose=0)
    fit(model, tfprune.PruningCallback())
    # In tf_keras the layers themselves go on, as TF-MOT's do, if their schedule is in steps.
    again = "wrapped for pruning, but nothing prunes it" if family == "keras" else "total_steps"
    with pytest.raises(error, match=again):
        fit(model)


@everywhere
@ways
def test_an_interrupt_in_the_middle_of_fit(family, wrap):
    library = KERASES[family]

    class Interrupt(library.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            if self.model.optimizer.iterations == 4:
                raise KeyboardInterrupt

    schedule = tfprune.Polynomial(0.5, end=1.0, frequency=1)
    model, callback = prepared(cnn(family), wrap, schedule=schedule)
    compiled(model, family)
    with pytest.raises(KeyboardInterrupt):
        fit(model, callback, Interrupt())
    for target in callback.driver.targets:
        kernel, mask = target.kernel.numpy(), target.mask.numpy()
        assert 0 < (mask == 0).mean() <= 0.5 and not kernel[mask == 0].any()
    assert 0 < 1 - np.mean(np.concatenate([m.ravel() for m in masks(callback).values()])) < 0.5
    inputs = data()[0]
    assert np.isfinite(model.predict(inputs, verbose=0)).all()
    stripped = tfprune.strip_pruning(model)
    for name, mask in zeros(stripped).items():
        np.testing.assert_array_equal(mask, masks(callback)[name])

    again = callback if wrap else tfprune.PruningCallback("magnitude", schedule=schedule)
    compiled(model, family)
    fit(model, again)
    assert "train_step" not in vars(model)
    assert again.report.sparsity == pytest.approx(0.5, abs=0.02)
    if not wrap:
        fit(model)  # without the callback nothing is pruned any more
        assert tfprune.report(model).sparsity < 0.25


@everywhere
@ways
def test_callbacks_that_bring_back_dense_weights(family, wrap, tmp_path):
    callbacks = KERASES[family].callbacks
    stop = callbacks.EarlyStopping(monitor="loss", restore_best_weights=True)
    best = callbacks.ModelCheckpoint(
        str(tmp_path / "best.keras"), save_best_only=True, monitor="loss"
    )
    model, callback = prepared(cnn(family), wrap, schedule=tfprune.OneShot(0.5, at=2))
    # Before the others or behind them: each in both Kerases, and of both kinds.
    listed = [callback, stop, best] if wrap == (family == "keras") else [stop, best, callback]
    compiled(model, family)
    texts = said(lambda: fit(model, *listed))
    assert sum("EarlyStopping(restore_best_weights=True)" in text for text in texts) == 1
    assert sum("ModelCheckpoint(save_best_only=True)" in text for text in texts) == 1
    harmless = said(
        lambda: fit(
            model,
            callback,
            callbacks.EarlyStopping(monitor="loss"),
            callbacks.ModelCheckpoint(str(tmp_path / "all.keras")),
        )
    )
    assert not harmless


@everywhere
def test_wrapping_inside_a_built_subclassed_model(family):
    library = KERASES[family]

    class Own(library.Model):
        def __init__(self):
            super().__init__()
            self.flat = library.layers.Flatten()
            self.blocks = [library.layers.Dense(8), library.layers.Dense(3)]

        def call(self, inputs):
            hidden = self.flat(inputs)
            for block in self.blocks:
                hidden = block(hidden)
            return hidden

    model = Own()
    model(np.zeros((1, 6, 6, 2), "float32"))
    with_weights(model)
    wrapped = tfprune.prune(model.blocks[0], "magnitude", 0.5)
    if family == "keras":
        with pytest.raises(ValueError, match="cannot add new elements of state"):
            model.extra = wrapped
    model.blocks[0] = wrapped
    compiled(model, family)
    callback = tfprune.PruningCallback()
    if family == "keras":  # the list takes it, but its masks would not be saved
        text = r"No layer .* is wrapped.*PruningCallback\('magnitude'.*__init__"
        with pytest.raises(ValueError, match=text):
            fit(model, callback)
    else:
        fit(model, callback)
        assert callback.report.sparsity == 0.5
