# SPDX-License-Identifier: Apache-2.0
"""The arithmetic of the sparse formats, without any runtime."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tflite_export.sparsity.sparse_formats import block, csr, decode, narrow, smallest_csr

SHAPES = st.lists(st.integers(1, 7), min_size=1, max_size=4).map(tuple)


def sparse_array(shape, seed, density, dtype="float32"):
    generator = np.random.default_rng(seed)
    values = generator.integers(1, 100, shape).astype(dtype)
    return values * (generator.random(shape) < density)


@given(SHAPES, st.integers(0, 99), st.sampled_from([0, 0.1, 0.5, 1]), st.data())
def test_csr_and_back(shape, seed, density, data):
    array = sparse_array(shape, seed, density).astype("float32")
    axis = data.draw(st.integers(0, len(shape) - 1))
    packed = csr(array, axis)
    np.testing.assert_array_equal(decode(packed), array)
    assert packed.values.size == np.count_nonzero(array)
    assert packed.order[-1] == axis and sorted(packed.order) == list(range(len(shape)))
    assert len(packed.segments) == array.size // shape[axis] + 1
    assert packed.nbytes >= smallest_csr(array).nbytes


@given(st.integers(1, 6), st.integers(1, 6), st.sampled_from([2, 4]), st.integers(0, 99))
def test_blocks_and_back(rows, blocks, width, seed):
    matrix = sparse_array((rows, blocks * width), seed, 0.15)
    packed = block(matrix, width)
    np.testing.assert_array_equal(decode(packed), matrix)
    kept = np.count_nonzero(matrix.reshape(rows, blocks, width).any(axis=2))
    assert packed.values.size == kept * width and packed.indices.size == kept


@pytest.mark.parametrize(
    "largest, dtype",
    [(0, "uint8"), (255, "uint8"), (256, "uint16"), (65535, "uint16"), (65536, "int32")],
)
def test_narrowest_index(largest, dtype):
    assert narrow(np.array([0, largest])).dtype == dtype
    assert narrow(np.array([0, largest]))[1] == largest


def test_index_widths_are_chosen_separately():
    """300 columns need 2 bytes a column index; 40 non-zeros need 1 byte a segment."""
    array = np.zeros((4, 300), np.int8)
    array[:, 290:] = 1
    packed = csr(array)
    assert packed.indices.dtype == "uint16" and packed.segments.dtype == "uint8"
    assert packed.nbytes == 40 + 40 * 2 + 5


def test_negative_zero_is_a_zero():
    assert csr(np.array([[-0.0, 2.0]], "f4")).values.tolist() == [2.0]


@pytest.mark.parametrize("shape, width", [((2, 6), 4), ((4,), 4), ((2, 4, 4), 4), ((2, 4), 1)])
def test_blocks_that_do_not_fit(shape, width):
    with pytest.raises(ValueError, match=r"columns a multiple of"):
        block(np.zeros(shape), width)
