# SPDX-License-Identifier: Apache-2.0
"""The first logits of DPP: by the size of the weights, or drawn."""

import numpy as np
import pytest
import tensorflow as tf

from tfprune import Rows, get_method
from tfprune.masks.kernel_layout import DENSE
from tfprune.masks.sites import Site

# Two outputs that read three inputs each; kept are weights of an output.
WEIGHT = np.array([[3.0, -2.0], [0.0, 2.0], [-6.0, 2.0]], np.float32)


def begun(start, weight=WEIGHT, count=None):
    site = Site("dense/kernel", tuple(weight.shape), DENSE, "dense")
    rule = get_method("dpp", structure=Rows("weights", 2), start=start).rule
    state = rule.state(site)
    if count is not None:
        state["count"] = np.float32(count)
    [changes] = rule.advance([weight], [site], [state], 0.5, final=0.5)
    return state["logits"], changes


def test_by_magnitude_in_each_row_with_the_deviation_asked_for():
    _, changes = begun("magnitude")
    # |3|, |0|, |6| are 0, -1 and 1 deviations of sqrt(6) around 3; three equal ones do not differ.
    np.testing.assert_allclose(
        changes["logits"], [[0, -2 * np.sqrt(1.5), 2 * np.sqrt(1.5)], [0, 0, 0]], atol=1e-6
    )
    assert changes["count"] == 2


@pytest.mark.parametrize("start, count", [("random", None), ("magnitude", 2)])
def test_drawn_or_learned_logits_stay(start, count):
    before, changes = begun(start, count=count)
    np.testing.assert_array_equal(changes.get("logits", before), before)


def test_tensors_and_weights_that_are_no_numbers():
    weight = WEIGHT.copy()
    weight[1, 0] = np.nan
    for given in (weight, tf.constant(weight)):
        _, changes = begun("magnitude", given)
        np.testing.assert_array_equal(changes["logits"], np.zeros((2, 3)))


def test_another_start():
    with pytest.raises(ValueError, match="start='zeros': expected 'magnitude' or 'random'"):
        get_method("dpp", start="zeros")
