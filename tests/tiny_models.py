# SPDX-License-Identifier: Apache-2.0
"""Tiny models of both Kerases, tiny data, and what must hold after every pruned run."""

import dataclasses
import warnings

import keras
import numpy as np
import tensorflow as tf
import tf_keras

import tfprune
from tfprune.methods import REGISTRY

KERASES = {"keras": keras, "tf_keras": tf_keras}
STEPS = 3  # in one epoch of `data`
BATCH = 8
# The methods that are asked for a sparsity; gates that stand in the model find their own.
ASKED = [name for name, method in REGISTRY.items() if not method.gate.asks]


def data(shape=(6, 6, 2), classes=3):
    """(inputs, labels) for `STEPS` steps of `BATCH` examples."""
    generator = np.random.default_rng(3)
    inputs = generator.normal(size=(STEPS * BATCH, *shape)).astype("float32")
    return inputs, generator.integers(0, classes, STEPS * BATCH)


def cnn(family):
    """Convolution and two Dense layers; equal weights at every call and in both Kerases."""
    library = KERASES[family]
    layers = library.layers
    inputs = library.Input((6, 6, 2), name="image")
    x = layers.Conv2D(4, 3, activation="relu", name="conv")(inputs)
    x = layers.Dense(8, activation="relu", name="hidden")(layers.Flatten()(x))
    outputs = layers.Dense(3, dtype="float32", name="logits")(x)
    return with_weights(library.Model(inputs, outputs))


def with_weights(model, seed=5):
    """Give a model random weights that depend on nothing but their shapes and order."""
    generator = np.random.default_rng(seed)
    model.set_weights(
        [generator.normal(size=w.shape).astype(w.dtype) * 0.3 for w in model.get_weights()]
    )
    return model


def compiled(model, family, optimizer=None, **settings):
    library = KERASES[family]
    loss = library.losses.SparseCategoricalCrossentropy(from_logits=True)
    optimizer = optimizer or library.optimizers.SGD(0.05, momentum=0.9)
    model.compile(optimizer, loss, **settings)
    return model


def fit(model, *callbacks, epochs=2, shape=(6, 6, 2), **settings):
    """Train on `data` in the same order every time."""
    inputs, labels = data(shape)
    return model.fit(
        inputs,
        labels,
        batch_size=BATCH,
        epochs=epochs,
        shuffle=False,
        verbose=0,
        callbacks=list(callbacks),
        **settings,
    )


def arrays(target):
    """(kernel, mask as bool, hidden or zeros) of a settle target."""
    kernel = target.kernel.numpy()
    hidden = np.zeros_like(kernel) if target.hidden is None else target.hidden.numpy()
    return kernel, target.mask.numpy() != 0, hidden


def masks(callback):
    """{site name: bool mask} of a callback's run."""
    return {target.site.name: arrays(target)[1] for target in callback.driver.targets}


def zeros(model):
    """{site name: True where the weight is not zero}, whatever was pruned and how."""
    from tfprune.backend import view

    return {item.site.name: item.variable.numpy() != 0 for item in view(model).sites}


def check_run(callback, sparsity):
    """Exact counts of whole groups, nothing outside the masks, and NumPy's choice where dense
    weights are kept.

    With a straight-through gate and a last update on the last step, kernel + hidden are the
    weights from which that update chose.
    """
    assert callback.driver.targets
    for settle in callback.driver.settles:
        groups = [_groups(settle.method.rule.structure, target) for target in settle.targets]
        kept = sum(int(one.sum()) for one in groups)
        size = sum(one.size for one in groups)
        assert abs(kept - size * (1 - sparsity)) <= len(settle.targets) / 2
        sites = [target.site for target in settle.targets]
        weights = []
        for target, whole in zip(settle.targets, groups):
            kernel, mask, hidden = arrays(target)
            assert not kernel[~mask].any(), f"{target.site.name}: weights outside the mask"
            soft = isinstance(
                settle.method.gate, tfprune.SoftThresholdGate
            )  # keeps what it shrinks by
            assert soft or not hidden[mask].any(), f"{target.site.name}: hidden inside the mask"
            if isinstance(settle.method.rule.allocation, tfprune.Uniform):
                assert whole.sum() == max(1, round(whole.size * (1 - sparsity))), target.site.name
            weights.append(kernel + hidden)
        if settle.method.gate.hides and not settle.is_measured:
            states = [
                {name: one.numpy() for name, one in target.state.items()}
                for target in settle.targets
            ]
            chosen = settle.method.rule.masks(
                weights, sites, settle.final, final=settle.final, states=states
            )
            for target, mask in zip(settle.targets, chosen):
                np.testing.assert_array_equal(arrays(target)[1], mask, target.site.name)


def _groups(structure, target):
    """The mask of a target's groups; fails if its mask cuts through one."""
    kept = structure.reduce(arrays(target)[1].astype("float64"), target.site.layout)
    kept = kept[np.isfinite(kept)]
    highest = (
        structure.sizes(target.site.shape, target.site.layout) if structure.pooling == "sum" else 1
    )
    assert ((kept == 0) | (kept == highest)).all(), f"{target.site.name}: a group is kept in part"
    return kept > 0


def recording(method, records):
    """The method, which also writes (scores, sparsity, masks) of every refresh to `records`."""
    rule = method.rule

    def choose(self, scores, sites, sparsity, *, final):
        chosen = type(rule).choose(self, scores, sites, sparsity, final=final)

        def record(sparsity, *values):
            records.append((values[: len(sites)], float(sparsity), values[len(sites) :]))
            return np.int32(0)

        tf.numpy_function(record, [sparsity, *scores, *chosen], tf.int32)
        return chosen

    recorder = type(f"Recording{type(rule).__name__}", (type(rule),), {"choose": choose})
    fields = {field.name: getattr(rule, field.name) for field in dataclasses.fields(rule)}
    return tfprune.get_method(method, rule=recorder(**fields))


def examples(family, shape=(6, 6, 2)):
    """The same data for scores that look at data."""
    loss = KERASES[family].losses.SparseCategoricalCrossentropy(from_logits=True)
    return tfprune.CalibrationData(data(shape), loss=loss, batch_size=BATCH)


def prepared(model, wrap, method="magnitude", sparsity=None, **settings):
    """(model, callback): wrapped, or for the callback alone."""
    if wrap:
        return (tfprune.prune(model, method, sparsity, **settings), tfprune.PruningCallback())
    return model, tfprune.PruningCallback(method, sparsity, **settings)


def said(action):
    """The texts of the warnings of the library's own."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        action()
    return [
        str(one.message)
        for one in caught
        if "prun" in str(one.message).lower() or "NaN" in str(one.message)
    ]
