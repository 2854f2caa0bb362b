# SPDX-License-Identifier: Apache-2.0
"""`advise`: the layers in the way of sparse inference by name, and what to prune."""

import export_models as models
import numpy as np
import pytest
import sparse_graphs as graphs

import tfprune
from tflite_export import advise, export

BOTH = pytest.mark.parametrize("family", ["keras", "tf_keras"])


def network(family, padding="same", head="convolution"):
    """A MobileNet as it is published: 'same' strides, 1x1 classifier; or as it should be."""
    library = models.KERASES[family]
    layers = library.layers

    def strided(layer, name, x):
        if padding == "same":
            return layer(padding="same", name=name)(x)
        return layer(padding="valid", name=name)(layers.ZeroPadding2D(1)(x))

    image = library.Input((16, 16, 3))
    x = strided(lambda **s: layers.Conv2D(8, 3, strides=2, use_bias=False, **s), "stem", image)
    x = layers.ReLU(6)(layers.BatchNormalization()(x))
    x = layers.DepthwiseConv2D(3, padding="same", name="deep_1")(x)
    x = layers.ReLU(6)(layers.Conv2D(16, 1, name="point_1")(x))
    x = strided(lambda **s: layers.DepthwiseConv2D(3, strides=2, **s), "deep_2", x)
    x = layers.Conv2D(16, 1, name="point_2")(x)
    if head == "convolution":
        x = layers.GlobalAveragePooling2D(keepdims=True)(x)
        x = layers.Flatten()(layers.Conv2D(4, 1, name="classifier")(x))
    else:
        x = layers.Dense(4, name="classifier")(layers.GlobalAveragePooling2D()(x))
    return library.Model(image, x)


@BOTH
def test_stem_strides_and_head_of_a_mobilenet(family):
    advice = advise(network(family))
    assert not advice.engages
    assert [change.layer for change in advice.changes] == ["stem", "deep_2", "classifier"]
    stem, deep, head = advice.changes
    assert "ZeroPadding2D(1) and Conv2D" in stem.do and "padding 'same'" in stem.why
    assert "ZeroPadding2D(1)" in deep.do and "GlobalAveragePooling2D() and Dense" in head.do
    text = str(advice)
    assert "- stem: " in text and "would run after these changes, once" in text


@BOTH
def test_the_advice_followed_engages(family, tmp_path):
    model = network(family, padding="valid", head="dense")
    advice = advise(model)
    assert advice.engages and advice.changes == ()
    assert advice.prune == ("point_1/kernel", "point_2/kernel")
    dense = {name.partition("/")[0] for name in advice.dense}
    assert dense == {"stem", "deep_1", "deep_2", "classifier"}
    pruning = tfprune.PruningCallback(
        "magnitude",
        schedule=tfprune.OneShot(0.75),
        structure=tfprune.Block(*advice.block),
        allocation=tfprune.PerSite(advice.dense),
    )
    pruning.start(model)
    pruning.finish()
    report = export(model, tmp_path / "m.tflite", target="mobile-sparse-f32")
    zeros = {tensor.name.split("/")[0]: tensor.zeros for tensor in report.tensors}
    assert zeros["stem"] == 0 and zeros["point_1"] == 96
    kernel = np.asarray(model.get_layer("point_1").kernel)[0, 0]
    assert np.all((kernel[:, ::2] == 0) == (kernel[:, 1::2] == 0))
    # Blocks of two output channels; what is too small to be encoded stays as it is.
    assert "does not run: CONV_2D" not in " ".join(report.remarks)


@pytest.mark.parametrize(
    "name, layer, do",
    [
        ("max pooling inside", "max_pooling2d", "Take the stride into a depthwise"),
        ("average pooling at the end", "average_pooling2d", "End with GlobalAveragePooling2D"),
        ("repeated pixels", "up_sampling2d", "interpolation='bilinear'"),
        ("transposed convolution", "conv2d_transpose", "interpolation='bilinear'"),
        ("second output inside", "global_average_pooling2d", "make no value before it an output"),
    ],
)
def test_one_fault_one_change(name, layer, do):
    (change,) = advise(graphs.model_of(name)).changes
    assert change.layer.startswith(layer) and do in change.do


def test_without_1x1_convolutions_there_is_nothing_to_prune():
    advice = advise(models.cnn("keras"))
    assert not advice.engages and advice.prune == ()
    assert "There is no 1x1 convolution" in str(advice)


def test_what_is_not_a_model():
    with pytest.raises(TypeError, match="got str, expected a Keras 3 or tf_keras model"):
        advise("model.keras")
