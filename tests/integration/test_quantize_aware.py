# SPDX-License-Identifier: Apache-2.0
"""Quantization-aware fine-tuning in both Kerases, from a pruned network to its int8 file."""

import numpy as np
import pytest
import tensorflow as tf
from tiny_models import KERASES, cnn, compiled, data, fit, with_weights

import tflite_export
import tfprune
from tflite_export import runtime
from tflite_export.flatbuffer.graph import Graph
from tfprune.backend import view
from tfprune.quantization.quantize_aware import wrappers

both = pytest.mark.parametrize("family", list(KERASES))


def conv(kernel):
    return np.transpose(kernel, (3, 0, 1, 2))


def depthwise(kernel):
    return kernel.reshape(1, *kernel.shape[:2], -1)


# How a TFLite file holds each kernel, and the axes of that which share a step.
STORED = {
    "stem": (conv, (1, 2, 3)),
    "deep": (depthwise, (0, 1, 2)),
    "sep depthwise": (depthwise, (0, 1, 2)),
    "sep pointwise": (conv, (1, 2, 3)),
    "up": (lambda kernel: np.transpose(kernel, (2, 0, 1, 3)), (1, 2, 3)),
    "logits": (np.transpose, (1,)),
}


def network(family):
    """Every kind of convolution, a residual sum, regularizers, and half of the weights removed."""
    library = KERASES[family]
    layers = library.layers
    inputs = library.Input((6, 6, 2), name="image")
    x = layers.Conv2D(4, 3, padding="same", use_bias=False, kernel_regularizer="l2", name="stem")(
        inputs
    )
    first = layers.ReLU()(layers.BatchNormalization(name="norm")(x))
    x = layers.DepthwiseConv2D(3, padding="same", depthwise_regularizer="l1", name="deep")(first)
    x = layers.Add(name="sum")([x, first])
    x = layers.SeparableConv2D(4, 3, activation="relu", name="sep")(x)
    x = layers.Conv2DTranspose(
        3,
        2,
        strides=2,
        activation="relu",
        name="up",
        kernel_regularizer=library.regularizers.L1L2(0.01, 0.01),
    )(x)
    outputs = layers.Dense(3, name="logits")(layers.GlobalAveragePooling2D()(x))
    model = with_weights(library.Model(inputs, outputs))
    norm = model.get_layer("norm")
    norm.set_weights([np.abs(one) + 0.5 for one in norm.get_weights()])
    tfprune.sparsify(model, "magnitude", 0.5)
    return model


def variables(model):
    """{name: variable} of the kernels of a plain or wrapped model, in their order."""
    found = {}
    for layer in model.layers:
        layer = getattr(layer, "layer", layer)
        for name in ("depthwise_kernel", "pointwise_kernel", "kernel"):
            variable = getattr(layer, name, None)
            if variable is not None:
                part = name.partition("_")[0] if "Separable" in type(layer).__name__ else ""
                found.setdefault(f"{layer.name} {part}".strip(), variable)
    return found


def kernels(model):
    return {name: variable.numpy() for name, variable in variables(model).items()}


def ranges(model):
    return {one.layer.name: one.core.ranges.numpy() for one in wrappers(view(model))}


def optimizers(library):
    return [
        library.optimizers.SGD(0.05, momentum=0.9, nesterov=True),
        library.optimizers.Adam(0.01),
        library.optimizers.AdamW(0.01, weight_decay=0.1),
    ]


@both
def test_removed_weights_are_zero_after_every_step_of_any_loop(family):
    library = KERASES[family]
    model = network(family)
    aware = tfprune.quantize_aware(model)
    kept = {name: value != 0 for name, value in kernels(model).items()}
    assert list(kept) == list(STORED)
    inputs, labels = data()
    loss_of = library.losses.SparseCategoricalCrossentropy(from_logits=True)

    def gradients():
        with tf.GradientTape() as tape:
            loss = loss_of(labels[:4], aware(inputs[:4], training=True)) + sum(aware.losses)
        return tape.gradient(loss, aware.trainable_variables)

    for optimizer in optimizers(library):
        before = kernels(aware)
        for _ in range(3):
            optimizer.apply_gradients(zip(gradients(), aware.trainable_variables))
            for name, value in kernels(aware).items():
                assert not value[~kept[name]].any(), name
        for name, value in kernels(aware).items():
            assert (value != before[name])[kept[name]].any(), name


@both
def test_zeros_are_restored_where_an_old_momentum_has_moved_them(family):
    model = network(family)
    aware = tfprune.quantize_aware(model)
    kept = {name: value != 0 for name, value in kernels(model).items()}
    inputs, _ = data()
    before = aware(inputs)
    for name, variable in variables(model).items():
        variable.assign(variable.numpy() + 0.25 * ~kept[name])
    np.testing.assert_array_equal(before, aware(inputs))
    for name, value in kernels(tfprune.strip_pruning(aware)).items():
        np.testing.assert_array_equal(value != 0, kept[name], name)


@both
def test_ranges_are_learned_in_training_only_and_evaluation_repeats_itself(family):
    aware = tfprune.quantize_aware(cnn(family))
    inputs, _ = data()
    assert not any(value.any() for value in ranges(aware).values())
    first = aware(inputs).numpy()
    aware(inputs, training=True)
    learned = ranges(aware)
    np.testing.assert_allclose(learned["conv"], [[inputs.min(), inputs.max()]])
    assert learned["hidden"][0][0] == 0 < learned["hidden"][0][1]  # behind a ReLU
    results = [aware(inputs, training=False).numpy() for _ in range(2)]
    np.testing.assert_array_equal(*results)
    assert not np.array_equal(first, results[0])
    for name, value in ranges(aware).items():
        np.testing.assert_array_equal(value, learned[name], name)


def small(family):
    """A convolution and a Dense layer, half of their weights removed."""
    library = KERASES[family]
    layers = library.layers
    model = with_weights(
        library.Sequential(
            [
                library.Input((6, 6, 2)),
                layers.Conv2D(2, 3, name="conv"),
                layers.Flatten(),
                layers.Dense(3, name="logits", dtype="float32"),
            ]
        )
    )
    tfprune.sparsify(model, "magnitude", 0.5)
    return model


SETTINGS = tfprune.QuantizationConfig(weights=4, activations=6, momentum=0.5)


@both
@pytest.mark.filterwarnings("ignore:You are saving")
def test_a_saved_model_goes_on_as_if_it_had_not_been_saved(family, tmp_path):
    aware = compiled(tfprune.quantize_aware(small(family), SETTINGS), family)
    fit(aware, epochs=1)
    inputs, _ = data()
    expected = aware(inputs)
    forms = [".keras"] if family == "keras" else [".h5", "", ".keras"]
    for form in forms:
        aware.save(str(tmp_path / f"model{form}"))
        loaded = tfprune.load_model(tmp_path / f"model{form}")
        assert [one.core.settings for one in wrappers(view(loaded))] == [SETTINGS] * 2
        np.testing.assert_array_equal(loaded(inputs), expected, form)
        for one, other in zip(loaded.get_weights(), aware.get_weights()):
            np.testing.assert_array_equal(one, other, form)
    if family == "tf_keras":  # without this library
        served = tf.saved_model.load(str(tmp_path / "model"))(tf.constant(inputs), training=False)
        np.testing.assert_allclose(served, expected, atol=1e-6)
    for one in (aware, loaded):
        fit(one, epochs=1)
    for one, other in zip(aware.get_weights(), loaded.get_weights()):
        np.testing.assert_allclose(one, other, atol=1e-6)
    assert (loaded.layers[0].layer.kernel.numpy() == 0).mean() == 0.5


@both
def test_half_precision_compiled_steps_in_one_call_learn_the_same_ranges(family):
    library = KERASES[family]
    library.mixed_precision.set_global_policy("mixed_float16")
    try:
        half = small(family)
    finally:
        library.mixed_precision.set_global_policy("float32")
    aware = tfprune.quantize_aware(half, SETTINGS)
    assert aware.layers[0].compute_dtype == "float16"
    compiled(aware, family, jit_compile=True, steps_per_execution=3)
    fit(aware, epochs=1)
    expected, *others = ((batch.min(), batch.max()) for batch in data()[0].reshape(3, -1))
    for batch in others:
        expected = np.add(expected, batch) / 2
    np.testing.assert_allclose(ranges(aware)["conv"][0], expected, rtol=1e-3)
    assert (half.get_layer("conv").kernel.numpy() == 0).mean() == 0.5


@both
def test_the_file_holds_the_integers_that_training_saw(family, tmp_path):
    model = network(family)
    aware = compiled(tfprune.quantize_aware(model), family, run_eagerly=True)
    kept = {name: value != 0 for name, value in kernels(model).items()}
    fit(aware, epochs=1)
    inputs, _ = data()
    seen = aware(inputs).numpy()
    plain = tfprune.strip_pruning(aware)
    assert [layer.name for layer in plain.layers] == [layer.name for layer in model.layers]
    report = tflite_export.export(aware, tmp_path / "q.tflite", quantize="int8", data=inputs)
    content = (tmp_path / "q.tflite").read_bytes()
    graph = Graph(content)
    constants = graph.constants()
    found = [
        constants[0, index]
        for operator in graph.operators()
        for index in operator.inputs
        if (0, index) in constants and constants[0, index].ndim > 1
    ]
    values = kernels(plain)
    for (name, (stored, shared)), array in zip(STORED.items(), found, strict=True):
        value, mask = stored(values[name]), stored(kept[name])
        step = np.abs(value).max(shared, keepdims=True) / 127
        assert array.dtype == np.int8 and not array[~mask].any(), name
        if name == "stem":  # folded with its BatchNorm: the same integers, but for its sign
            array = array * np.sign((array * value).sum(shared, keepdims=True))
        np.testing.assert_array_equal(array, np.rint(value / step), name)
    assert [tensor.elements for tensor in report.tensors] == [one.size for one in found]
    (output,) = runtime.predict(content, {"image": inputs}).values()
    spread = seen.max() - seen.min()
    assert np.abs(output - seen).max() < 0.03 * spread


def test_a_file_of_four_bits_holds_the_integers_that_training_saw(tmp_path):
    model = small("keras")
    aware = tfprune.quantize_aware(model, tfprune.QuantizationConfig(weights=4))
    inputs, _ = data()
    aware(inputs, training=True)
    tflite_export.export(aware, tmp_path / "q.tflite", quantize="int4", data=inputs)
    content = (tmp_path / "q.tflite").read_bytes()
    graph = Graph(content)
    found = {
        array.ndim: graph.dequantized(*at, array)
        for at, array in graph.constants().items()
        if array.ndim > 1
    }
    for stored, (name, value) in zip((conv, np.transpose), kernels(model).items(), strict=True):
        value = stored(value)
        step = np.abs(value).max(tuple(range(1, value.ndim)), keepdims=True) / 7
        np.testing.assert_allclose(
            found[value.ndim] / step, np.rint(value / step), atol=1e-5, err_msg=name
        )
    (output,) = runtime.predict(content, inputs).values()
    seen = aware(inputs).numpy()
    assert np.abs(output - seen).max() < 0.03 * (seen.max() - seen.min())
