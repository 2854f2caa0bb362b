# SPDX-License-Identifier: Apache-2.0
"""A run that was stopped, saved, loaded and gone on with ends as the one without a break: every
method, both Kerases, wrapped, bit for bit. What it ends with is what was asked for."""

import zlib

import numpy as np
import pytest
import tensorflow as tf
from tiny_models import (
    ASKED,
    BATCH,
    KERASES,
    STEPS,
    check_run,
    cnn,
    compiled,
    data,
    fit,
    masks,
    zeros,
)

import tfprune
from tfprune.backend import adapter_of
from tfprune.methods import REGISTRY
from tfprune.methods.gates import Gate
from tfprune.reconstruction import ADMM, SyntheticInputs

SPARSITY, EPOCHS = 0.6, 3


@pytest.fixture(autouse=True)
def eager():
    """Without tracing, which would take nearly all of the time."""
    tf.config.run_functions_eagerly(True)
    yield
    tf.config.run_functions_eagerly(False)


def asked(name, stop):
    """The method, with updates at the step where the run is stopped and at the last one, and where
    the scores cost nothing on the way, too; of single weights where its own structure would fix or
    round the sparsity."""
    rule, changes = tfprune.get_method(name).rule, {}
    if rule.structure.fixed is not None or rule.structure.balanced:
        changes["structure"] = tfprune.Element()
    if name == "admm":
        changes["solver"] = ADMM(2, 3, refit=1, inputs=SyntheticInputs("normal", batch=8))
    begin, frequency = (stop * STEPS, 100) if rule.is_measured else (0, 2)
    return tfprune.get_method(
        name,
        rounds=min(rule.rounds, 2),
        **changes,
        schedule=tfprune.Polynomial(
            SPARSITY, initial=0.3 if begin else 0.0, begin=begin, end=1.0, frequency=frequency
        ),
    )


def pruning():
    """The callback, with data of which each measurement takes the next two of three batches."""
    return tfprune.PruningCallback(
        data=tfprune.CalibrationData(data(), batch_size=BATCH, batches=2)
    )


def held(model):
    """{name: value} of all that a model and its optimizer hold."""
    home, found = adapter_of(model), {}
    optimizer = model.optimizer.variables
    for variable in [*model.weights, *(optimizer() if callable(optimizer) else optimizer)]:
        name = getattr(variable, "path", variable.name)
        found[f"{len(found)} {name}"] = home.raw(variable).numpy()
    return found


@pytest.mark.filterwarnings(
    "ignore:The pruning schedule .* is cut short", "ignore:Nothing was pruned in"
)
@pytest.mark.parametrize("name", REGISTRY)
@pytest.mark.parametrize("family", KERASES)
def test_a_resumed_run_ends_as_the_uninterrupted_one(family, name, tmp_path):
    stop = 1 + zlib.crc32(f"{family} {name}".encode()) % (EPOCHS - 1)
    path = tmp_path / "stopped.keras"

    class Save(KERASES[family].callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            if epoch + 1 == stop:
                self.model.save(path)

    dense = cnn(family)
    model = tfprune.prune(dense, asked(name, stop) if name in ASKED else name)
    np.testing.assert_allclose(model(data()[0]), dense(data()[0]), rtol=1e-4)
    callback = pruning()
    compiled(model, family, KERASES[family].optimizers.Adam(0.01))
    fit(model, Save(), callback, epochs=EPOCHS)

    resumed = tfprune.load_model(path)
    again = pruning()  # a run that ends before its first step changes nothing
    again.start(resumed, total_steps=EPOCHS * STEPS, steps_per_epoch=STEPS)
    again.finish()
    begun = held(resumed)
    fit(resumed, pruning(), epochs=EPOCHS, initial_epoch=stop)
    expected, found = held(model), held(resumed)
    assert len(expected) == len(found) == len(begun)
    same = {
        one: value.tobytes() == other.tobytes()
        for (one, value), other in zip(expected.items(), found.values())
    }
    assert all(same.values()), f"{[one for one in same if not same[one]]} after epoch {stop}"
    assert any(
        one.tobytes() != other.tobytes() for one, other in zip(begun.values(), found.values())
    )
    assert callback.driver.finished == EPOCHS * STEPS
    if name in ASKED:
        check_run(callback, SPARSITY)
        chosen = masks(callback)
        for row in tfprune.report(model).sites:
            assert row.target == pytest.approx(1 - np.mean(chosen.get(row.name, 1.0)))
        check_stripped(name, dense, model, chosen)


def check_stripped(name, dense, model, chosen):
    """The stripped model predicts the same, and has zeros where masks say so and nowhere else, but
    for what a rule takes away, and what a gate has let in at zero and has not learned since."""
    stripped, inputs = tfprune.strip_pruning(model), data()[0]
    assert [layer.name for layer in stripped.layers] == [layer.name for layer in dense.layers]
    np.testing.assert_array_equal(stripped(inputs), model(inputs))
    method = tfprune.get_method(name)
    for site, weights in zeros(stripped).items():
        mask = chosen.get(site, np.full(weights.shape, True))
        assert not (weights & ~mask).any()
        if not method.rule.changes and type(method.gate).fresh is Gate.fresh:
            np.testing.assert_array_equal(weights, mask)
