# SPDX-License-Identifier: Apache-2.0
"""Masks that a reader can check by eye."""

import numpy as np
import pytest

from tfprune.masks.kernel_layout import DENSE, conv, depthwise
from tfprune.masks.select import select
from tfprune.masks.structures import Block, Channel, Column, Element, Filter, Kernel, NofM

# A Dense kernel [in, out] with 4 inputs and 3 outputs.
WEIGHTS = np.array([[4.0, 0, 2], [0.1, 6, 3], [3.0, 5, 7], [0.3, 0, 9]])


@pytest.mark.parametrize(
    "structure, keep, mask",
    [
        (Element(), 4, ["...", ".x.", ".xx", "..x"]),
        (NofM(2, 4), 2, ["x..", ".x.", "xxx", "..x"]),
        (NofM(1, 2), 1, ["x..", ".xx", "xx.", "..x"]),
        (
            Block(1, 2),
            3,
            [".x.", ".x.", ".xx", ".xx"],
        ),  # means 2.05 1.65, 3 2.5, 2.5 8: first of a tie
        (Block(1, 2, "max"), 3, [".x.", ".x.", ".xx", ".xx"]),  # 4 3, 6 5, 3 9
        (Block(2, 4, "mean"), 1, ["..x", "..x", "..x", "..x"]),  # 2.3 and, one row only, 5.25
        (Block(2, 4, "sum"), 1, ["..x", "..x", "..x", "..x"]),  # 18.4 and 21
        (Channel(), 2, ["...", "...", "xxx", "xxx"]),  # rows 6, 9.1, 15, 9.3
        (Column("max"), 2, ["...", "...", "xxx", "xxx"]),  # the same groups here; 4, 6, 7, 9
        (Filter(), 1, ["..x", "..x", "..x", "..x"]),  # columns 7.4, 11, 21
    ],
)
def test_dense(structure, keep, mask):
    chosen = structure.expand(select(structure.reduce(WEIGHTS, DENSE), keep), (4, 3), DENSE)
    assert ["".join(".x"[entry] for entry in row) for row in chosen.astype(int)] == mask


def test_convolution_groups():
    kernel = np.zeros((2, 2, 2, 3))  # [height, width, in, out]
    kernel[0, 1, 1, 2] = 8
    assert Filter("sum").reduce(kernel, conv(2)).tolist() == [0, 0, 8]
    assert Channel("sum").reduce(kernel, conv(2)).tolist() == [0, 8]
    assert Kernel("sum").reduce(kernel, conv(2)).tolist() == [0, 0, 0, 0, 0, 8]  # (in, out)
    assert Kernel("mean").reduce(kernel, conv(2)).tolist() == [0, 0, 0, 0, 0, 2]
    # (height, width, in): 0 * 4 + 1 * 2 + 1 = 3
    assert Column("sum").reduce(kernel, conv(2)).tolist() == [0, 0, 0, 8, 0, 0, 0, 0]


def test_rows_of_n_of_m_run_along_the_inputs():
    kernel = np.array([4.0, 1, 3, 2]).reshape(1, 1, 4, 1) * np.ones((2, 1, 1, 2))
    mask = NofM(2, 4).expand(select(NofM(2, 4).reduce(kernel, conv(2)), 2), kernel.shape, conv(2))
    assert (mask == np.array([True, False, True, False]).reshape(1, 1, 4, 1)).all()


def test_depthwise_groups():
    kernel = np.arange(1.0, 9).reshape(2, 1, 2, 2)  # [height, width, in, multiplier]
    assert Filter("sum").reduce(kernel, depthwise(2)).tolist() == [6, 8, 10, 12]
    assert Channel("sum").reduce(kernel, depthwise(2)).tolist() == [14, 22]
    assert Column("sum").reduce(kernel, depthwise(2)).tolist() == [10, 26]
