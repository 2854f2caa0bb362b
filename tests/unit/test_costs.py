# SPDX-License-Identifier: Apache-2.0
"""Costs, counted by hand."""

import numpy as np
import pytest

from tfprune.masks.costs import bops, macs, parameters, relative_bops


def test_parameters_and_macs():
    mask = np.zeros((3, 3, 4, 8), bool)
    mask[0, 0] = True
    assert parameters(mask.shape) == 288 and parameters(mask.shape, mask) == 32
    assert macs(mask.shape, 49) == 288 * 49 and macs(mask.shape, 49, mask) == 32 * 49
    assert macs(mask.shape, None, mask) is None


def test_bit_operations_by_hand():
    work = macs((3, 3, 64, 128), 64)
    assert work == 4_718_592
    assert bops(work, 4, 8, (0.5, 0.75)) == 56_623_104
    assert relative_bops([(work, 4, 8, (0.5, 0.75))]) == pytest.approx(0.01171875)
    assert relative_bops([(work, 32, 32, (1, 1)), (7, 32, 32, (1, 1))]) == 1


def test_what_is_removed_costs_what_a_smaller_layer_costs():
    small = bops(macs((3, 3, 32, 96), 64), 4, 8)
    assert bops(macs((3, 3, 64, 128), 64), 4, 8, (0.5, 0.75)) == small


def test_bit_operations_of_a_chain():
    # The second layer reads what the first one kept.
    chain = [(1000, 8, 8, (1, 0.25)), (2000, 2, 4, (0.25, 1))]
    assert relative_bops(chain) == pytest.approx((16000 + 4000) / (3000 * 1024))
