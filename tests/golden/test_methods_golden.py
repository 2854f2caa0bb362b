# SPDX-License-Identifier: Apache-2.0
"""One hand-checkable row per method: scores, and the mask at half."""

import dataclasses

import numpy as np
import pytest

from tfprune.masks import kernel_layout
from tfprune.masks.sites import Site
from tfprune.methods import REGISTRY
from tfprune.methods.statistics_table import collect

SITE = Site("dense/kernel", (2, 3), kernel_layout.DENSE, "dense")
KERNEL = np.array([[0.5, -2.0, 0.25], [-0.75, 0.0, 1.0]], np.float32)

INF = float("inf")

# By hand, per method: measured statistics, the scores of the six weights or of the groups, the
# mask at half.
GOLDEN = {
    "magnitude": ({}, [[0.5, 2, 0.25], [0.75, 0, 1]], [[0, 1, 0], [1, 0, 1]]),
    "dpf": ({}, [[0.5, 2, 0.25], [0.75, 0, 1]], [[0, 1, 0], [1, 0, 1]]),
    "st3": ({}, [[0.5, 2, 0.25], [0.75, 0, 1]], [[0, 1, 0], [1, 0, 1]]),
    "rigl": ({}, [[0.5, 2, 0.25], [0.75, 0, 1]], [[0, 1, 0], [1, 0, 1]]),
    "set": ({}, [[0.5, 2, 0.25], [0.75, 0, 1]], [[0, 1, 0], [1, 0, 1]]),
    # what was learned
    "movement": (
        {"movement": [[-1, 3, 0], [2, -0.5, 1]]},
        [[-1, 3, 0], [2, -0.5, 1]],
        [[0, 1, 0], [1, 0, 1]],
    ),
    "movement_soft": (
        {"movement": [[-1, 3, 0], [2, -0.5, 1]]},
        [[-1, 3, 0], [2, -0.5, 1]],
        [[0, 1, 0], [1, 0, 1]],
    ),
    # two of four down each column; here a column has two, filled up: both stay
    "srste": (
        {},
        [[0.5, 0.75, -INF, -INF], [2, 0, -INF, -INF], [0.25, 1, -INF, -INF]],
        [[1, 1, 1], [1, 1, 1]],
    ),
    # |W dL/dW|
    "snip": (
        {"gradient": [[2, -0.5, 4], [-1, 8, 0.25]]},
        [[1, 1, 1], [0.75, 0, 0.25]],
        [[1, 1, 1], [0, 0, 0]],
    ),
    # W (H g), the most negative go first
    "grasp": (
        {"hessian_gradient": [[-2, -1, 4], [1, 8, -3]]},
        [[-1, 2, 1], [-0.75, 0, -3]],
        [[0, 1, 1], [0, 1, 0]],
    ),
    # |W| dR/d|W|
    "synflow": (
        {"flow": [[1, 1, 8], [4, 2, 0.5]]},
        [[0.5, 2, 2], [3, 0, 0.5]],
        [[0, 1, 1], [1, 0, 0]],
    ),
    # half of what was measured on each filter; the filters in the end are columns
    "fisher": ({"gate_square": [4, 1, 2]}, [2, 0.5, 1], [[1, 0, 1], [1, 0, 1]]),
    "taylor": ({"gate_batch_square": [0.25, 2, 1]}, [0.25, 2, 1], [[0, 1, 1], [0, 1, 1]]),
    # the square of a change that may have either sign
    "taylor_second_order": ({"gate_change": [-2, 1, 0.5]}, [4, 1, 0.25], [[1, 1, 0], [1, 1, 0]]),
    # one ranking of the means over positions
    "sipp": (
        {"mean_sensitivity": [[0.5, 0.25, 1], [0.25, 0.75, 0]]},
        [[0.5, 0.25, 1], [0.25, 0.75, 0]],
        [[1, 0, 1], [0, 1, 0]],
    ),
    # the maximum over what reads each input: the first row is one input channel
    "pfp": (
        {"peak_sensitivity": [[0.5, 0.25, 0.5], [0.25, 0.75, 0]]},
        [0.5, 0.75],
        [[0, 0, 0], [1, 1, 1]],
    ),
    # |W| times the norm of its input; one row for each output, of two inputs: one of them is kept
    "wanda": (
        {"input_norm": [[2, 2, 2], [1, 1, 1]]},
        [[1, 0.75], [4, 0], [0.5, 1]],
        [[1, 1, 0], [0, 0, 1]],
    ),
    # one row for each output, of two inputs: one of them is kept
    "dpp": (
        {"logits": [[0.5, -1], [2, 3], [0, -0.25]]},
        [[0.5, -1], [2, 3], [0, -0.25]],
        [[1, 0, 1], [0, 1, 0]],
    ),
    # .5 + .75, 2 + 0, .25 + 1: two of three are kept, of equal ones the first
    "filter_threshold": ({}, [1.25, 2, 1.25], [[1, 1, 0], [1, 1, 0]]),
    # .25 + .5625, 4 + 0, .0625 + 1
    "filter_threshold_l2": ({}, [0.8125, 4, 1.0625], [[0, 1, 1], [0, 1, 1]]),
    # sqrt(W^2)
    "admm": ({}, [[0.5, 2, 0.25], [0.75, 0, 1]], [[0, 1, 0], [1, 0, 1]]),
    # one ranking of what the removal of each costs
    "obs": (
        {"removal_loss": [[0.5, 0.25, 1], [0.25, 0.75, 0]]},
        [[0.5, 0.25, 1], [0.25, 0.75, 0]],
        [[1, 0, 1], [0, 1, 0]],
    ),
    # one number per column, the highest kept: two of three, of equal ones the first
    "coreset": ({"contact_sensitivity": [3, 1.5, 3]}, [3, 1.5, 3], [[1, 0, 1], [1, 0, 1]]),
    "coreset_caratheodory": (
        {"caratheodory_sensitivity": [2, 4, 2]},
        [2, 4, 2],
        [[1, 1, 0], [1, 1, 0]],
    ),
    "coreset_mussay": ({"norm_sensitivity": [0.5, 1, 2]}, [0.5, 1, 2], [[0, 1, 1], [0, 1, 1]]),
    # what has no chance is not drawn: the other two are what is kept
    "coreset_draws": ({"contact_sensitivity": [3, 0, 1.5]}, [3, 0, 1.5], [[1, 0, 1], [1, 0, 1]]),
}
DRAWN = {
    "random": "its scores are drawn: tested against the draws below",
    "spp": "its chances decide, not the scores alone: tested in test_chances_golden.py",
    "djpq": "its gates decide: tested in unit/test_bottleneck.py",
}


def test_every_method_has_a_row():
    assert set(GOLDEN) | set(DRAWN) == set(REGISTRY)


@pytest.mark.parametrize("name", GOLDEN)
def test_scores_and_mask_by_hand(name):
    measured, scores, mask = GOLDEN[name]
    rule = REGISTRY[name].rule
    given = [{key: np.array(value, np.float32) for key, value in measured.items()}]
    (found,) = rule.scores([KERNEL], [SITE], given)
    assert found.reshape(np.shape(scores)).tolist() == scores
    (chosen,) = rule.choose([found], [SITE], 0.5, final=0.5)
    assert chosen.astype(int).tolist() == mask


def test_random_keeps_the_three_largest_draws_whatever_the_weights():
    drawn = collect(("noise",), [KERNEL])[0]["noise"]
    for weights in (KERNEL, np.zeros_like(KERNEL), -KERNEL):
        (mask,) = REGISTRY["random"].rule.masks([weights], [SITE], 0.5, final=0.5)
        expected = drawn >= np.sort(drawn, axis=None)[3]
        np.testing.assert_array_equal(mask, expected)


@pytest.mark.parametrize("sparsity, kept", [(0.0, 6), (0.5, 3), (0.75, 2), (0.9, 1), (0.99, 1)])
def test_counts_by_hand(sparsity, kept):
    # 6 (1 - .75) = 1.5 rounds to the even 2; .6 rounds to 1; .06 is held at the floor of 1.
    (mask,) = REGISTRY["magnitude"].rule.masks([KERNEL], [SITE], sparsity, final=sparsity)
    assert int(mask.sum()) == kept


def test_factors_of_draws_by_hand():
    # One of three is kept: the one that is drawn first, in one draw, so u = 1 / q. The chances
    # are 1/4, 1/2 and 1/4.
    rule = REGISTRY["coreset_draws"].rule
    seen = set()
    for seed in range(20):
        drawn = dataclasses.replace(rule, seed=seed)
        scores = [np.array([1, 2, 1], np.float32)]
        (factors,) = drawn.factors(scores, [SITE], 2 / 3, final=2 / 3)
        (mask,) = drawn.choose(scores, [SITE], 2 / 3, final=2 / 3)
        assert mask.tolist() == [(factors > 0).tolist()] * 2
        seen.add(tuple(factors.tolist()))
    assert seen == {(4, 0, 0), (0, 2, 0), (0, 0, 4)}


def test_what_is_removed_stays_below_whatever_is_kept():
    # The middle of the second row is zero: below -3 where scores are signed, below 0 elsewhere.
    for name, kept in (("grasp", 5), ("snip", 5)):
        measured, _, _ = GOLDEN[name]
        rule = REGISTRY[name].rule
        given = [{key: np.array(value, np.float32) for key, value in measured.items()}]
        scores = rule.below(rule.scores([KERNEL], [SITE], given), [KERNEL], [SITE])
        (mask,) = rule.choose(scores, [SITE], 1 / 6, final=1 / 6)
        assert mask.sum() == kept and not mask[1, 1]
