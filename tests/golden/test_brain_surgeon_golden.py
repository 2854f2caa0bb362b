# SPDX-License-Identifier: Apache-2.0
"""What outputs lose by removed weights: by hand, and against the published algorithm."""

import numpy as np
import pytest

from tfprune.masks import kernel_layout
from tfprune.masks.structures import Block, Element, Kernel, NofM
from tfprune.statistics import brain_surgeon
from tfprune.statistics.brain_surgeon import removal_losses
from tfprune.statistics.removal_loss import numbered

GRAM = np.array([[2.0, 1.0], [1.0, 2.0]])
CONV = kernel_layout.Layout(outputs=(3,), inputs=(2,), spatial=(0, 1))


def drawn(outputs, columns, seed=0):
    """(H, W)"""
    rng = np.random.default_rng(seed)
    inputs = rng.normal(size=(4 * columns, columns)) @ rng.normal(size=(columns, columns))
    return inputs.T @ inputs, rng.normal(size=(outputs, columns))


def alone(weights):
    """Each weight is a group."""
    return np.arange(weights.size).reshape(weights.shape)


def exact_obs(gram, weights):
    """ExactOBS as OBC's authors give it, one output, one weight at a time."""
    inverse, weights = np.linalg.inv(gram), weights.copy()
    alive, course = list(range(len(weights))), []
    while alive:
        scores = [weights[p] ** 2 / inverse[p, p] for p in alive]
        p = alive.pop(int(np.argmin(scores)))
        course.append((p, min(scores)))
        weights = weights - inverse[:, p] * weights[p] / inverse[p, p]
        inverse = inverse - np.outer(inverse[:, p], inverse[p]) / inverse[p, p]
    return course


def test_two_weights_by_hand():
    # H^-1 = [[2, -1], [-1, 2]] / 3. The second costs 1 / (2/3) = 1.5; the first is then 3 + 1/2,
    # alone with H_11 = 2, and costs 2 3.5^2 = 24.5.
    losses = removal_losses(np.array([[2.0, 1], [1, 2]]), np.array([[3.0, 1]]), np.array([[0, 1]]))
    np.testing.assert_allclose(losses, [[24.5, 1.5]], rtol=1e-12)


def test_three_weights_by_hand():
    # The third reads alone: 4 2^2 = 16, between 1.5 and 24.5.
    gram = np.array([[2.0, 1, 0], [1, 2, 0], [0, 0, 4]])
    losses = removal_losses(gram, np.array([[3.0, 1, 2]]), np.array([[0, 1, 2]]))
    np.testing.assert_allclose(losses, [[24.5, 1.5, 16]], rtol=1e-12)


def test_a_loss_is_never_below_those_before_it():
    # The first costs 1 / (2/3) = 1.5; the second is then -1 + 1/2 and costs 2 0.5^2 = 0.5.
    gram = np.array([[2.0, 1], [1, 2]])
    losses = removal_losses(gram, np.array([[1.0, -1]]), np.array([[0, 1]]))
    assert losses[0, 0] == pytest.approx(1.5) and losses[0, 1] == pytest.approx(1.5, rel=1e-5)
    assert losses[0, 1] > losses[0, 0]  # in its order still


@pytest.mark.parametrize("columns", [5, 40, 70])  # 32 changes of H^-1 are kept back
def test_order_and_losses_are_those_of_exact_obs(columns):
    gram, weights = drawn(3, columns)
    losses = removal_losses(gram, weights, alone(weights))
    for own, row in zip(losses, weights, strict=True):
        course = exact_obs(gram, row)
        assert np.argsort(own).tolist() == [p for p, _ in course]
        highest = np.maximum.accumulate([loss for _, loss in course])
        np.testing.assert_allclose(np.sort(own), highest, rtol=1e-4)


def test_the_layer_loses_what_exact_obs_says_and_refitted_weights_leave():
    gram, weights = drawn(4, 12)
    losses = removal_losses(gram, weights, alone(weights))
    gone = losses <= np.sort(losses, axis=None)[23]
    left = 0.0
    for row, out in zip(weights, gone, strict=True):
        kept = np.flatnonzero(~out)
        best = np.zeros_like(row)
        best[kept] = np.linalg.solve(gram[np.ix_(kept, kept)], gram[kept] @ row)
        left += (row - best) @ gram @ (row - best)
    summed = sum(
        loss
        for row, out in zip(weights, gone, strict=True)
        for _, loss in exact_obs(gram, row)[: out.sum()]
    )
    assert gone.sum() == 24 and left == pytest.approx(summed, rel=1e-9)


@pytest.mark.parametrize(
    "structure, shape", [(Block(1, 4), (8, 3)), (Block(2, 3), (7, 5)), (Kernel(), (2, 2, 3, 4))]
)
def test_the_first_group_costs_what_least_squares_says(structure, shape):
    layout = kernel_layout.DENSE if len(shape) == 2 else CONV
    groups, rivals = numbered(structure, shape, layout)
    gram, weights = drawn(*groups.shape)
    losses = removal_losses(gram, weights, groups, rivals=rivals)
    expected = {}
    for number in np.unique(groups):
        cost = 0.0
        for row, own in zip(weights, groups == number, strict=True):
            if own.any():
                block = np.linalg.inv(gram)[np.ix_(own, own)]
                cost += row[own] @ np.linalg.solve(block, row[own])
        expected[number] = cost
    first = min(expected, key=expected.get)
    assert np.ptp(losses[groups == first]) == 0
    assert losses.min() == pytest.approx(expected[first], rel=1e-9)
    assert (losses[groups == first] == losses.min()).all()
    assert all(np.ptp(losses[groups == number]) == 0 for number in expected)


def test_two_of_four_stay_to_the_end_in_each_four():
    groups, rivals = numbered(NofM(2, 4), (12, 5), kernel_layout.DENSE)
    gram, weights = drawn(5, 12)
    losses = removal_losses(gram, weights, groups, rivals=rivals, least=2)
    ordered = np.argsort(losses, axis=1)
    for row in range(5):
        assert np.bincount(ordered[row, :6] // 4).tolist() == [2, 2, 2]


def test_many_columns_are_taken_in_parts_whose_losses_are_upper_bounds(monkeypatch):
    groups, _ = numbered(Element(), (24, 2), kernel_layout.DENSE)
    gram, weights = drawn(2, 24)
    exact = removal_losses(gram, weights, groups)
    monkeypatch.setattr(brain_surgeon, "_MOST", 16)
    monkeypatch.setattr(brain_surgeon, "_PART", 8)
    found = removal_losses(gram, weights, groups)
    parts = [
        removal_losses(gram[a : a + 8, a : a + 8], weights[:, a : a + 8], groups[:, :8])
        for a in (0, 8, 16)
    ]
    np.testing.assert_array_equal(found, np.concatenate(parts, axis=1))
    assert (found.min(axis=1) >= exact.min(axis=1)).all()


def test_parts_divide_no_group():
    groups, rivals = numbered(Kernel(), (2, 2, 6, 4), CONV)
    parts = brain_surgeon._parts(groups)
    assert sorted(np.concatenate(parts)) == list(range(24)) and len(parts) == 1
    several = np.tile(np.arange(1300) // 4, (2, 1))
    assert [len(part) for part in brain_surgeon._parts(several)] == [512, 512, 276]


def test_two_weights_together_and_two_outputs_by_hand():
    weights = np.array([[3.0, 1.0], [1.0, 0.0]])
    # a row as one group costs w^T H w: 26, and 2
    assert removal_losses(GRAM, weights, np.array([[0, 0], [1, 1]])).round(9).tolist() == [
        [26, 26],
        [2, 2],
    ]
    # columns as groups cost what both outputs lose: 1.5 + 0, then 24.5 + 1 / (1/2)
    assert removal_losses(GRAM, weights, np.array([[0, 1], [0, 1]])).round(9).tolist() == [
        [26.5, 1.5],
        [26.5, 1.5],
    ]


def by_steps(gram, weights, groups):
    """One output: the inverse is changed with every removal, and the cheapest group looked for."""
    inverse, left, lost = np.linalg.inv(gram), weights.copy(), np.zeros(len(weights))
    remaining, highest = sorted(set(groups)), 0.0
    while remaining:
        costs = {}
        for group in remaining:
            places = np.flatnonzero(groups == group)
            block = np.linalg.inv(inverse[np.ix_(places, places)])
            costs[group] = left[places] @ block @ left[places]
        group = min(costs, key=costs.get)
        highest = max(highest, costs[group])
        places = np.flatnonzero(groups == group)
        block = np.linalg.inv(inverse[np.ix_(places, places)])
        left = left - inverse[:, places] @ block @ left[places]
        inverse = inverse - inverse[:, places] @ block @ inverse[places]
        left[places], lost[places] = 0, highest
        remaining.remove(group)
    return lost


@pytest.mark.parametrize("size", [1, 4, 5], ids=["single", "of four", "the last is shorter"])
def test_every_step_as_published(size):
    draw = np.random.default_rng(size)
    inputs, weights = draw.normal(size=(200, 44)), draw.normal(size=(3, 44))
    gram = inputs.T @ inputs
    groups = np.tile(np.arange(44) // size, (3, 1)) + 44 * np.arange(3)[:, None]
    found = removal_losses(gram, weights, groups)
    for row in range(3):
        np.testing.assert_allclose(found[row], by_steps(gram, weights[row], groups[row]), rtol=1e-4)
