# SPDX-License-Identifier: Apache-2.0
"""Sensitivities against their definition, written out in NumPy, and what must hold for them."""

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from tfprune.masks import kernel_layout
from tfprune.masks.kernel_layout import to_matrix
from tfprune.masks.structures import Channel
from tfprune.statistics import input_sensitivity
from tfprune.statistics.input_sensitivity import (
    channel_sensitivity,
    mean_sensitivity,
    peak_sensitivity,
)

BOTH = pytest.mark.parametrize("score", [mean_sensitivity, peak_sensitivity])


def definition(patches, matrix):
    """g of every example (a+ and a- apart), output, column and position, in float64."""
    patches, matrix = np.asarray(patches, np.float64), np.asarray(matrix, np.float64)
    patches = np.concatenate([np.maximum(patches, 0), np.maximum(-patches, 0)])
    shares = np.zeros((len(patches), *matrix.shape, patches.shape[1]))
    for b, i, p in np.ndindex(len(patches), len(matrix), patches.shape[1]):
        for sign in (1, -1):
            parts = np.maximum(sign * matrix[i], 0) * patches[b, p]
            if parts.sum() > 0:
                shares[b, i, :, p] += parts / parts.sum()
    return shares


def drawn(seed, batch, positions, columns, outputs, sign=True, groups=None):
    generator = np.random.default_rng(seed)
    middle = () if groups is None else (groups,)
    patches = generator.normal(size=(batch, positions, *middle, columns)).astype("float32")
    matrix = generator.normal(size=(outputs * (groups or 1), columns)).astype("float32")
    patches[generator.uniform(size=patches.shape) < 0.3] = 0
    matrix[generator.uniform(size=matrix.shape) < 0.2] = 0
    return (patches if sign else abs(patches)), matrix


cases = st.tuples(
    st.integers(0, 2**32 - 1),
    st.integers(1, 4),
    st.integers(1, 5),
    st.integers(1, 6),
    st.integers(1, 4),
    st.booleans(),
)


@settings(max_examples=50)
@given(cases)
def test_they_are_what_the_definition_says(case):
    patches, matrix = drawn(*case)
    shares = definition(patches, matrix)
    means, peaks = mean_sensitivity(patches, matrix), peak_sensitivity(patches, matrix)
    np.testing.assert_allclose(means, shares.mean(axis=3).max(axis=0), atol=2e-6)
    np.testing.assert_allclose(peaks, shares.max(axis=(0, 3)), atol=2e-6)
    for values in (means, peaks):
        assert values.dtype == tf.float32 and values.shape == matrix.shape
        assert 0 <= np.min(values) and np.max(values) <= 1


@pytest.mark.parametrize("block", [1, 7, 40])
def test_they_do_not_depend_on_the_size_of_the_blocks(monkeypatch, block):
    patches, matrix = drawn(3, 5, 7, 6, 4)
    expected = peak_sensitivity(patches, matrix), mean_sensitivity(patches, matrix)
    monkeypatch.setattr(input_sensitivity, "_BLOCK", block)
    np.testing.assert_array_equal(peak_sensitivity(patches, matrix), expected[0])
    np.testing.assert_array_equal(mean_sensitivity(patches, matrix), expected[1])


@BOTH
def test_shares_of_positive_weights_and_inputs_sum_to_one(score):
    patches, matrix = drawn(0, 1, 1, 9, 5)
    patches, matrix = abs(patches) + 0.1, abs(matrix) + 0.1
    np.testing.assert_allclose(tf.reduce_sum(score(patches, matrix), axis=1), np.ones(5), rtol=1e-6)
    # One example: the mean over positions of shares that sum to 1.
    patches = abs(drawn(1, 1, 6, 9, 5)[0]) + 0.1
    sums = tf.reduce_sum(mean_sensitivity(patches, matrix), axis=1)
    np.testing.assert_allclose(sums, np.ones(5), rtol=1e-6)


@BOTH
@pytest.mark.parametrize("scale", [1e-30, 1e-3, 1e30])
def test_the_scale_of_filters_and_inputs_plays_no_part(score, scale):
    patches, matrix = drawn(4, 3, 4, 6, 5)
    expected = score(patches, matrix)
    filters = np.array([1, scale, 1, scale, 1], "float32")[:, None]
    np.testing.assert_allclose(score(patches, matrix * filters), expected, rtol=1e-5)
    np.testing.assert_allclose(score(patches * np.float32(scale), matrix), expected, rtol=1e-5)


@BOTH
def test_batches_combine_by_the_maximum(score):
    patches, matrix = drawn(5, 6, 4, 7, 3)
    parts = np.maximum(score(patches[:2], matrix), score(patches[2:], matrix))
    np.testing.assert_allclose(parts, score(patches, matrix), rtol=1e-6)
    assert np.all(score(patches[:0], matrix) == np.zeros((3, 7)))


@BOTH
def test_groups_do_not_mix(score):
    patches, matrix = drawn(6, 3, 4, 5, 2, groups=3)
    alone = [score(patches[:, :, group], matrix[2 * group : 2 * group + 2]) for group in range(3)]
    np.testing.assert_allclose(score(patches, matrix), np.concatenate(alone), rtol=1e-6)


@BOTH
@pytest.mark.parametrize("groups", [None, 3])
def test_graphs_and_xla(score, groups):
    patches, matrix = drawn(7, 3, 4, 5, 2, groups=groups)
    expected = score(patches, matrix)
    unknown = tf.TensorSpec((None, None, *patches.shape[2:]), tf.float32)
    graph = tf.function(score, input_signature=[unknown, tf.TensorSpec(matrix.shape)])
    np.testing.assert_allclose(graph(patches, matrix), expected, rtol=1e-6)
    compiled = tf.function(score, jit_compile=True, autograph=False)
    np.testing.assert_allclose(
        compiled(tf.constant(patches), tf.constant(matrix)), expected, rtol=1e-6
    )


@BOTH
def test_types(score):
    patches, matrix = drawn(8, 3, 4, 5, 2)
    half = score(tf.cast(patches, tf.bfloat16), tf.cast(matrix, tf.bfloat16))
    assert half.dtype == tf.float32
    np.testing.assert_allclose(half, score(patches, matrix), atol=0.02)
    assert score(patches, matrix.astype("float64")).dtype == tf.float64


@pytest.mark.parametrize(
    "shape, layout",
    [
        ((3, 2, 4, 5), kernel_layout.conv(2)),
        ((3, 2, 5, 4), kernel_layout.conv_transpose(2)),
        ((4, 5), kernel_layout.DENSE),
        ((4, 2, 3), kernel_layout.einsum("abc,cde->abde")),
    ],
)
def test_one_group_of_channels_is_the_structure_channel(shape, layout):
    kernel = np.random.default_rng(9).uniform(size=shape).astype("float32")
    np.testing.assert_array_equal(
        channel_sensitivity(to_matrix(kernel, layout), shape, layout),
        Channel("max").reduce(kernel, layout),
    )


@BOTH
@pytest.mark.parametrize("shape", [(3, 6), (3, 5, 1), (5,)])
def test_a_matrix_that_does_not_fit_is_refused(score, shape):
    with pytest.raises(ValueError, match=r"matrix of shape .* expected \[outputs, 5\]"):
        score(np.ones((2, 3, 5), "float32"), np.ones(shape, "float32"))
