"""Costs, counted by hand."""

import numpy as np

from tfprune.costs import macs, parameters


def test_parameters_and_macs():
    mask = np.zeros((3, 3, 4, 8), bool)
    mask[0, 0] = True
    assert parameters(mask.shape) == 288 and parameters(mask.shape, mask) == 32
    assert macs(mask.shape, 49) == 288 * 49 and macs(mask.shape, 49, mask) == 32 * 49
    assert macs(mask.shape, None, mask) is None
