# SPDX-License-Identifier: Apache-2.0
"""Bad input and failures: a clear error, no file left behind, the old file kept."""

import os
import warnings
from dataclasses import replace

import export_models as models
import keras
import numpy as np
import pytest
import tensorflow as tf

from tflite_export import export
from tflite_export.api import export as exporter
from tflite_export.flatbuffer.graph import Graph


@pytest.fixture(scope="module")
def model():
    return models.mlp("keras")


@pytest.fixture
def old(tmp_path):
    """A file that is already there and has to survive."""
    path = tmp_path / "model.tflite"
    path.write_bytes(b"old content")
    return path


def untouched(path):
    return path.read_bytes() == b"old content" and os.listdir(path.parent) == [path.name]


@pytest.mark.parametrize(
    "options, message",
    [
        ({"target": "watch"}, "unknown target 'watch'; possible are 'mobile', .*'tflm'"),
        ({"quantize": "int2"}, "unknown quantize 'int2'; possible are 'none', 'float16'"),
        (
            {"target": "ethos-u55-128"},
            "'ethos-u55-128' .* does not execute quantize='none'; it executes 'int8'",
        ),
        ({"target": "tflm", "quantize": "dynamic"}, "does not execute quantize='dynamic'"),
        ({"sparse": "yes"}, "unknown sparse='yes'; possible are 'auto', True and False"),
        (
            {"target": "ethos-u85-256", "quantize": "int8", "sparse": True},
            "sparse=True is impossible for target 'ethos-u85-256'",
        ),
        ({"quantize": "int8"}, "needs representative data; pass data="),
        ({"quantize": "int16x8"}, "needs representative data; pass data="),
        ({"quantize": "int4"}, "needs representative data; pass data="),
        ({"data": np.zeros((5, 63), "f4")}, r"shape \(5, 63\), expected \(examples, 64\)"),
        ({"data": np.zeros(64, "f4")}, r"shape \(64,\), expected \(examples, 64\)"),
        ({"data": np.zeros((0, 64), "f4")}, "no examples"),
        ({"data": (np.zeros((5, 64), "f4"), np.zeros(5))}, "tuple of 2, expected 1 array"),
        (
            {"data": {"pixels": np.zeros((5, 64), "f4")}},
            r"inputs \['pixels'\], expected \['input'\]",
        ),
        ({"data": np.full((5, 64), np.nan, "f4")}, "data for input 'input' has NaN or infinite"),
    ],
)
def test_bad_options(model, old, options, message):
    with pytest.raises(ValueError, match=message):
        export(model, old, **options)
    assert untouched(old)


@pytest.mark.parametrize("quantize", ["int8", "int16x8"])
def test_misshapen_representative_dataset(model, old, quantize):
    data = tf.data.Dataset.from_tensor_slices(np.zeros((10, 8, 8), "f4")).batch(5)
    with pytest.raises(ValueError, match=r"shape \(5, 8, 8\), expected \(examples, 64\)"):
        export(model, old, quantize=quantize, data=data)
    empty = tf.data.Dataset.from_tensor_slices(np.zeros((0, 64), "f4"))
    with pytest.raises(ValueError, match="empty dataset"):
        export(model, old, quantize=quantize, data=empty)
    assert untouched(old)


def test_model_with_nan_weights(old):
    for layer in (0, -1):  # ReLU hides that of the first from the outputs
        broken = models.mlp("keras")
        bias = broken.layers[layer].bias
        bias.assign(np.full(bias.shape, np.nan))
        with pytest.raises(ValueError, match="the weight '.*/bias' has NaN or infinite values"):
            export(broken, old)
    assert untouched(old)


def test_model_that_divides_by_zero(old):
    inputs = keras.Input((4,))
    broken = keras.Model(inputs, keras.layers.Lambda(lambda x: x / 0.0)(inputs))
    with pytest.raises(ValueError, match="output 'output' has NaN or infinite values"):
        export(broken, old)
    assert untouched(old)


def test_what_is_not_a_model(old):
    with pytest.raises(TypeError, match="got str, expected a Keras 3 or tf_keras model"):
        export("model.keras", old)
    assert untouched(old)


@pytest.mark.parametrize("family", ["keras", "tf_keras"])
def test_unbuilt_model(family, old):
    library = models.KERASES[family]
    with pytest.raises(ValueError, match="not built"):
        export(library.Sequential([library.layers.Dense(3)]), old)
    assert untouched(old)


def test_keras_on_another_backend(model, old, monkeypatch):
    monkeypatch.setattr(models.KERASES["keras"].config, "backend", lambda: "jax")
    with pytest.raises(ValueError, match="jax backend, expected tensorflow; set KERAS_BACKEND"):
        export(model, old)
    assert untouched(old)


@pytest.mark.parametrize("family", ["keras", "tf_keras"])
def test_stateful_layers(family, old):
    library = models.KERASES[family]
    inputs = library.Input(batch_shape=(1, 4, 3))
    stateful = library.Model(inputs, library.layers.LSTM(2, stateful=True)(inputs))
    with pytest.raises(ValueError, match="stateful recurrent layer"):
        export(stateful, old)
    assert untouched(old)


@pytest.mark.parametrize("family", models.KERASES)
def test_arguments_and_outputs_that_a_file_cannot_have(family, old):
    library = models.KERASES[family]
    two = type("Two", (library.Model,), {"call": lambda self, a, b: a + b})()
    none = type("Part", (library.Model,), {"call": lambda self, x: (x, None)})()
    pair = [np.ones((2, 3), "f4"), np.ones((2, 3), "f4")]
    two(*pair), none(pair[0])
    with pytest.raises(ValueError, match="call of model '.*' takes a, b, expected one argument"):
        export(two, old, data=pair)
    with pytest.raises(ValueError, match="^'output_1' of the model '.*' is None, expected a ten"):
        export(none, old, data=pair[0])
    assert untouched(old)


@pytest.mark.parametrize("yes, no", [(1, 0), (np.True_, np.False_)])
def test_truth_values_of_other_libraries(yes, no, tmp_path):
    model = keras.Sequential([keras.Input((64,)), keras.layers.Dense(64)])
    for sparse, found in ((no, False), ("auto", True)):
        zeroed = models.with_zeros(model, 0.9)
        assert export(zeroed, tmp_path / "m.tflite", sparse=sparse).sparse is found
    with pytest.raises(ValueError, match="sparse=True, but no weight was encoded"):
        export(models.with_zeros(model, 0.0), tmp_path / "m.tflite", sparse=yes)
    with pytest.raises(ValueError, match="sparse=True is impossible for target 'ethos-u85-256'"):
        export(model, tmp_path / "m.tflite", target="ethos-u85-256", quantize="int8", sparse=yes)


def test_text_is_no_data(model, old):
    with pytest.raises(TypeError, match="no array of numbers"):
        export(model, old, data="x_test.npy")
    assert untouched(old)


def test_unwritable_paths_fail_before_the_slow_work(model, tmp_path, monkeypatch):
    def never(*args, **kwargs):
        raise AssertionError("converted although the path cannot be written")

    monkeypatch.setattr(exporter, "convert", never)
    with pytest.raises(FileNotFoundError, match="does not exist; create it first"):
        export(model, tmp_path / "missing" / "m.tflite")
    with pytest.raises(IsADirectoryError, match="it is a folder"):
        export(model, tmp_path)
    with pytest.raises(ValueError, match="no file can have this one"):
        export(model, "")
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("stage", ["convert", "reference", "same", "check_float", "gzip_bytes"])
@pytest.mark.parametrize("error", [KeyboardInterrupt, MemoryError])
def test_interrupt_at_every_stage_keeps_the_old_file(model, old, monkeypatch, stage, error):
    def interrupted(*args, **kwargs):
        raise error

    monkeypatch.setattr(exporter, stage, interrupted)
    with pytest.raises(error):
        export(model, old)
    assert untouched(old)


def test_failed_verification_leaves_no_file(model, old, monkeypatch):
    """The file is converted from weights that differ a little from the model's."""

    def skewed(plain, *args, **kwargs):
        other = models.mlp("keras")
        kernel = other.layers[1].kernel
        kernel.assign(kernel * 1.001)
        return convert(other, *args, **kwargs)

    convert = exporter.convert
    monkeypatch.setattr(exporter, "convert", skewed)
    with pytest.raises(RuntimeError, match="expected at most 0.0001; no file was written"):
        export(model, old)
    assert untouched(old)
    old.unlink()
    with pytest.raises(RuntimeError, match="no file was written"):
        export(model, old)
    assert os.listdir(old.parent) == []


@pytest.mark.parametrize("quantize", ["none", "int8"])
def test_a_lost_zero_is_an_error(model, old, monkeypatch, quantize):
    """One zero of the first kernel becomes the smallest non-zero the file can hold."""

    def damaged(*args, **kwargs):
        found = convert(*args, **kwargs)
        graph = Graph(found.content)
        at = next(at for at, a in graph.constants().items() if a.shape == (96, 64))
        array = graph.constants()[at].copy()
        # A zero of the Keras kernel, not one that quantization made.
        place = tuple(np.argwhere(np.asarray(model.layers[0].kernel).T == 0)[0])
        array[place] = 1 if quantize == "int8" else 1e-30
        graph.model.buffers[graph.tensor(*at).buffer].data = np.frombuffer(array.tobytes(), "u1")
        return replace(found, content=graph.content())

    convert = exporter.convert
    monkeypatch.setattr(exporter, "convert", damaged)
    with pytest.raises(RuntimeError, match=r"dense.*/kernel \(1 of them\); no file was written"):
        export(model, old, quantize=quantize, data=models.examples(20, 64))
    assert untouched(old)


def test_converter_error_is_readable(old):
    """The incomplete gamma function has no TFLite kernel."""
    keras = models.KERASES["keras"]

    class Odd(keras.layers.Layer):
        def call(self, x):
            return tf.math.igamma(x, x)

    inputs = keras.Input((4,))
    odd = keras.Model(inputs, keras.layers.Dense(1)(Odd()(inputs)))
    with pytest.raises(RuntimeError, match="TensorFlow's converter refused"):
        export(odd, old, data=np.ones((4, 4), "f4"))
    assert untouched(old)


def test_a_file_over_which_the_interpreter_dies_is_an_error(old):
    """LiteRT 2.3 ends its process over the square root of 16-bit activations."""
    keras = models.KERASES["tf_keras"]
    normal = keras.Sequential([keras.Input((8,)), keras.layers.LayerNormalization()])
    data = models.examples(20, 8)
    with pytest.raises(RuntimeError, match="LiteRT failed: it ended the process with signal"):
        export(normal, old, quantize="int16x8", data=data)
    assert untouched(old)
    assert export(models.mlp("keras"), old).error < 1e-4  # in a new process


def test_success_replaces_the_old_file_and_leaves_nothing_else(model, old):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        report = export(model, old)
    assert old.stat().st_size == report.bytes and os.listdir(old.parent) == [old.name]
