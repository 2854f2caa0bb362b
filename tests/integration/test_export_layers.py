# SPDX-License-Identifier: Apache-2.0
"""Layers whose operators a device lacks: other operators that compute the same, or their names."""

import export_models as models
import numpy as np
import pytest
import tensorflow as tf

from tflite_export import export, inspect
from tflite_export.devices import tflm, vela
from tflite_export.devices.target import ExportContext
from tflite_export.flatbuffer.graph import Graph
from tflite_export.flatbuffer.layer_origins import Origins
from tflite_export.runtime import tflm_interpreter

BOTH = pytest.mark.parametrize("family", ["keras", "tf_keras"])
MICRO = pytest.mark.skipif(
    not tflm_interpreter.installed(), reason="tflite-micro has wheels for Linux on x86-64 only"
)
VELA = pytest.mark.skipif(not vela.installed(), reason="Vela is not installed")


def layer_of(library, kind, function):
    """A layer of an own class, called like its kind."""
    return type(kind, (library.layers.Layer,), {"call": lambda self, x: function(x)})()


@BOTH
@MICRO
def test_repeated_and_masked_layers_run_on_microcontrollers(family, tmp_path):
    library = models.KERASES[family]
    layers = library.layers
    tokens = library.Input((4,), dtype="int32", name="tokens")
    image = library.Input((3, 2, 2), name="image")
    series = library.Input((4, 2), name="series")
    long = layers.UpSampling1D(3)(series)
    model = library.Model(
        [tokens, image, series],
        [
            layers.Embedding(9, 3)(tokens),
            layers.UpSampling2D((2, 3))(image),
            long,
            layers.Masking(0.0)(series),
            layers.RepeatVector(3)(layers.Flatten()(series)),
            layers.Concatenate(axis=1)([layers.Reshape((1, 12, 2))(long)] * 23),
        ],
    )
    data = [
        np.arange(16, dtype="int32").reshape(4, 4) % 9,
        models.examples(4, 3, 2, 2),
        models.examples(4, 4, 2),
    ]
    data[2][1, 2] = 0
    assert export(model, tmp_path / "m.tflite", target="tflm", data=data).error == 0
    used = inspect(tmp_path / "m.tflite").operators
    assert used["RESIZE_NEAREST_NEIGHBOR"] == 2 and used["CONCATENATION"] == 4
    assert not used.keys() & {"SELECT", "TILE", "REDUCE_ANY"}
    assert "call" not in vars(model.get_layer(index=1))


@BOTH
def test_a_missing_operator_names_its_layer(family, tmp_path):
    library = models.KERASES[family]
    layers = library.layers
    inputs = library.Input((4,))
    hidden = layer_of(library, "Sorter", lambda x: tf.math.top_k(x, 4)[0])(inputs)
    model = library.Model(inputs, layers.Activation("gelu", name="last")(hidden))
    path = tmp_path / "m.tflite"
    with pytest.raises(ValueError, match=r"TOPK_V2 \(layer 'sorter' \(Sorter\)\)") as raised:
        export(model, path, target="tflm")
    assert "GELU (layer 'last' (Activation))" in str(raised.value)
    assert str(raised.value).endswith("; use silu or relu as the activation")
    data = models.examples(2, 4)
    with pytest.raises(RuntimeError, match=r"op: 'TOPK_V2'.*TOPK_V2 \(layer 'sorter'"):
        export(model, path, target="tflm", quantize="int16x8", data=data)
    unknown = library.Model(inputs, layer_of(library, "Special", tf.math.erf)(inputs))
    with pytest.raises(RuntimeError, match=r"operator Erf \(layer 'special' \(Special\)\)"):
        export(unknown, path)
    assert not path.exists()


@MICRO
def test_a_part_whose_size_is_known_only_at_run_time_is_refused_by_its_layer(tmp_path):
    """TFLite Micro would write it beyond its memory."""
    library = models.KERASES["keras"]
    inputs = library.Input((4,))
    part = layer_of(
        library,
        "Head",
        lambda x: tf.reduce_sum(
            tf.slice(x, [0, 0], [1, tf.cast(x[0, 0], tf.int32)]), 1, keepdims=True
        ),
    )
    model = library.Model(inputs, part(inputs))
    with pytest.raises(ValueError, match=r"SLICE \(layer 'head' \(Head\)\) gives is known only"):
        export(
            model,
            tmp_path / "m.tflite",
            target="tflm",
            data=np.tile(np.arange(1, 5, dtype="float32"), (2, 1)),
        )


@BOTH
@MICRO
def test_what_is_refused_only_when_it_runs_names_its_layer_and_a_way_out(family, tmp_path):
    library = models.KERASES[family]
    inputs = library.Input((4, 4, 2))
    larger = library.layers.UpSampling2D(2, interpolation="bilinear", name="larger")(inputs)
    best = layer_of(library, "Best", lambda x: tf.argmax(x, -1))(inputs)
    for outputs, quantize, operator, do in (
        (
            larger,
            "int16x8",
            r"RESIZE_BILINEAR \(layer 'larger' \(UpSampling2D\)\)",
            'use interpolation="nearest" or quantize="int8"',
        ),
        (best, "none", r"ARG_MAX \(layer 'best' \(Best\)\)", "use output_type=tf.int32"),
    ):
        with pytest.raises(ValueError, match=f"{operator}.*; {do}$"):
            export(
                library.Model(inputs, outputs),
                tmp_path / "m.tflite",
                target="tflm",
                quantize=quantize,
                data=models.examples(4, 4, 4, 2),
            )
    assert not list(tmp_path.iterdir())


@BOTH
@VELA
def test_what_the_accelerator_leaves_to_the_cpu_names_its_layer(family, tmp_path):
    library = models.KERASES[family]
    inputs = library.Input((4, 4, 4, 2))
    model = library.Model(inputs, library.layers.Conv3D(2, 2, name="volumes")(inputs))
    with pytest.raises(
        ValueError,
        match=r"CONV_3D \(layer 'volumes' \(Conv3D\)\): Unsupported"
        r".*; replace these layers$",
    ):  # tflm has none either
        export(
            model,
            tmp_path / "m.tflite",
            target="ethos-u55-128",
            quantize="int8",
            data=models.examples(4, 4, 4, 4, 2),
        )


@BOTH
@pytest.mark.parametrize("target", ["mobile", "tflm"])
def test_vanished_activations_are_zeros_and_end_no_process(family, target, tmp_path):
    """Scales fall with them, and checks in the kernels of sums and softmax with the scales."""
    library = models.KERASES[family]
    layers = library.layers
    inputs = library.Input((4,))
    positive = layers.ReLU()(inputs)
    nothing = layer_of(library, "Nothing", lambda x: tf.abs(x) + tf.minimum(-x, 0.0))(positive)
    logits = layers.Dense(3, kernel_initializer=library.initializers.Constant(1e-9))(nothing)
    model = library.Model(inputs, [layers.Softmax()(logits), layers.Add()([inputs, nothing])])
    report = export(
        model, tmp_path / "m.tflite", target=target, quantize="int8", data=models.examples(8, 4)
    )
    assert report.error < 0.02


@MICRO
def test_an_operator_that_ends_the_process_is_named_with_its_layer(tmp_path):
    library = models.KERASES["keras"]
    model = library.Sequential(
        [library.Input((4,)), library.layers.Dense(3), library.layers.Softmax(name="last")]
    )
    export(
        model,
        tmp_path / "m.tflite",
        target="mobile",
        quantize="int8",
        sparse=False,
        data=models.examples(8, 4),
    )
    graph = Graph((tmp_path / "m.tflite").read_bytes())
    softmax = next(o for o in graph.operators() if graph.operator_name(o) == "SOFTMAX")
    graph.tensor(0, softmax.inputs[0]).quantization.scale = [1e-12]
    known = Origins({"last": "Softmax"}, {"output": "sequential_1/last_1/Softmax"}, numbered=True)
    with pytest.raises(ValueError, match=r"signal 6 over operator 2, SOFTMAX of layer 'last' \(So"):
        tflm.pack(graph.content(), ExportContext("int8", {}, {}, origins=known))
    graph.tensor(0, softmax.outputs[0]).quantization.scale = [1.0]
    with pytest.raises(ValueError, match=r"failed to prepare .* \[SOFTMAX \(layer 'last' \(Soft"):
        tflm.pack(graph.content(), ExportContext("int8", {}, {}, origins=known))
