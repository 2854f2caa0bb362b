# SPDX-License-Identifier: Apache-2.0
"""Stripped models that round what their layers read as the trained ones do."""

import json

import numpy as np
import pytest
import tensorflow as tf
from joint_models import STRONG, cores, in_half, plain, prune, residual, trained
from tiny_models import KERASES, compiled, data, with_weights

import tfprune
from tflite_export import export
from tflite_export.runtime import predict

FEW_BITS = tfprune.DJPQConfig(bops=4.0, kl=1e-3, rate=20.0, ramp=0, form="log")
POWERS = tfprune.DJPQConfig(bops=1.0, rate=20.0, ramp=0, learn_power=True)


@pytest.fixture(autouse=True)
def eager():
    """Without tracing, which would take nearly all of the time; test_joint.py trains compiled."""
    tf.config.run_functions_eagerly(True)
    yield
    tf.config.run_functions_eagerly(False)


def nested(family):
    """A model that is called twice, whose first layer is told its input by a keyword."""
    library = KERASES[family]
    layers = library.layers
    inside = library.Input((6, 6, 2))
    inner = library.Model(
        inside, layers.Conv2D(2, 3, padding="same", name="conv")(inputs=inside), name="inner"
    )
    inputs = library.Input((6, 6, 2))
    x = inner(inner(layers.ReLU(name="first")(inputs)))
    return with_weights(
        library.Model(inputs, layers.Dense(3, name="logits", dtype="float32")(layers.Flatten()(x)))
    )


CASES = pytest.mark.parametrize(
    "build, gate",
    [
        (residual, STRONG),
        (residual, FEW_BITS),
        (residual, POWERS),
        (plain, FEW_BITS),
        (nested, STRONG),
    ],
    ids=["residual", "few bits", "powers", "sequential", "nested"],
)


@pytest.mark.parametrize("family", KERASES)
@CASES
def test_it_computes_what_the_wrapped_model_does(family, build, gate, tmp_path):
    model = trained(family, build(family), 2, gate)[0]
    inputs = data()[0]
    wrapped = model.predict(inputs, verbose=0)
    kept = tfprune.strip_pruning(model, keep_activation_quantizers=True)
    np.testing.assert_allclose(kept.predict(inputs, verbose=0), wrapped, rtol=1e-6, atol=1e-6)
    assert "tfprune" not in json.dumps(kept.get_config(), default=str)
    path = tmp_path / "model.keras"
    kept.save(path)
    loaded = KERASES[family].models.load_model(path)
    np.testing.assert_allclose(loaded.predict(inputs, verbose=0), wrapped, rtol=1e-6, atol=1e-6)
    floats = tfprune.strip_pruning(model).predict(inputs, verbose=0)
    assert np.abs(floats - wrapped).max() > 1e-3  # else nothing was rounded


@pytest.mark.parametrize("family", KERASES)
def test_a_float_file_computes_it_too(family, tmp_path):
    model = trained(family, residual(family), 2, FEW_BITS)[0]
    inputs = data()[0]
    wrapped = model.predict(inputs, verbose=0)
    path = tmp_path / "model.tflite"
    export(tfprune.strip_pruning(model, keep_activation_quantizers=True), path)
    (found,) = predict(path, inputs).values()
    np.testing.assert_allclose(found, wrapped, rtol=1e-4, atol=1e-4)


MILD = tfprune.DJPQConfig(bops=0.1, rate=1.0)


@pytest.mark.parametrize(
    "family, gate", [(one, gate) for one in KERASES for gate in (FEW_BITS, MILD)]
)
def test_in_half_precision(family, gate):
    def both():
        model = trained(family, residual(family), 2, gate)[0]
        wrapped = model.predict(data()[0], verbose=0)
        kept = tfprune.strip_pruning(model, keep_activation_quantizers=True)
        return kept.predict(data()[0], verbose=0), wrapped

    np.testing.assert_array_equal(*in_half(family, both))


@pytest.mark.parametrize("family", KERASES)
def test_what_has_no_quantizers_stays_as_it_is(family):
    model = residual(family)
    assert tfprune.strip_pruning(model, keep_activation_quantizers=True) is model
    untrained = prune(model)
    kept = tfprune.strip_pruning(
        untrained, keep_activation_quantizers=True
    )  # no range has been seen yet
    np.testing.assert_allclose(
        kept.predict(data()[0], verbose=0),
        untrained.predict(data()[0], verbose=0),
        rtol=1e-4,
        atol=1e-6,
    )


@pytest.mark.parametrize("family", KERASES)
def test_one_layer_is_refused(family):
    model = trained(family, plain(family), 2, STRONG)[0]
    with pytest.raises(ValueError, match="has no graph.*strip the functional"):
        tfprune.strip_pruning(model.layers[-1], keep_activation_quantizers=True)
    assert set(cores(model)) == {"conv", "logits"}


def tokens(family):
    """Seven tokens, the last three of which are padding."""
    library = KERASES[family]
    layers = library.layers
    inputs = library.Input((7,), dtype="int32")
    x = layers.Dense(4, name="first")(layers.Embedding(9, 4, mask_zero=True)(inputs))
    x = layers.GlobalAveragePooling1D()(layers.Dense(4, name="second")(x))
    return with_weights(library.Model(inputs, layers.Dense(3, name="logits")(x)))


@pytest.mark.parametrize("family", KERASES)
def test_masks_are_kept_or_it_is_refused(family):
    model = compiled(prune(tokens(family)), family)
    images = np.array([[1, 2, 3, 4, 0, 0, 0], [5, 6, 7, 8, 0, 0, 0]] * 12, np.int32)
    model.fit(images, data()[1], epochs=2, verbose=0, callbacks=[tfprune.PruningCallback()])
    wrapped = model.predict(images, verbose=0)
    if family == "tf_keras":
        with pytest.raises(ValueError, match="first.*Evaluate the wrapped model"):
            tfprune.strip_pruning(model, keep_activation_quantizers=True)
        return
    kept = tfprune.strip_pruning(model, keep_activation_quantizers=True)
    np.testing.assert_allclose(kept.predict(images, verbose=0), wrapped, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("family", KERASES)
def test_a_model_without_a_graph_is_refused(family):
    class Outer(KERASES[family].Model):
        def __init__(self, net):
            super().__init__()
            self.net = net

        def call(self, inputs):
            return self.net(inputs)

    outer = Outer(trained(family, plain(family), 2, STRONG)[0])
    outer(data()[0])
    with pytest.raises(ValueError, match="has no graph.*functional or Sequential"):
        tfprune.strip_pruning(outer, keep_activation_quantizers=True)
