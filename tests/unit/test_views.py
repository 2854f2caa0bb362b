# SPDX-License-Identifier: Apache-2.0
"""The matrix of a kernel and back."""

import numpy as np
import pytest
import tensorflow as tf

from tfprune.masks import kernel_layout
from tfprune.masks.kernel_layout import from_matrix, to_matrix

CASES = [
    (kernel_layout.DENSE, (4, 3)),
    (kernel_layout.conv(2), (2, 3, 4, 5)),
    (kernel_layout.conv_transpose(2), (2, 3, 5, 4)),
    (kernel_layout.depthwise(2), (2, 3, 4, 2)),
    (kernel_layout.EMBEDDING, (4, 3)),
    (kernel_layout.einsum("abc,cde->abde"), (3, 2, 4)),
]


@pytest.mark.parametrize("layout, shape", CASES, ids=str)
def test_there_and_back(layout, shape):
    kernel = np.arange(np.prod(shape), dtype="float32").reshape(shape)
    matrix = to_matrix(kernel, layout)
    assert matrix.shape == layout.matrix_shape(shape)
    np.testing.assert_array_equal(from_matrix(matrix, shape, layout), kernel)
    tensor = to_matrix(tf.constant(kernel), layout)
    np.testing.assert_array_equal(tensor, matrix)
    np.testing.assert_array_equal(from_matrix(tensor, shape, layout), kernel)


def test_entries_stand_where_tflite_has_them():
    kernel = np.random.default_rng(0).normal(size=(2, 3, 4, 5))
    matrix = to_matrix(kernel, kernel_layout.conv(2))
    for row, down, across, channel in np.ndindex(5, 2, 3, 4):
        column = (down * 3 + across) * 4 + channel
        assert matrix[row, column] == kernel[down, across, channel, row]
    depthwise = to_matrix(kernel, kernel_layout.depthwise(2))
    assert depthwise[3 * 5 + 1, 2 * 3 - 1] == kernel[1, 2, 3, 1]
