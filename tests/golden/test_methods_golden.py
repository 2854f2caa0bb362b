"""One hand-checkable row per method: scores, and the mask at half."""

import numpy as np
import pytest

from tfprune import layouts
from tfprune.methods import REGISTRY
from tfprune.sites import Site
from tfprune.statistics import collect

SITE = Site("dense/kernel", (2, 3), layouts.DENSE, "dense")
KERNEL = np.array([[0.5, -2.0, 0.25], [-0.75, 0.0, 1.0]], np.float32)

# The magnitudes are .5 2 .25 / .75 0 1: the three largest are 2, 1 and .75.
GOLDEN = {"magnitude": [[0, 1, 0], [1, 0, 1]]}
DRAWN = {"random": "its scores are drawn: tested against the draws below"}


def test_every_method_has_a_row():
    assert set(GOLDEN) | set(DRAWN) == set(REGISTRY)


def test_magnitude_keeps_the_three_largest():
    (mask,) = REGISTRY["magnitude"].rule.masks([KERNEL], [SITE], 0.5, final=0.5)
    assert mask.astype(int).tolist() == GOLDEN["magnitude"]


def test_random_keeps_the_three_largest_draws_whatever_the_weights():
    drawn = collect(("noise",), [KERNEL])[0]["noise"]
    for weights in (KERNEL, np.zeros_like(KERNEL), -KERNEL):
        (mask,) = REGISTRY["random"].rule.masks([weights], [SITE], 0.5, final=0.5)
        expected = drawn >= np.sort(drawn, axis=None)[3]
        np.testing.assert_array_equal(mask, expected)


@pytest.mark.parametrize("sparsity, kept", [(0.0, 6), (0.5, 3), (0.75, 2), (0.9, 1), (0.99, 1)])
@pytest.mark.parametrize("name", REGISTRY)
def test_counts_by_hand(name, sparsity, kept):
    # 6 (1 - .75) = 1.5 rounds to the even 2; .6 rounds to 1; .06 is held at the floor of 1.
    (mask,) = REGISTRY[name].rule.masks([KERNEL], [SITE], sparsity, final=sparsity)
    assert int(mask.sum()) == kept
