# SPDX-License-Identifier: Apache-2.0
"""Layers of the user's own: their weights, layers inside them, models written as classes."""

import keras
import numpy as np
import pytest
import tf_keras
from tiny_models import KERASES, cnn, compiled, data, fit, masks, zeros

import tfprune

SCHEDULE = tfprune.Polynomial(0.5, end=1.0)
everywhere = pytest.mark.parametrize("family", KERASES)
ways = pytest.mark.parametrize("wrap", [False, True], ids=["callback", "wrapped"])


def custom_layers(library):
    """(a layer that names its weights, a layer that holds layers), saved under their names."""
    register = library.saving.register_keras_serializable(package=f"tests_{library.__name__}")

    @register
    class Bilinear(library.layers.Layer):
        def build(self, input_shape):
            shape = (int(input_shape[-1]), 4)
            self.left = self.add_weight(name="left", shape=shape, initializer="random_normal")
            self.right = self.add_weight(name="right", shape=shape, initializer="random_normal")
            self.offset = self.add_weight(name="offset", shape=(4,), initializer="zeros")

        def call(self, inputs):
            return (inputs @ self.left) * (inputs @ self.right) + self.offset

        def compute_output_shape(self, input_shape):
            return (*tuple(input_shape)[:-1], 4)

        def get_prunable_weights(self):
            return [self.left, self.right]

    @register
    class Residual(library.layers.Layer):
        def __init__(self, units=8, **kwargs):
            super().__init__(**kwargs)
            self.units = units
            self.widen = library.layers.Dense(units, activation="relu", name="widen")
            self.parts = [
                library.layers.LayerNormalization(name="norm"),
                library.layers.Dense(units, name="back"),
            ]

        def build(self, input_shape):
            self.widen.build(input_shape)
            for part in self.parts:
                part.build((*tuple(input_shape)[:-1], self.units))
            super().build(input_shape)

        def call(self, inputs):
            hidden = wide = self.widen(inputs)
            for part in self.parts:
                hidden = part(hidden)
            return hidden + wide

        def get_config(self):
            return {**super().get_config(), "units": self.units}

    return Bilinear, Residual


CUSTOM = {"keras": custom_layers(keras), "tf_keras": custom_layers(tf_keras)}


def custom_model(family):
    library = KERASES[family]
    bilinear, residual = CUSTOM[family]
    inputs = library.Input((6, 6, 2))
    x = residual(name="residual")(library.layers.Flatten()(inputs))
    return library.Model(inputs, library.layers.Dense(3, name="logits")(bilinear(name="two")(x)))


@everywhere
@ways
def test_custom_layers(family, wrap, tmp_path):
    model = custom_model(family)
    inputs = data()[0]
    before = model.predict(inputs, verbose=0)
    if wrap:
        model, callback = tfprune.prune(model, schedule=SCHEDULE), tfprune.PruningCallback()
        np.testing.assert_allclose(model.predict(inputs, verbose=0), before, atol=1e-6)
    else:
        callback = tfprune.PruningCallback(schedule=SCHEDULE)
    fit(compiled(model, family), callback)
    assert {row.name: row.kept for row in callback.report.sites} == {
        "residual/widen/kernel": 288,
        "residual/back/kernel": 32,
        "two/left": 16,
        "two/right": 16,
        "logits/kernel": 6,
    }
    skipped = {skip.name: skip.reason for skip in tfprune.report(model).skipped}
    assert list(skipped) == ["residual/norm"]
    model.save(tmp_path / "model.keras")
    loaded = tfprune.load_model(tmp_path / "model.keras")
    assert tfprune.report(loaded).to_dict() == tfprune.report(model).to_dict()
    stripped = tfprune.strip_pruning(loaded)
    assert "residual" in [layer.name for layer in stripped.layers]
    np.testing.assert_allclose(
        stripped.predict(inputs, verbose=0), model.predict(inputs, verbose=0), atol=1e-6
    )


@everywhere
def test_weights_that_are_named_but_not_there(family):
    """A layer that names none is no reason to fail: the others are pruned."""
    layers = KERASES[family].layers

    class Nothing(layers.Layer):
        def call(self, inputs):
            return inputs

        def get_prunable_weights(self):
            return []

    inputs = KERASES[family].Input((6, 6, 2))
    outputs = layers.Dense(3, name="logits")(layers.Flatten()(Nothing()(inputs)))
    model = tfprune.prune(KERASES[family].Model(inputs, outputs), schedule=SCHEDULE)
    callback = tfprune.PruningCallback()
    fit(compiled(model, family), callback)
    assert [row.kept for row in callback.report.sites] == [108]


def written_as_class(family, wrap):
    library = KERASES[family]
    layers = library.layers

    class Written(library.Model):
        def __init__(self):
            super().__init__()
            self.conv = wrap(layers.Conv2D(4, 3, activation="relu", name="conv"))
            self.flat = layers.Flatten()
            self.blocks = [
                wrap(layers.Dense(8, activation="relu", name=f"block{n}")) for n in range(2)
            ]
            self.named = {"logits": wrap(layers.Dense(3, name="logits"))}

        def call(self, inputs, training=False):
            hidden = self.flat(self.conv(inputs))
            for block in self.blocks:
                hidden = block(hidden)
            return self.named["logits"](hidden)

    return Written()


@everywhere
@pytest.mark.parametrize("built", [False, True])
def test_subclassed_model_wrapped_in_its_init(family, built, tmp_path):
    inputs = data()[0]

    def wrap(layer):
        return tfprune.prune(layer, schedule=SCHEDULE)

    model, callback = written_as_class(family, wrap), tfprune.PruningCallback()
    if built:
        model(inputs)
    fit(compiled(model, family), callback)
    assert {row.name: row.kept for row in callback.report.sites} == {
        "conv/kernel": 36,
        "block0/kernel": 256,
        "block1/kernel": 32,
        "logits/kernel": 12,
    }
    model.save_weights(tmp_path / "kept.weights.h5")
    again = written_as_class(family, wrap)
    again(inputs)
    again.load_weights(tmp_path / "kept.weights.h5")
    for name, mask in zeros(again).items():
        np.testing.assert_array_equal(mask, masks(callback)[name])

    before = model.predict(inputs, verbose=0)
    stripped = tfprune.strip_pruning(model)
    assert stripped is model and type(model.conv) is KERASES[family].layers.Conv2D
    np.testing.assert_allclose(stripped.predict(inputs, verbose=0), before, atol=1e-6)
    compiled(stripped, family)
    fit(stripped)  # a plain model: nothing asks for a callback


@everywhere
def test_per_site_by_layer_object_name_and_path(family):
    for key in ("hidden", "hidden/kernel", None):
        model = cnn(family)
        key = key or model.get_layer("hidden")
        allocation = tfprune.PerSite({key: 0.75, "conv": 0.0})
        callback = tfprune.PruningCallback(
            "magnitude", schedule=tfprune.OneShot(0.5), allocation=allocation
        )
        callback.start(model)
        kept = {name: mask.sum() for name, mask in masks(callback).items()}
        assert kept == {"conv/kernel": 72, "hidden/kernel": 128, "logits/kernel": 12}


@everywhere
@ways
def test_shared_and_nested_layers_count_once(family, wrap):
    library = KERASES[family]
    layers = library.layers
    inner = library.Sequential([library.Input((6,)), layers.Dense(6, name="inside")], name="inner")
    shared = layers.Dense(6, name="shared")
    inputs = library.Input((6,))
    x = shared(shared(inner(inputs)))
    model = library.Model(inputs, layers.Dense(3, name="logits")(x))
    callback = tfprune.PruningCallback(schedule=SCHEDULE)
    if wrap:
        model, callback = tfprune.prune(model, schedule=SCHEDULE), tfprune.PruningCallback()
    fit(compiled(model, family), callback, shape=(6,))
    assert callback.driver.finished == 6
    assert {row.name: (row.kept, row.macs) for row in callback.report.sites} == {
        "inner/inside/kernel": (18, 18),
        "shared/kernel": (18, 36),
        "logits/kernel": (9, 9),
    }
    stripped = tfprune.strip_pruning(model)
    assert all(mask.mean() == 0.5 for mask in zeros(stripped).values())
