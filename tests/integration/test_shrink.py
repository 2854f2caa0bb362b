# SPDX-License-Identifier: Apache-2.0
"""Prune, shrink, save, load, train on, export: small models through the whole way."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import tfprune
from tests.shrink_models import deviation, examples, masked, outputs, randomized
from tests.tiny_models import KERASES, compiled, data, fit


def _cnn(library):
    layers = library.layers
    inputs = library.Input((6, 6, 2))
    x = layers.Conv2D(
        8, 3, use_bias=False, name="conv", kernel_regularizer=library.regularizers.L2(1e-4)
    )(inputs)
    x = layers.ReLU(name="relu")(layers.BatchNormalization(name="norm")(x))
    x = y = layers.Conv2D(8, 1, activation="relu", name="block")(x)
    x = layers.Conv2D(8, 1, name="last")(x)
    x = layers.GlobalAveragePooling2D(name="pool")(layers.Add(name="add")([x, y]))
    return library.Model(inputs, layers.Dense(3, name="logits")(x), name="cnn")


@pytest.mark.parametrize("family", sorted(KERASES))
def test_a_pruned_model_is_shrunk_saved_loaded_and_trained_on(family, tmp_path):
    library = KERASES[family]
    model = compiled(_cnn(library), family, metrics=["accuracy"])
    callback = tfprune.PruningCallback("magnitude", 0.5, structure=tfprune.Filter(coupled=True))
    fit(model, callback, epochs=1)
    small, report = tfprune.shrink(model, optimizer=True)
    images, labels = data()
    assert deviation(model, small, images) < 1e-4
    assert [one.after for one in report.groups if one.dead] == [4, 4]
    assert not report.notes
    assert small.get_layer("conv").kernel_regularizer.l2 == pytest.approx(1e-4)
    assert [layer.name for layer in small.layers] == [layer.name for layer in model.layers]

    home = tfprune.backend.adapter_of(model)
    big = home.momenta(model.optimizer, model.get_layer("logits").kernel)[0].numpy()
    now = home.momenta(small.optimizer, small.get_layer("logits").kernel)[0].numpy()
    assert now.shape == (4, 3) and np.abs(now).max() > 0
    assert all((row == big).all(axis=1).any() for row in now)
    assert int(small.optimizer.iterations) == int(model.optimizer.iterations)

    small.save(tmp_path / "small.keras")
    loaded = tfprune.load_model(tmp_path / "small.keras")
    np.testing.assert_allclose(outputs(loaded, images), outputs(small, images), rtol=1e-5)
    before = loaded.get_weights()
    assert "accuracy" in loaded.train_on_batch(images, labels, return_dict=True)
    assert all(np.isfinite(one).all() for one in loaded.get_weights())
    assert any((one != other).any() for one, other in zip(before, loaded.get_weights()))


def _tflite(model):
    return tf.lite.TFLiteConverter.from_keras_model(model).convert()


def test_the_tflite_model_is_smaller_and_agrees():
    from ai_edge_litert.interpreter import Interpreter

    inputs = keras.Input((8, 8, 3))
    x = keras.layers.Conv2D(32, 3, activation="relu")(inputs)
    x = keras.layers.Conv2D(64, 3, activation="relu")(x)
    model = randomized(keras.Model(inputs, keras.layers.Dense(4)(keras.layers.Flatten()(x))))
    masked(model, constants=True)
    small, report = tfprune.shrink(model)
    big, content = _tflite(model), _tflite(small)
    ratio = report.parameters[1] / report.parameters[0]
    assert len(content) < 1.3 * ratio * len(big)
    interpreter = Interpreter(model_content=content)
    interpreter.allocate_tensors()
    image = examples(model, count=1)
    interpreter.set_tensor(interpreter.get_input_details()[0]["index"], image)
    interpreter.invoke()
    found = interpreter.get_tensor(interpreter.get_output_details()[0]["index"])
    expected = model(image, training=False).numpy()
    np.testing.assert_allclose(found, expected, atol=1e-4 * np.abs(expected).max())


@pytest.mark.parametrize("family", sorted(KERASES))
def test_wrapped_layers_are_stripped_first(family):
    model = randomized(_cnn(KERASES[family]))
    masked(model)
    wrapped = compiled(tfprune.prune(model, "magnitude", 0.5), family)
    small, report = tfprune.shrink(wrapped)
    assert deviation(model, small, data()[0]) < 1e-4
    assert small.get_layer("conv").filters == 4 and report.removed == 8
    assert small.optimizer is not None and wrapped.get_layer("relu") is model.get_layer("relu")


@pytest.mark.parametrize("family", sorted(KERASES))
def test_what_belongs_to_layers_is_kept(family):
    library = KERASES[family]
    layers = library.layers
    inputs = {"a": library.Input((6, 6, 3), name="a"), "b": library.Input((4,), name="b")}
    inner = library.Sequential(
        [layers.Conv2D(6, 3, name="one"), layers.Dropout(0.5), layers.Conv2D(4, 1, name="two")],
        name="stem",
    )
    x = layers.Flatten()(inner(inputs["a"]))
    x = layers.Dense(6, dtype="mixed_float16", name="half")(x)
    y = layers.Dense(6, name="frozen")(inputs["b"])
    z = layers.Add()([layers.Activation("linear", dtype="float32")(x), y])
    model = randomized(
        library.Model(
            inputs, {"sum": layers.Dense(2, name="sum")(z), "y": layers.Dense(1, name="y")(y)}
        )
    )
    model.get_layer("frozen").trainable = False
    model.get_layer("stem").get_layer("two").trainable = False
    masked(model)
    small, report = tfprune.shrink(model)
    given = {
        "a": np.random.default_rng(0).normal(size=(3, 6, 6, 3)).astype("float32"),
        "b": np.ones((3, 4), "float32"),
    }
    one, other = model(given), small(given)
    assert sorted(one) == sorted(other) == ["sum", "y"]
    for key in one:
        np.testing.assert_allclose(other[key], one[key], rtol=2e-3, atol=2e-3)
    assert report.removed == 8
    assert type(small.get_layer("stem")) is library.Sequential
    assert not small.get_layer("frozen").trainable and small.get_layer("sum").trainable
    stem = small.get_layer("stem")
    assert stem.get_layer("one").trainable and not stem.get_layer("two").trainable
    assert small.get_layer("half").compute_dtype == "float16"
    assert len(small.trainable_weights) == len(model.trainable_weights)


@pytest.mark.parametrize("family", sorted(KERASES))
def test_fresh_weights_of_the_same_architecture(family):
    library = KERASES[family]
    model = compiled(_cnn(library), family)
    masked(model)
    small, _ = tfprune.shrink(model)
    one, same, other = (tfprune.reinitialize(small, seed=seed) for seed in (1, 1, 2))
    kernels = [each.get_layer("conv").kernel.numpy() for each in (small, one, same, other)]
    assert len({each.shape for each in kernels}) == 1
    np.testing.assert_array_equal(kernels[1], kernels[2])
    assert all(np.abs(kernels[1] - each).min() > 0 for each in (kernels[0], kernels[3]))
    assert (one.get_layer("norm").gamma.numpy() == 1).all()
    library.utils.set_random_seed(3)
    again = tfprune.reinitialize(small, seed=1)
    np.testing.assert_array_equal(again.get_layer("conv").kernel.numpy(), kernels[1])
    assert one.optimizer is not None


def test_statistics_of_the_data_are_no_fresh_weights():
    layer = keras.layers.Normalization(name="data")
    layer.adapt(np.random.default_rng(0).normal(3, 2, (50, 4)))
    model = keras.Sequential([keras.Input((4,)), layer, keras.layers.Dense(2)])
    again = tfprune.reinitialize(model)
    np.testing.assert_array_equal(again.get_layer("data").mean, layer.mean)
