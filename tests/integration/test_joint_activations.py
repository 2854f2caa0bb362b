"""Stripped models that round what their layers read as the trained ones do."""

import json

import numpy as np
import pytest
from joint_models import STRONG, cores, plain, prune, residual
from tiny_models import KERASES, compiled, data, fit, with_weights
from tflite_export import export
from tflite_export.runtime import predict

import tfprune

FEW_BITS = tfprune.Joint(bops=4.0, kl=1e-3, rate=20.0, ramp=0, form="log")
POWERS = tfprune.Joint(bops=1.0, rate=20.0, ramp=0, learn_power=True)


def nested(family):
    """A model that is called twice, whose first layer is told its input by a keyword."""
    library = KERASES[family]
    layers = library.layers
    inside = library.Input((6, 6, 2))
    inner = library.Model(inside, layers.Conv2D(2, 3, padding="same", name="conv")(inputs=inside),
                          name="inner")
    inputs = library.Input((6, 6, 2))
    x = inner(inner(layers.ReLU(name="first")(inputs)))
    return with_weights(library.Model(inputs, layers.Dense(3, name="logits", dtype="float32")(
        layers.Flatten()(x))))


def trained(family, model, gate):
    KERASES[family].utils.set_random_seed(3)
    model = compiled(prune(model, gate), family, KERASES[family].optimizers.Adam(.01))
    fit(model, tfprune.PruningCallback(), epochs=2)
    return model


CASES = pytest.mark.parametrize("build, gate", [
    (residual, STRONG), (residual, FEW_BITS), (residual, POWERS), (plain, FEW_BITS),
    (nested, STRONG)], ids=["residual", "few bits", "powers", "sequential", "nested"])


@pytest.mark.parametrize("family", KERASES)
@CASES
def test_it_computes_what_the_wrapped_model_does(family, build, gate, tmp_path):
    model = trained(family, build(family), gate)
    inputs = data()[0]
    wrapped = model.predict(inputs, verbose=0)
    kept = tfprune.strip_pruning(model, activations=True)
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
    model = trained(family, residual(family), FEW_BITS)
    inputs = data()[0]
    wrapped = model.predict(inputs, verbose=0)
    path = tmp_path / "model.tflite"
    export(tfprune.strip_pruning(model, activations=True), path)
    (found,) = predict(path, inputs).values()
    np.testing.assert_allclose(found, wrapped, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("family", KERASES)
def test_in_half_precision(family):
    policies = KERASES[family].mixed_precision
    policies.set_global_policy("mixed_bfloat16")
    try:
        model = trained(family, residual(family), FEW_BITS)
        wrapped = model.predict(data()[0], verbose=0)
        kept = tfprune.strip_pruning(model, activations=True)
        np.testing.assert_array_equal(kept.predict(data()[0], verbose=0), wrapped)
    finally:
        policies.set_global_policy("float32")


@pytest.mark.parametrize("family", KERASES)
def test_what_has_no_quantizers_stays_as_it_is(family):
    model = residual(family)
    assert tfprune.strip_pruning(model, activations=True) is model
    untrained = prune(model)
    kept = tfprune.strip_pruning(untrained, activations=True)  # no range has been seen yet
    np.testing.assert_allclose(kept.predict(data()[0], verbose=0),
                               untrained.predict(data()[0], verbose=0), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("family", KERASES)
def test_one_layer_is_refused(family):
    model = trained(family, plain(family), STRONG)
    with pytest.raises(ValueError, match="strip the model"):
        tfprune.strip_pruning(model.layers[-1], activations=True)
    assert set(cores(model)) == {"conv", "logits"}
