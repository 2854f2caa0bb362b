# SPDX-License-Identifier: Apache-2.0
"""Keep counts that a reader can check by hand, with the papers' formulas."""

import numpy as np
import pytest

from tfprune.masks.allocations import ERK, LAMP, Global, PerSite, Uniform, lamp_scores
from tfprune.masks.kernel_layout import DENSE, of_shape
from tfprune.masks.sites import Site

BIG, SMALL = np.array([9.0, 8, 7, 6]), np.array([5.0, 4, 3, 0.1])
SITES = [Site(f"{name}/kernel", (2, 2), DENSE, name) for name in ("big", "small")]


@pytest.mark.parametrize(
    "allocation, sparsity, counts",
    [
        (Uniform(), 0.5, [2, 2]),
        (Uniform(), 0.625, [2, 2]),  # 4 * 0.375 = 1.5 -> 2
        (Uniform(), 0.375, [2, 2]),  # 4 * 0.625 = 2.5 -> 2: halves go to the even neighbour
        (Uniform(), 0.99, [1, 1]),  # the floor
        (Uniform(min_keep=0), 0.99, [0, 0]),
        (Global(), 0.25, [4, 2]),
        (Global(), 0.5, [3, 1]),  # the four best are all in `big`, one gives way to the floor
        (Global(min_keep=0), 0.5, [4, 0]),
        (Global(min_keep=3), 0.9, [3, 3]),  # the floors are more than round(0.8)
        # lamp: big 1, .452, .253, .157; small 1, .390, .180, .0002
        (LAMP(), 0.5, [2, 2]),
        (LAMP(), 0.625, [2, 1]),
        (LAMP(), 0.25, [3, 3]),
        (PerSite({"small": 0.0}), 0.75, [1, 4]),
        (PerSite({"small": 0.5}, others=Uniform()), 0.75, [1, 2]),
    ],
)
def test_counts_by_hand(allocation, sparsity, counts):
    assert allocation([BIG, SMALL], SITES, sparsity, sparsity).tolist() == counts


def test_lamp_scores():
    np.testing.assert_allclose(
        lamp_scores(np.abs([0.1, -0.5, 0.3, 2])), [1, 0.058824, 0.020737, 0.002299], atol=5e-7
    )
    assert lamp_scores(np.zeros(3)).tolist() == [0, 0, 0]


def test_erk_densities():
    shapes = [(3, 3, 3, 16), (3, 3, 16, 32), (3, 3, 32, 64), (64, 10)]
    sites = [Site(f"site{shape}", shape, of_shape(shape), "layer") for shape in shapes]
    sizes = np.array([site.size for site in sites])
    # The reference code rounds the number of weights up site by site: 4824 of 24112 at 80 %.
    sparsity = 1 - 4824 / sizes.sum()
    counts = ERK()([np.ones(size) for size in sizes], sites, sparsity, sparsity)
    # epsilon = (4824 - 432 - 640) / (3 + 3 + 16 + 32 + 3 + 3 + 32 + 64) = 3752 / 156 = 24.05128
    # 54 epsilon = 1298.77 = 0.281851 * 4608 and 102 epsilon = 2453.23 = 0.133096 * 18432
    assert counts.tolist() == [432, 1299, 2453, 640]
    # 4822 weights: 1298.08 and 2451.92; the larger remainder is rounded up
    counts = ERK()([np.ones(size) for size in sizes], sites, 0.8, 0.8)
    assert counts.tolist() == [432, 1298, 2452, 640]
