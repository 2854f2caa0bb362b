# SPDX-License-Identifier: Apache-2.0
"""Layouts: which axes of a kernel are what, and the matrix that follows."""

import numpy as np
import pytest

from tfprune import layouts
from tfprune.configs import from_config, to_config


@pytest.mark.parametrize("layout, shape, matrix", [
    (layouts.DENSE, (3, 4), (4, 3)),
    (layouts.EMBEDDING, (100, 8), (100, 8)),
    (layouts.conv(1), (3, 4, 5), (5, 12)),
    (layouts.conv(2), (3, 3, 4, 5), (5, 36)),
    (layouts.conv(3), (2, 3, 3, 4, 5), (5, 72)),
    (layouts.conv_transpose(2), (3, 3, 5, 4), (5, 36)),
    (layouts.depthwise(2), (3, 3, 4, 2), (8, 9)),
    (layouts.locally_connected(2), (49, 36, 5), (5, 49 * 36)),
    (layouts.locally_connected(1, implementation=2), (9, 2, 7, 5), (5, 9 * 7 * 2)),
    (layouts.einsum("abc,cde->abde"), (6, 2, 3), (6, 6)),
    (layouts.einsum("abcd,cde->abe"), (2, 3, 6), (6, 6)),
    (layouts.einsum("...x, xy -> ...y"), (3, 4), (4, 3)),
    (layouts.einsum("abc,acd->abd"), (2, 3, 4), (8, 3)),
])
def test_matrix_shape(layout, shape, matrix):
    assert layout.matrix_shape(shape) == matrix


def test_matrix_of_a_convolution_is_tflites():
    kernel = np.arange(2 * 3 * 4 * 5).reshape(2, 3, 4, 5)
    layout = layouts.conv(2)
    matrix = kernel.transpose(layout.matrix_axes).reshape(layout.matrix_shape(kernel.shape))
    np.testing.assert_array_equal(matrix, np.moveaxis(kernel, -1, 0).reshape(5, -1))  # OHWI


@pytest.mark.parametrize("shape, layout", [
    ((4,), layouts.Layout((0,), ())),
    ((4, 5), layouts.DENSE),
    ((3, 4, 5), layouts.conv(1)),
    ((3, 3, 3, 4, 5), layouts.conv(3)),
    ((1, 1, 1, 1, 1, 2), layouts.Layout((0, 1, 2, 3, 4, 5), ())),
])
def test_guess_from_the_shape(shape, layout):
    assert layouts.of_shape(shape) == layout


def test_wrong_axes_are_refused():
    with pytest.raises(ValueError, match="without gaps"):
        layouts.Layout(outputs=(2,), inputs=(0,))
    with pytest.raises(ValueError, match="without gaps"):
        layouts.Layout(outputs=(1,), inputs=(0,), spatial=(0,))
    with pytest.raises(ValueError, match="has 3 axes"):
        layouts.DENSE.matrix_shape((1, 2, 3))
    with pytest.raises(ValueError, match="1, 2 or 3"):
        layouts.locally_connected(1, implementation=4)


@pytest.mark.parametrize("equation", ["ab", "ab,bc", "ab->ac", "ab,b...->a", "ab,bb->a", ""])
def test_equations_without_a_kernel_are_refused(equation):
    with pytest.raises(ValueError, match="Cannot read"):
        layouts.einsum(equation)


def test_configuration_round_trip():
    layout = layouts.depthwise(2)
    assert from_config(to_config(layout)) == layout
