"""Costs: counted by hand, and the sparse encoding against the converter's own rules."""

import numpy as np
import pytest

from tfprune import layouts
from tfprune.costs import bytes_csr, bytes_dense, macs, parameters


def test_parameters_and_macs():
    mask = np.zeros((3, 3, 4, 8), bool)
    mask[0, 0] = True
    assert parameters(mask.shape) == 288 and parameters(mask.shape, mask) == 32
    assert macs(mask.shape, 49) == 288 * 49 and macs(mask.shape, 49, mask) == 32 * 49
    assert macs(mask.shape, None, mask) is None


@pytest.mark.parametrize("entries, bits, size", [(5, 32, 20), (5, 16, 10), (5, 8, 5), (5, 4, 3)])
def test_bytes_dense(entries, bits, size):
    assert bytes_dense(entries, bits) == size


def test_bytes_csr_of_a_convolution_has_a_boundary_per_position():
    mask = np.zeros((3, 3, 4, 8), bool)
    mask[1, 1, 2, 5] = True
    assert bytes_csr(mask, layouts.conv(2)) == 4 + 1 + (8 * 9 + 1)


@pytest.mark.parametrize("inputs, width", [(256, 1), (257, 2), (65_536, 2), (65_537, 4)])
def test_bytes_csr_takes_the_narrowest_index(inputs, width):
    mask = np.zeros((inputs, 1), bool)
    mask[:3] = True
    assert bytes_csr(mask, layouts.DENSE, bits=8) == 3 + 3 * width + 2


def test_bytes_csr_boundaries_widen_with_the_number_of_values():
    mask = np.ones((16, 16), bool)  # 256 values do not fit a byte
    assert bytes_csr(mask, layouts.DENSE) == 256 * 4 + 256 + 17 * 2


def test_bytes_csr_stores_whole_blocks():
    mask = np.zeros((8, 2), bool)
    mask[5, 1] = True
    assert bytes_csr(mask, layouts.DENSE, block=(1, 4)) == 4 * 4 + 1 + 3
    with pytest.raises(ValueError, match="divide the 6"):
        bytes_csr(np.ones((6, 2), bool), layouts.DENSE, block=(1, 4))
    with pytest.raises(ValueError, match="one row"):
        bytes_csr(np.ones((8, 2), bool), layouts.DENSE, block=(2, 4))
