# SPDX-License-Identifier: Apache-2.0
"""Informative features: known pixels are found, against BackSelect written out in NumPy."""

import keras
import numpy as np
import pytest
import tf_keras

import tfprune
from tfprune.evaluation.backselect import confidence_matrix

KERASES = pytest.mark.parametrize("home", [keras, tf_keras], ids=["keras", "tf_keras"])
CODES = np.array([[1, 1], [-1, 1], [1, -1]])  # a class's two channels in the patch
PATCH = np.zeros((8, 8), bool)
PATCH[2:4, 5:7] = True


def _classifier(home, kernel, activation="softmax", shape=(8, 8, 2)):
    """BatchNorm, which doubles in inference, and one dense layer."""
    norm = home.layers.BatchNormalization(epsilon=0.0, scale=False, center=False)
    model = home.Sequential(
        [
            home.Input(shape),
            norm,
            home.layers.Flatten(),
            home.layers.Dropout(0.5),
            home.layers.Dense(kernel.shape[1], activation, use_bias=False),
        ]
    )
    norm.set_weights([np.zeros(shape[-1]), np.full(shape[-1], 0.25)])
    model.layers[-1].set_weights([kernel / 2])
    return model


def _of_patch(home, activation="softmax"):
    """A classifier that looks at the patch only, and images of noise around their class's code."""
    kernel = np.zeros((8, 8, 2, 3))
    kernel[PATCH] = CODES.T
    labels = np.arange(30) % 3
    images = np.random.default_rng(0).normal(0, 3, (30, 8, 8, 2)).astype(np.float32)
    images[:, PATCH] = CODES[labels][:, None]
    return _classifier(home, kernel.reshape(-1, 3), activation), images, labels


def _softmax(z):
    powers = np.exp(z - z.max())
    return powers / powers.sum()


@KERASES
@pytest.mark.parametrize("activation", ["softmax", None], ids=["probabilities", "logits"])
def test_the_only_patch_that_matters_is_found_and_keeps_the_confidence(home, activation):
    model, images, labels = _of_patch(home, activation)
    before = [weight.copy() for weight in model.get_weights()]
    masks = tfprune.informative_features(
        model, images, keep=4 / 64, step=0.1, fill=0, batch_size=13
    )
    assert (masks == PATCH).all()
    assert all(map(np.array_equal, before, model.get_weights()))
    rng = np.random.default_rng(1)
    random = np.array([rng.permutation(PATCH.ravel()).reshape(8, 8) for _ in images])
    found, other = (
        confidence_matrix(
            {"net": model}, images, {"net": chosen}, labels=labels, fill=0, batch_size=13
        )
        for chosen in (masks, random)
    )
    assert found.confidences[0, 0] == pytest.approx(found.whole[0], abs=1e-6)
    assert found.confidences[0, 0] > 0.99 and found.accuracies[0, 0] == 1
    assert other.confidences[0, 0] < 0.6 and other.accuracies[0, 0] < 0.7


@KERASES
def test_masks_are_batched_backselect_written_out(home):
    rng = np.random.default_rng(2)
    kernel, images = rng.normal(0, 0.3, (6 * 5 * 2, 4)), rng.normal(0, 1, (3, 6, 5, 2))
    images = images.astype(np.float32)
    model = _classifier(home, kernel, shape=(6, 5, 2))
    found = tfprune.informative_features(model, images, keep=0.2, step=0.1)
    fill, weights = images.mean(axis=(0, 1, 2)), kernel.reshape(30, 2, 4)
    for image, mask in zip(images, found):
        offset, kept = (image - fill).reshape(30, 2), list(range(30))
        predicted = _softmax(image.ravel() @ kernel).argmax()
        for _ in range(8):  # 3 pixels at once, from 30 to 6
            shown = np.tile(fill, (30, 1))
            shown[kept] += offset[kept]
            p = _softmax(shown.ravel() @ kernel)
            slope = p[predicted] * ((weights[..., predicted] - weights @ p) * offset).sum(axis=1)
            kept = sorted(kept, key=lambda pixel: slope[pixel])[3:]
        assert np.flatnonzero(mask).tolist() == sorted(kept)


def test_as_many_pixels_are_left_as_asked_also_where_steps_do_not_fit_and_slopes_are_equal():
    model, images, _ = _of_patch(keras)
    images = np.zeros_like(images[:3])  # every slope is 0
    for keep, step, left in ((0.1, 0.07, 6), (1, 0.5, 64), (1e-9, 1, 1), (0.5, 1e-9, 32)):
        masks = tfprune.informative_features(model, images, keep=keep, step=step)
        assert masks.shape == (3, 8, 8) and (masks.sum(axis=(1, 2)) == left).all()
    assert (masks == masks[0]).all()  # one order for all
    assert not masks[0].ravel()[32:].all() and not masks[0].ravel()[:32].all()  # no half
    assert tfprune.informative_features(model, images[:0]).shape == (0, 8, 8)


@KERASES
@pytest.mark.parametrize("activation", ["sigmoid", None])
@pytest.mark.parametrize("flat", [False, True])
def test_one_output_is_the_second_of_two_classes(home, activation, flat):
    kernel = np.array([[3.0], [-2], [0], [0.5]])
    model = _classifier(home, kernel, activation, shape=(2, 2, 1))
    if flat:
        model = home.Sequential([model, home.layers.Reshape(())])
    images = np.ones((2, 2, 2, 1), np.float32)
    images[1] *= -1  # the first class
    masks = tfprune.informative_features(model, images, keep=0.25, fill=0)
    assert np.flatnonzero(masks).tolist() == [0, 4]
    found = confidence_matrix({"net": model}, images, {"net": masks}, labels=[1, 0], fill=0)
    assert found.confidences[0, 0] == pytest.approx(1 / (1 + np.exp(-3)))
    assert found.accuracies.tolist() == [[1]]


def test_the_matrix_is_its_definition_with_networks_of_any_kind():
    rng = np.random.default_rng(3)
    images, fill = rng.integers(0, 256, (20, 3, 3, 2)).astype(np.uint8), np.array([9.0, 5.0])
    kernels = {name: rng.normal(0, 0.01, (18, 4)) for name in "abc"}
    networks = {
        "a": lambda x: x.reshape(len(x), -1) @ kernels["a"],
        "b": lambda x: (np.array([_softmax(row.ravel() @ kernels["b"]) for row in x]),),
        "c": lambda x: {"out": x.reshape(len(x), -1) @ kernels["c"]},
    }
    masks = {name: rng.random((20, 3, 3)) < 0.5 for name in "ca"}
    labels = rng.integers(0, 4, 20)
    found = confidence_matrix(networks, images, masks, labels=labels, fill=fill, batch_size=7)
    assert found.rows == ("c", "a") and found.columns == ("a", "b", "c")
    for i, row in enumerate(found.rows):
        for j, column in enumerate(found.columns):
            sure, right = [], []
            for image, mask, label in zip(images.astype(float), masks[row], labels):
                predicted = (image.ravel() @ kernels[row]).argmax()
                p = _softmax(np.where(mask[..., None], image, fill).ravel() @ kernels[column])
                sure.append(p[predicted])
                right.append(p.argmax() == label)
            assert found.confidences[i, j] == pytest.approx(np.mean(sure), rel=1e-5)
            assert found.accuracies[i, j] == np.mean(right)
    assert found.whole[0] == pytest.approx(
        np.mean([_softmax(x.ravel() @ kernels["a"]).max() for x in images.astype(float)]), rel=1e-5
    )
    empty = confidence_matrix(networks, images[:0], {"a": masks["a"][:0]})
    assert empty.accuracies is None and np.isnan(empty.confidences).all()


def test_a_broken_network_is_nan_in_the_matrix_and_has_no_features():
    nan = _classifier(keras, np.full((128, 3), np.nan))
    model, images, _ = _of_patch(keras)
    masks = np.ones(images.shape[:3], bool)
    found = confidence_matrix({"net": model, "nan": nan}, images, {"net": masks, "nan": masks})
    assert np.isnan(found.confidences).tolist() == [[False, True], [True, True]]
    with pytest.raises(ValueError, match="NaN or infinite on 30 of 30 images"):
        tfprune.informative_features(nan, images)


@pytest.mark.parametrize(
    "settings, told",
    [
        ({"keep": 0}, "keep=0: expected a fraction"),
        ({"keep": 1.1}, "keep=1.1"),
        ({"step": float("nan")}, "step=nan"),
        ({"fill": [1, 2, 3]}, r"fill of shape \(3,\): .* 2 channels"),
        ({"batch_size": 0}, "batch_size=0"),
    ],
)
def test_settings_out_of_range_are_named(settings, told):
    model, images, _ = _of_patch(keras)
    with pytest.raises(ValueError, match=told):
        tfprune.informative_features(model, images, **settings)


def test_what_has_no_gradients_is_refused():
    model, images, _ = _of_patch(keras)
    for network in (lambda x: x, "model.tflite", b"TFL3"):
        with pytest.raises(TypeError, match="by gradients, and needs a Keras model.*`confidence_m"):
            tfprune.informative_features(network, images)
    rounding = keras.Sequential([keras.layers.Rescaling(1.0, dtype="uint8"), model])
    with pytest.raises(ValueError, match="No gradient of the model's output reaches its input"):
        tfprune.informative_features(rounding, images)
    inputs = keras.Input((8, 8, 2))
    with pytest.raises(ValueError, match="the model has 2 outputs"):
        tfprune.informative_features(keras.Model(inputs, [model(inputs), model(inputs)]), images)
    with pytest.raises(ValueError, match=r"images of shape \(8, 8, 2\)"):
        tfprune.informative_features(model, images[0])


@pytest.mark.parametrize(
    "networks, masks, told",
    [
        ("a", {"b": (4, 2, 2)}, r"masks of \['b'\]: expected names of networks: \['a'\]"),
        ("a", {"a": (4, 2, 3)}, r"masks\['a'\] of shape \(4, 2, 3\).*expected bool \(4, 2, 2\)"),
        ("az", {"a": (4, 2, 2)}, "different numbers of classes: {'a': 3, 'z': 2}"),
        ("as", {"a": (4, 2, 2)}, r"s made outputs of shape \(1, 3\) of 4 images"),
    ],
)
def test_networks_and_masks_that_do_not_fit_are_named(networks, masks, told):
    known = {
        "a": lambda x: np.ones((len(x), 3)),
        "z": lambda x: np.ones(len(x)),
        "s": lambda x: np.ones((1, 3)),
    }
    with pytest.raises(ValueError, match=told):
        confidence_matrix(
            {name: known[name] for name in networks},
            np.zeros((4, 2, 2, 1)),
            {name: np.ones(shape, bool) for name, shape in masks.items()},
        )
