# SPDX-License-Identifier: Apache-2.0
"""Patches times the kernel's matrix are the layer's own outputs, in both Kerases."""

import keras
import numpy as np
import pytest
import tensorflow as tf
import tf_keras
from hypothesis import given, settings
from hypothesis import strategies as st

from tfprune.layers.im2col import Contraction, Window, patches, reading
from tfprune.masks import kernel_layout
from tfprune.masks.kernel_layout import Layout, to_matrix

KERASES = {"keras": keras, "tf_keras": tf_keras}
families = pytest.mark.parametrize("family", KERASES)


def normal(*shape):
    return np.random.default_rng(len(shape)).normal(size=shape).astype("float32")


def product(patches, kernel, layout):
    """Patches times the kernel's matrix: [batch, positions, outputs]."""
    matrix = to_matrix(kernel.numpy(), layout)
    if len(patches.shape) == 3:
        return np.einsum("bpe,oe->bpo", patches, matrix)
    groups = patches.shape[2]
    outputs = np.einsum("bpge,goe->bpgo", patches, matrix.reshape(groups, -1, matrix.shape[1]))
    return outputs.reshape(*outputs.shape[:2], -1)


def kernel_of(layer, layout):
    weights = [weight for weight in layer.weights if len(weight.shape) == layout.rank]
    return tf.convert_to_tensor(weights[0])


def assert_is_its_product(layer, inputs, layout):
    outputs = layer(tf.constant(inputs)).numpy()
    if getattr(layer, "data_format", None) == "channels_first":
        outputs = np.moveaxis(outputs, 1, -1)
    found = product(
        patches(inputs, reading(layer, layout), layout), kernel_of(layer, layout), layout
    )
    np.testing.assert_allclose(found, outputs.reshape(found.shape), atol=1e-5)
    assert found.size == outputs.size


@st.composite
def settings_of(draw, rank, equal_strides=False):
    """Settings of a layer and the shape of its input; strides or dilation, as TensorFlow wants."""
    strides, dilation = (1,) * rank, draw(st.integers(1, 3))
    if dilation == 1:
        strides = draw(st.tuples(*[st.integers(1, 3)] * (1 if equal_strides else rank)))
    size = draw(st.tuples(*[st.integers(1, 4)] * rank))
    padding = draw(st.sampled_from(["valid", "same"]))
    least = [(length - 1) * dilation + 1 if padding == "valid" else 1 for length in size]
    lengths = [low + draw(st.integers(0, 5)) for low in least]
    return {
        "kernel_size": size,
        "strides": (strides * rank)[:rank],
        "dilation_rate": dilation,
        "padding": padding,
        "use_bias": False,
    }, normal(2, *lengths, 4)


@families
@pytest.mark.parametrize("rank", [1, 2, 3])
@settings(max_examples=20)
@given(data=st.data())
def test_convolutions(family, rank, data):
    config, inputs = data.draw(settings_of(rank))
    groups = data.draw(st.sampled_from([1, 2, 4])) if rank == 2 else 1
    layer = getattr(KERASES[family].layers, f"Conv{rank}D")(8, groups=groups, **config)
    assert_is_its_product(layer, inputs, kernel_layout.conv(rank))


@families
@pytest.mark.parametrize("rank", [1, 2])
@settings(max_examples=20)
@given(data=st.data())
def test_depthwise_convolutions(family, rank, data):
    config, inputs = data.draw(settings_of(rank, equal_strides=True))
    kind = getattr(KERASES[family].layers, f"DepthwiseConv{rank}D")
    layer = kind(depth_multiplier=data.draw(st.integers(1, 2)), **config)
    assert_is_its_product(layer, inputs, kernel_layout.depthwise(rank))


@families
@pytest.mark.parametrize("rank", [1, 2, 3])
@settings(max_examples=20)
@given(data=st.data())
def test_transposed_convolutions(family, rank, data):
    config, inputs = data.draw(settings_of(rank))
    if rank == 3:
        config["dilation_rate"] = 1
    layer = getattr(KERASES[family].layers, f"Conv{rank}DTranspose")(3, **config)
    assert_is_its_product(layer, inputs, kernel_layout.conv_transpose(rank))


@families
@pytest.mark.parametrize("dilation", [1, 3])
def test_causal_convolutions(family, dilation):
    layer = KERASES[family].layers.Conv1D(
        5, 3, dilation_rate=dilation, padding="causal", use_bias=False
    )
    assert_is_its_product(layer, normal(2, 9, 4), kernel_layout.conv(1))


@families
def test_channels_first(family):
    layer = KERASES[family].layers.Conv2D(
        5, (3, 2), strides=2, padding="same", use_bias=False, data_format="channels_first"
    )
    assert_is_its_product(layer, normal(2, 4, 9, 6), kernel_layout.conv(2))


@families
@pytest.mark.parametrize("shape", [(3, 4), (3, 5, 4), (3, 2, 5, 4)])
def test_dense_with_any_leading_axes(family, shape):
    layer = KERASES[family].layers.Dense(6, use_bias=False)
    assert_is_its_product(layer, normal(*shape), kernel_layout.DENSE)


@families
@pytest.mark.parametrize(
    "equation, inputs, output, moved",
    [
        ("abc,cde->abde", (2, 3, 4), (3, 5, 6), ()),
        ("...ab,abc->...c", (2, 7, 3, 4), (7, 5), ()),
        ("abcd,cde->abe", (2, 7, 3, 4), (7, 5), ()),
        ("ab...,bc->ac...", (2, 3, 4), (5, 4), (1, -1)),
        ("abc,bd->adc", (2, 3, 4), (5, 4), (1, -1)),
    ],
)
def test_einsums(family, equation, inputs, output, moved):
    layer = KERASES[family].layers.EinsumDense(equation, output)
    inputs, layout = normal(*inputs), kernel_layout.einsum(equation)
    outputs = layer(tf.constant(inputs)).numpy()
    outputs = np.moveaxis(outputs, *moved) if moved else outputs
    found = product(
        patches(inputs, reading(layer, layout), layout), kernel_of(layer, layout), layout
    )
    np.testing.assert_allclose(found, outputs.reshape(found.shape), atol=1e-5)


@families
def test_the_depthwise_half_of_a_separable_convolution(family):
    layers = KERASES[family].layers
    whole = layers.SeparableConv2D(5, 3, strides=2, padding="same", depth_multiplier=2)
    inputs = normal(2, 7, 6, 4)
    whole.build(inputs.shape)
    half = layers.DepthwiseConv2D(3, strides=2, padding="same", depth_multiplier=2)
    half.build(inputs.shape)
    half.set_weights([np.asarray(tf.convert_to_tensor(whole.depthwise_kernel)), np.zeros(8)])
    layout = kernel_layout.depthwise(2)
    assert reading(whole, layout) == reading(half, layout)
    with pytest.raises(ValueError, match="pointwise kernel reads the result of the depthwise"):
        reading(whole, kernel_layout.conv(2))


@pytest.mark.parametrize("jit", [False, True])
@pytest.mark.parametrize(
    "layout, window",
    [
        (kernel_layout.conv(2), Window((3, 2), (2, 1), (1, 1), "same")),
        (kernel_layout.conv(2), Window((3, 2), (1, 1), (2, 1), "valid", groups=2)),
        (kernel_layout.depthwise(2), Window((3, 2), (1, 2), (1, 1), "same")),
        (kernel_layout.conv_transpose(2), Window((3, 2), (2, 1), (1, 1), "same")),
        (kernel_layout.DENSE, Contraction()),
    ],
)
def test_graphs_with_unknown_lengths(layout, window, jit):
    inputs = normal(2, 5, 6, 4)
    expected = patches(inputs, window, layout)
    shape = inputs.shape if jit else (None, None, None, 4)
    call = tf.function(
        lambda given: patches(given, window, layout),
        jit_compile=jit,
        input_signature=[tf.TensorSpec(shape, tf.float32)],
    )
    np.testing.assert_array_equal(call(inputs), expected)


@families
@pytest.mark.parametrize(
    "make, layout, words",
    [
        (lambda k: k.layers.LSTM(3).cell, kernel_layout.DENSE, "LSTMCell does more"),
        (lambda k: k.layers.Embedding(3, 4), kernel_layout.EMBEDDING, "Embedding does more"),
        (
            lambda k: k.layers.EinsumDense("abc,bcd->abd", (3, 4)),
            kernel_layout.einsum("abc,bcd->abd"),
            "abc,bcd->abd.* not a product",
        ),
        (
            lambda k: k.layers.EinsumDense("abc,cd->ad", 4),
            kernel_layout.einsum("abc,cd->ad"),
            "not a product",
        ),
        (
            lambda k: k.layers.Conv2DTranspose(3, 3, strides=2, output_padding=1),
            kernel_layout.conv_transpose(2),
            "output_padding=.*expected None",
        ),
    ],
    ids=["recurrent", "table", "batched", "summed", "output_padding"],
)
def test_what_cannot_be_read_says_why(family, make, layout, words):
    with pytest.raises(ValueError, match=words):
        reading(make(KERASES[family]), layout)


def test_a_window_needs_the_layout_of_a_convolution():
    with pytest.raises(ValueError, match="not the layout of a convolution"):
        patches(normal(1, 4, 2), Window((2,), (1,), (1,)), Layout((0,), (2,), (1,)))
