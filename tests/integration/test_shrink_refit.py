# SPDX-License-Identifier: Apache-2.0
"""Models refitted after their channels were removed, in both Kerases."""

import importlib
import json

import numpy as np
import pytest
import tensorflow as tf
from tiny_models import KERASES, with_weights

import tfprune

families = pytest.mark.parametrize("family", KERASES)
IMAGES = np.random.default_rng(0).normal(size=(80, 6, 6, 4)).astype("float32")
HALF = tfprune.Budget(macs=0.5)


def network(family):
    """A BatchNorm, a depthwise layer and channels that are coupled by a sum."""
    library, layers = KERASES[family], KERASES[family].layers
    inputs = library.Input((6, 6, 4))
    x = layers.Conv2D(8, 3, padding="same", name="a")(inputs)
    x = layers.ReLU()(layers.BatchNormalization(name="bn")(x))
    x = layers.DepthwiseConv2D(3, name="d")(x)
    x = layers.Add()([layers.Conv2D(8, 1, name="b")(x), layers.Conv2D(8, 3, name="c")(inputs)])
    model = library.Model(inputs, layers.Dense(3, name="last")(layers.Flatten()(x)))
    averages = with_weights(model).get_layer("bn")
    averages.set_weights([np.abs(one) + 0.5 for one in averages.get_weights()])
    return model


def copy_of(model, family):
    copy = KERASES[family].models.clone_model(model)
    copy.set_weights(model.get_weights())
    return copy


def error(model, dense):
    own, wanted = (one(IMAGES, training=False).numpy() for one in (model, dense))
    return float(np.linalg.norm(own - wanted) / np.linalg.norm(wanted))


def same(one, other):
    return all((a == b).all() for a, b in zip(one, other, strict=True))


@families
def test_shrink_to_refits_what_is_left_to_the_given_model(family):
    model = network(family)
    given = model.get_weights()
    plain, without = tfprune.shrink_to(model, HALF)
    small, report = tfprune.shrink_to(model, HALF, reconstruct=IMAGES)
    assert same(model.get_weights(), given)
    assert without.refit is None and without.record == report.record
    assert same(plain.get_weights(), report.record.replay(model).get_weights())
    np.testing.assert_allclose(
        report.refit.outputs, (error(plain, model), error(small, model)), rtol=1e-4
    )
    assert error(small, model) < 0.7 * error(plain, model)
    assert "5 kernels refitted on 80 examples" in str(report) and "a/kernel" in report.to_markdown()
    assert json.loads(json.dumps(report.to_dict()))["refit"]["examples"] == 80
    # It is what the function does that can be called after.
    assert tfprune.reconstruct(plain, model, IMAGES, record=report) == report.refit
    assert same(plain.get_weights(), small.get_weights())
    # The data of the score, without its labels.
    data = tfprune.CalibrationData((IMAGES, np.zeros(80)), batch_size=64)
    again, _ = tfprune.shrink_to(model, HALF, data=data, reconstruct=True)
    assert same(again.get_weights(), small.get_weights())
    again, off = tfprune.shrink_to(model, HALF, data=data, reconstruct=False)
    assert off.refit is None and error(again, model) == error(report.record.replay(model), model)


@families
def test_every_step_is_refitted_before_it_is_trained(family):
    model = network(family)
    given, seen = model.get_weights(), []

    def tuned(smaller):
        seen.append(error(smaller, model))
        smaller.set_weights([one * np.float32(1.1) for one in smaller.get_weights()])

    settings = {"steps": 2, "fine_tune": tuned}
    tfprune.shrink_to(model, HALF, **settings)
    small, report = tfprune.shrink_to(model, HALF, reconstruct=IMAGES, **settings)
    assert same(model.get_weights(), given)
    assert len(seen) == 2 and seen[1] < 0.7 * seen[0]
    assert len(report.record.steps) == 2
    np.testing.assert_allclose(report.refit.outputs[1], error(small, model), rtol=1e-4)
    assert report.refit.outputs[1] < 0.7 * report.refit.outputs[0]


@families
def test_a_model_within_its_budget_is_not_refitted(family):
    model = network(family)
    given = model.get_weights()
    small, report = tfprune.shrink_to(model, tfprune.Budget(macs=10**9), reconstruct=IMAGES)
    assert small is model and report.refit is None and same(model.get_weights(), given)


@families
def test_shrink_refits_to_the_model_before_its_channels_were_zeroed(family):
    dense = network(family)
    model, held = copy_of(dense, family), dense.get_weights()
    tfprune.sparsify(model, "magnitude", 0.5, structure=tfprune.Filter(coupled=True))
    given = model.get_weights()
    plain, without = tfprune.shrink(model, data=IMAGES)
    small, report = tfprune.shrink(model, data=IMAGES, reconstruct=IMAGES, dense=dense)
    assert same(model.get_weights(), given) and same(dense.get_weights(), held)
    assert without.refit is None and report.agreement == without.agreement
    assert report.removed == without.removed > 0
    assert same(plain.get_weights(), tfprune.shrink(model)[0].get_weights())
    assert error(small, dense) < 0.7 * error(plain, dense)
    np.testing.assert_allclose(report.refit.outputs[1], error(small, dense), rtol=1e-4)
    assert "5 kernels refitted" in str(report)
    wrapped = tfprune.prune(model, "magnitude", 0.5)
    again, found = tfprune.shrink(wrapped, reconstruct=IMAGES, dense=dense)
    assert found.refit == report.refit and same(again.get_weights(), small.get_weights())


def nothing(*_, **__):
    raise AssertionError("work was done")


@families
def test_bad_input_is_refused_before_any_work(family, monkeypatch):
    model = network(family)
    for name, work in (("shrink_to", "rank_channels"), ("shrink", "shrunk")):
        monkeypatch.setattr(importlib.import_module(f"tfprune.surgery.{name}"), work, nothing)
    wrong = {
        "reconstruct=True, but there is no data": True,
        "takes \\(None, 6, 6, 4\\)": IMAGES[:, :5],
        "NaN or infinite": IMAGES * np.nan,
        "no example|no batch": IMAGES[:0],
    }
    dense = copy_of(model, family)
    for text, data in wrong.items():
        with pytest.raises(ValueError, match=text):
            tfprune.shrink_to(model, HALF, reconstruct=data)
        if data is not True:
            with pytest.raises(ValueError, match=text):
                tfprune.shrink(model, reconstruct=data, dense=dense)
    with pytest.raises(TypeError, match="data=3: expected arrays"):
        tfprune.shrink_to(model, HALF, reconstruct=3)
    for settings in ({"reconstruct": IMAGES}, {"dense": dense}):
        with pytest.raises(ValueError, match="reconstruct= and dense= go together"):
            tfprune.shrink(model, **settings)
    with pytest.raises(ValueError, match="share weights"):
        tfprune.shrink(model, reconstruct=IMAGES, dense=model)
    layers = KERASES[family].layers
    other = KERASES[family].Sequential([KERASES[family].Input((6, 6, 4)), layers.Dense(2)])
    with pytest.raises(ValueError, match="do not correspond"):
        tfprune.shrink(model, reconstruct=IMAGES, dense=other)


@families
def test_mixed_precision_and_data_sets(family):
    library = KERASES[family]
    library.mixed_precision.set_global_policy("mixed_float16")
    try:
        model = network(family)
    finally:
        library.mixed_precision.set_global_policy("float32")
    given = model.get_weights()
    batches = tf.data.Dataset.from_tensor_slices(IMAGES).batch(16)
    small, report = tfprune.shrink_to(model, HALF, reconstruct=batches, steps=2)
    assert report.refit.examples == 80 and report.refit.outputs[1] < report.refit.outputs[0]
    assert same(model.get_weights(), given) and np.isfinite(small(IMAGES)).all()
