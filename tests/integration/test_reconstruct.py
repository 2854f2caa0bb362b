# SPDX-License-Identifier: Apache-2.0
"""Weights refitted to the dense model's outputs, and averages estimated anew, in both Kerases."""

import numpy as np
import pytest
import tensorflow as tf
from tiny_models import KERASES, with_weights

import tfprune
from tfprune.backend import view
from tfprune.reconstruction import reconstruct as module

families = pytest.mark.parametrize("family", KERASES)
IMAGES = np.random.default_rng(0).normal(size=(40, 6, 6, 4)).astype("float32")


def copy_of(model, family):
    copy = KERASES[family].models.clone_model(model)
    copy.set_weights(model.get_weights())
    return copy


def halved(model):
    """Prune every kernel at random to a half."""
    generator = np.random.default_rng(1)
    for item in view(model).sites:
        value = item.variable.numpy()
        item.variable.assign(value * (generator.random(value.shape) < 0.5))
    return model


def model_of(family, *layers, shape=(6, 6, 4)):
    library = KERASES[family]
    return with_weights(library.Sequential([library.Input(shape), *layers]))


def kernels(model):
    return {item.site.name: item.variable.numpy() for item in view(model).sites}


KINDS = {
    "Dense": (lambda k: k.Dense(3, activation="relu"), 1),
    "EinsumDense": (lambda k: k.EinsumDense("abcd,def->abcef", (6, 6, 2, 3), bias_axes="ef"), 1),
    "other bias, turned": (
        lambda k: k.EinsumDense("abcd,def->abcfe", (6, 6, 2, 3), bias_axes="f"),
        1,
    ),
    "other bias, of positions": (
        lambda k: k.EinsumDense("abcd,de->abce", (6, 6, 3), bias_axes="b"),
        1,
    ),
    "Conv2D": (lambda k: k.Conv2D(3, (3, 2), strides=2, padding="same", activation="tanh"), 1),
    "dilated": (lambda k: k.Conv2D(3, 2, dilation_rate=2, use_bias=False), 1),
    "grouped": (lambda k: k.Conv2D(6, 2, groups=2), 1),
    "transposed": (lambda k: k.Conv2DTranspose(3, 3, strides=2, padding="same"), 1),
    "depthwise": (lambda k: k.DepthwiseConv2D(3, depth_multiplier=2, padding="same"), 1),
    "separable": (lambda k: k.SeparableConv2D(3, 2, activation="relu"), 2),
}


@families
@pytest.mark.parametrize("kind", KINDS)
def test_layers_come_as_near_as_the_report_says_and_zeros_stay(family, kind):
    library = KERASES[family]
    make, count = KINDS[kind]
    layers = library.layers
    model = model_of(
        family, layers.Conv2D(4, 1, activation="relu", name="first"), make(layers), layers.Flatten()
    )
    dense = copy_of(model, family)
    before = dense.get_weights()
    report = tfprune.reconstruct(model, dense, IMAGES)
    assert all((a == b).all() for a, b in zip(model.get_weights(), before))  # nothing to refit
    zeros = {name: value == 0 for name, value in kernels(halved(model)).items()}
    report = tfprune.reconstruct(model, dense, IMAGES)
    assert len(report.layers) == 1 + count and not report.skipped and report.examples == 40
    assert all(one.after < one.before for one in report.layers[-1:])
    for name, value in kernels(model).items():
        assert ((value == 0) == zeros[name]).all(), name
    assert all((a == b).all() for a, b in zip(dense.get_weights(), before))
    # The outputs of the last layer, before its activation, are as far apart as is said.
    for one in (model, dense):
        one.layers[-2].activation = None
    own, wanted = (one(IMAGES, training=False).numpy() for one in (model, dense))
    if not kind.startswith("other bias"):  # without which outputs are compared
        off = np.linalg.norm(own - wanted) / np.linalg.norm(wanted)
        np.testing.assert_allclose(off, report.layers[-1].after, rtol=1e-3)


@families
def test_one_convolution_is_what_least_squares_finds(family):
    library = KERASES[family]
    model = model_of(family, library.layers.Conv2D(2, 2, name="conv"))
    dense = copy_of(model, family)
    halved(model)
    mask = model.get_weights()[0] != 0
    tfprune.reconstruct(model, dense, IMAGES, ridge=1e-9)
    wanted = dense(IMAGES).numpy().reshape(-1, 2)
    places = [IMAGES[:, i : i + 5, j : j + 5].reshape(-1, 4) for i in range(2) for j in range(2)]
    rows = np.concatenate(places, axis=1)
    for channel in range(2):
        kept = mask[..., channel].ravel()
        ones = np.ones((len(rows), 1))
        solved = np.linalg.lstsq(np.hstack([rows[:, kept], ones]), wanted[:, channel], rcond=None)[
            0
        ]
        found, bias = (one[..., channel].ravel() for one in model.get_weights())
        np.testing.assert_allclose(found[kept], solved[:-1], atol=1e-5)
        np.testing.assert_allclose(bias, solved[-1:], atol=1e-5)


@families
def test_attention_nested_models_shared_layers_and_what_is_skipped(family):
    library = KERASES[family]
    layers = library.layers
    inputs = library.Input((5, 4))
    shared = layers.Dense(4, name="shared")
    inner = library.Sequential(
        [library.Input((5, 4)), layers.Dense(4, activation="relu")], name="n"
    )
    x = shared(inner(shared(inputs)))
    x = layers.MultiHeadAttention(2, 3, name="mha")(x, x)
    x = layers.LSTM(3, name="lstm")(layers.LayerNormalization()(x))
    model = with_weights(library.Model(inputs, layers.Dense(2, name="last")(x)))
    dense = copy_of(model, family)
    halved(model)
    zeros = {name: value == 0 for name, value in kernels(model).items()}
    sequences = IMAGES.reshape(-1, 6, 6, 4)[:, :5, 0]
    report = tfprune.reconstruct(model, dense, sequences)
    names = [one.name for one in report.layers]
    assert len(names) == 7 and names[0] == "shared/kernel" and names[-1] == "last/kernel"
    assert sum(name.startswith("mha/") for name in names) == 4 and "output" in names[5]
    assert {one.name.split("/")[0] for one in report.skipped} == {"lstm"}
    assert "step by step" in report.skipped[0].reason
    assert report.outputs[1] < report.outputs[0]
    assert all(((value == 0) == zeros[name]).all() for name, value in kernels(model).items())


@families
def test_shrunk_models_are_refitted_at_the_channels_that_are_left(family):
    library = KERASES[family]
    layers = library.layers
    inputs = library.Input((6, 6, 4))
    x = layers.Conv2D(8, 3, padding="same", name="a")(inputs)
    x = layers.ReLU()(layers.BatchNormalization(name="bn")(x))
    x = layers.DepthwiseConv2D(3, name="d")(x)
    x = layers.Add()([layers.Conv2D(8, 1, name="b")(x), layers.Conv2D(8, 3, name="c")(inputs)])
    outputs = layers.Dense(3, name="last")(layers.Flatten()(x))
    dense = with_weights(library.Model(inputs, outputs))
    dense.get_layer("bn").set_weights(
        [np.abs(w) + 0.5 for w in dense.get_layer("bn").get_weights()]
    )
    small, report = tfprune.shrink_to(dense, tfprune.Budget(macs=0.5))
    before = small.get_weights()
    with pytest.raises(ValueError, match="record=report"):
        tfprune.reconstruct(small, dense, IMAGES)
    with pytest.raises(TypeError, match="record=3"):
        tfprune.reconstruct(small, dense, IMAGES, record=3)
    assert all((a == b).all() for a, b in zip(small.get_weights(), before))
    found = tfprune.reconstruct(small, dense, IMAGES, record=report)
    assert len(found.layers) == 5 and found.outputs[1] < 0.7 * found.outputs[0]
    again = report.record.replay(dense)
    assert tfprune.reconstruct(again, dense, IMAGES, record=report.record).outputs == found.outputs
    fitted = tfprune.recalibrate(small, IMAGES, dense, record=report)
    assert fitted.outputs[1] <= fitted.outputs[0] or fitted.undone


@families
def test_subclassed_models_and_channels_that_are_zero(family):
    library = KERASES[family]

    class Net(library.Model):
        def __init__(self):
            super().__init__()
            self.one = library.layers.Dense(6, activation="relu")
            self.two = library.layers.Dense(2)

        def call(self, inputs):
            return self.two(self.one(inputs))

    models = [Net(), Net()]
    rows = IMAGES[:, 0, 0]
    for one in models:
        one(rows)
        with_weights(one)
    model, dense = models
    kernel, bias = model.one.get_weights()
    kernel[:, :3] = bias[:3] = 0  # removed channels
    model.one.set_weights([kernel, bias])
    report = tfprune.reconstruct(model, dense, rows)
    assert [one.kept for one in report.layers] == [12, 12]
    assert (model.one.get_weights()[0][:, :3] == 0).all() and report.layers[1].before > 0
    assert (model.one.get_weights()[1][:3] == 0).all()
    assert report.layers[1].after < report.layers[1].before


@families
def test_a_run_that_fails_or_is_interrupted_changes_nothing(family, monkeypatch):
    library = KERASES[family]
    model = model_of(family, library.layers.Dense(5), library.layers.Dense(3, name="second"))
    dense = copy_of(model, family)
    before = halved(model).get_weights()
    own = module.refit

    def failing(equations, weights, bias, kept, **settings):
        if len(weights) == 3:
            raise KeyboardInterrupt
        return own(equations, weights, bias, kept, **settings)

    monkeypatch.setattr(module, "refit", failing)
    with pytest.raises(KeyboardInterrupt):
        tfprune.reconstruct(model, dense, IMAGES)
    assert all((a == b).all() for a, b in zip(model.get_weights(), before))


@families
def test_bad_input_is_refused_by_name(family):
    library = KERASES[family]
    layers = library.layers
    model = model_of(family, layers.Dense(5, name="a"), layers.Dense(3, name="b"))
    dense = copy_of(model, family)
    before = halved(model).get_weights()
    other = model_of(family, layers.Dense(4, name="a"), layers.Dense(3, name="b"))
    deeper = model_of(family, layers.Dense(5, name="a"), layers.ReLU(), layers.Dense(3, name="b"))
    wrong = {
        "before it is pruned": (model, None, IMAGES, {}),
        "share weights": (model, model, IMAGES, {}),
        "'a/kernel' has the shape": (model, other, IMAGES, {}),
        "do not correspond: 'b' is a Dense": (model, deeper, IMAGES, {}),
        "takes \\(None, 6, 6, 4\\)": (model, dense, IMAGES[:, :5], {}),
        "NaN or infinite": (model, dense, IMAGES * np.nan, {}),
        "data=None": (model, dense, None, {}),
        "no example|no batch": (model, dense, IMAGES[:0], {}),
        "above 0": (model, dense, IMAGES, {"ridge": 0}),
    }
    for text, (one, whole, data, settings) in wrong.items():
        with pytest.raises(ValueError, match=text):
            tfprune.reconstruct(one, whole, data, **settings)
    with pytest.raises(TypeError, match="Keras model"):
        tfprune.reconstruct(3, dense, IMAGES)
    theirs = model_of("tf_keras" if family == "keras" else "keras")
    with pytest.raises((TypeError, ValueError), match="one Keras|not built"):
        tfprune.reconstruct(model, theirs, IMAGES)
    weights = dense.get_weights()
    dense.set_weights([weights[0] * np.nan, *weights[1:]])
    with pytest.raises(ValueError, match="a/kernel cannot be refitted: .* not finite"):
        tfprune.reconstruct(model, dense, IMAGES)
    assert all((a == b).all() for a, b in zip(model.get_weights(), before))


@families
def test_few_and_constant_examples_are_told_of(family):
    library = KERASES[family]
    model = model_of(family, library.layers.Flatten(), library.layers.Dense(3))
    dense = copy_of(model, family)
    halved(model)
    report = tfprune.reconstruct(model, dense, IMAGES[:7])
    assert "7 patches for up to" in report.layers[0].notes[0] and "ridge" in str(report)
    report = tfprune.reconstruct(model, dense, np.ones((9, 6, 6, 4), "float32"))
    assert report.layers[0].after < 1e-3 and np.isfinite(model.get_weights()[0]).all()


# Averages.


@families
def test_averages_are_those_of_all_examples_layer_by_layer(family):
    library = KERASES[family]
    layers = library.layers
    model = model_of(
        family, layers.BatchNormalization(), layers.Conv2D(3, 2), layers.BatchNormalization()
    )
    for place in (0, 2):
        layer = model.layers[place]
        layer.set_weights([np.abs(one) + 0.5 for one in layer.get_weights()])
    report = tfprune.recalibrate(model, tf.data.Dataset.from_tensor_slices(IMAGES).batch(7))
    assert report.anew == 2 and report.outputs is None and report.examples == 40
    inputs = IMAGES.astype("float64")
    for layer in model.layers:
        if "moving" in "".join(one.name for one in layer.weights):
            mean, variance = layer.get_weights()[2:]
            axes = tuple(range(inputs.ndim - 1))
            np.testing.assert_allclose(mean, inputs.mean(axes), rtol=1e-5, atol=1e-6)
            np.testing.assert_allclose(variance, inputs.var(axes), rtol=1e-5)
        inputs = layer(inputs.astype("float32"), training=False).numpy().astype("float64")


@families
def test_averages_are_only_kept_where_they_help(family):
    library = KERASES[family]
    layers = library.layers
    model = model_of(family, layers.Conv2D(3, 2, name="conv"), layers.BatchNormalization(name="bn"))
    dense = model
    tfprune.recalibrate(dense, IMAGES)
    model = copy_of(dense, family)
    report = tfprune.recalibrate(model, IMAGES + 1, dense)  # equal to the dense one: no gain
    assert report.anew == 0 and report.outputs == (0.0, 0.0) and not report.undone
    kernel, bias = model.layers[0].get_weights()
    model.layers[0].set_weights([kernel * 1.5, bias + 1])  # what averages can make good again
    report = tfprune.recalibrate(model, IMAGES, dense)
    assert report.anew == 1 and report.outputs[1] < 1e-3 < report.outputs[0]
    np.testing.assert_allclose(report.layers[0].after, report.outputs[1], atol=1e-5)
    kernel[..., 0] = 0
    model.layers[0].set_weights([kernel, bias])
    averages = model.layers[1].get_weights()
    tfprune.recalibrate(model, IMAGES * np.float32(1e3), dense)  # of no use
    assert all((a == b).all() for a, b in zip(model.layers[1].get_weights(), averages))
    with pytest.raises(ValueError, match="share weights"):
        tfprune.recalibrate(model, IMAGES, model)
    other = model_of(family, layers.Conv2D(4, 2, name="conv"), layers.BatchNormalization(name="bn"))
    with pytest.raises(ValueError, match="'bn' normalizes 3 channels, in the dense model 4"):
        tfprune.recalibrate(model, IMAGES, other)
