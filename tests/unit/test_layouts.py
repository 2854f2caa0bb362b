# SPDX-License-Identifier: Apache-2.0
"""Layouts: which axes of a kernel are what, and the matrix that follows."""

import numpy as np
import pytest

from tfprune.masks import kernel_layout
from tfprune.masks.serialization import from_config, to_config


@pytest.mark.parametrize(
    "layout, shape, matrix",
    [
        (kernel_layout.DENSE, (3, 4), (4, 3)),
        (kernel_layout.EMBEDDING, (100, 8), (100, 8)),
        (kernel_layout.conv(1), (3, 4, 5), (5, 12)),
        (kernel_layout.conv(2), (3, 3, 4, 5), (5, 36)),
        (kernel_layout.conv(3), (2, 3, 3, 4, 5), (5, 72)),
        (kernel_layout.conv_transpose(2), (3, 3, 5, 4), (5, 36)),
        (kernel_layout.depthwise(2), (3, 3, 4, 2), (8, 9)),
        (kernel_layout.locally_connected(2), (49, 36, 5), (5, 49 * 36)),
        (kernel_layout.locally_connected(1, implementation=2), (9, 2, 7, 5), (5, 9 * 7 * 2)),
        (kernel_layout.einsum("abc,cde->abde"), (6, 2, 3), (6, 6)),
        (kernel_layout.einsum("abcd,cde->abe"), (2, 3, 6), (6, 6)),
        (kernel_layout.einsum("...x, xy -> ...y"), (3, 4), (4, 3)),
        (kernel_layout.einsum("abc,acd->abd"), (2, 3, 4), (8, 3)),
    ],
)
def test_matrix_shape(layout, shape, matrix):
    assert layout.matrix_shape(shape) == matrix


def test_matrix_of_a_convolution_is_tflites():
    kernel = np.arange(2 * 3 * 4 * 5).reshape(2, 3, 4, 5)
    layout = kernel_layout.conv(2)
    matrix = kernel.transpose(layout.matrix_axes).reshape(layout.matrix_shape(kernel.shape))
    np.testing.assert_array_equal(matrix, np.moveaxis(kernel, -1, 0).reshape(5, -1))  # OHWI


@pytest.mark.parametrize(
    "shape, layout",
    [
        ((4,), kernel_layout.Layout((0,), ())),
        ((4, 5), kernel_layout.DENSE),
        ((3, 4, 5), kernel_layout.conv(1)),
        ((3, 3, 3, 4, 5), kernel_layout.conv(3)),
        ((1, 1, 1, 1, 1, 2), kernel_layout.Layout((0, 1, 2, 3, 4, 5), ())),
    ],
)
def test_guess_from_the_shape(shape, layout):
    assert kernel_layout.of_shape(shape) == layout


def test_wrong_axes_are_refused():
    with pytest.raises(ValueError, match="without gaps"):
        kernel_layout.Layout(outputs=(2,), inputs=(0,))
    with pytest.raises(ValueError, match="without gaps"):
        kernel_layout.Layout(outputs=(1,), inputs=(0,), spatial=(0,))
    with pytest.raises(ValueError, match="has 3 axes"):
        kernel_layout.DENSE.matrix_shape((1, 2, 3))
    with pytest.raises(ValueError, match="1, 2 or 3"):
        kernel_layout.locally_connected(1, implementation=4)


@pytest.mark.parametrize("equation", ["ab", "ab,bc", "ab->ac", "ab,b...->a", "ab,bb->a", ""])
def test_equations_without_a_kernel_are_refused(equation):
    with pytest.raises(ValueError, match="Cannot read"):
        kernel_layout.einsum(equation)


def test_configuration_round_trip():
    layout = kernel_layout.depthwise(2)
    assert from_config(to_config(layout)) == layout
