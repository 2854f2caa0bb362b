# SPDX-License-Identifier: Apache-2.0
"""Optimal brain surgeon, by hand and against its published steps written out one by one."""

import numpy as np
import pytest

from tfprune.statistics.brain_surgeon import removal_losses

GRAM = np.array([[2.0, 1.0], [1.0, 2.0]])


def test_two_weights_by_hand():
    # H^-1 = [[2, -1], [-1, 2]] / 3. 1^2 / (2/3) = 1.5 is less than 3^2 / (2/3) = 13.5, so the
    # second goes first, and the first becomes 3 + 1/2. Then [H^-1]_11 = 1/2: 3.5^2 / .5 = 24.5,
    # with 1.5 before it all of w^T H w = 18 + 6 + 2.
    found = removal_losses(GRAM, np.array([[3.0, 1.0]]), np.array([[0, 1]]))
    assert found.tolist() == [[24.5, 1.5]]
    assert found.sum() == np.array([3, 1]) @ GRAM @ np.array([3, 1])


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


def test_one_of_two_stays_to_the_end():
    gram, weights = np.eye(4), np.array([[1.0, 2.0, 3.0, 4.0]])
    rivals = np.array([[0, 0, 1, 1]])
    order = removal_losses(gram, weights, np.arange(4)[None], rivals=rivals, least=1)
    # 1, then 3, since 2 may not go; then what had to stay
    assert np.argsort(order[0]).tolist() == [0, 2, 1, 3]


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
