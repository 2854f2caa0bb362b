# SPDX-License-Identifier: Apache-2.0
"""Coresets that a reader can check by hand."""

import itertools

import numpy as np
import pytest

from tfprune.masks.coresets import (
    VARIANTS,
    linf_coreset,
    mussay_sensitivities,
    points,
    sensitivities,
)
from tfprune.masks.coresets.caratheodory import combination, reduce_support
from tfprune.masks.coresets.ellipsoid import lowner


def cube(rank):
    return np.array(list(itertools.product([-1.0, 1], repeat=rank)))


def cross(rank):
    return np.concatenate([np.eye(rank), -np.eye(rank)])


@pytest.mark.parametrize("rank", [1, 2, 3, 5, 8])
def test_around_a_cube_is_the_ball_of_radius_root_r(rank):
    found = lowner(cube(rank), tol=1e-9)
    np.testing.assert_allclose(found.centre, 0, atol=1e-6)
    full = found.basis @ found.shape @ found.basis.T
    np.testing.assert_allclose(full, np.eye(rank) / rank, atol=1e-6)


@pytest.mark.parametrize("rank", [1, 2, 3, 5, 8])
def test_around_a_cross_polytope_is_the_ball_of_radius_1(rank):
    found = lowner(cross(rank), tol=1e-9)
    np.testing.assert_allclose(found.centre, 0, atol=1e-6)
    full = found.basis @ found.shape @ found.basis.T
    np.testing.assert_allclose(full, np.eye(rank), atol=1e-6)
    np.testing.assert_allclose(found.weights, 1 / (2 * rank), atol=1e-6)


def test_around_a_right_triangle():
    # The Steiner ellipse: centre of gravity, through the corners.
    found = lowner(np.array([[0.0, 0], [1, 0], [0, 1]]), tol=1e-9)
    np.testing.assert_allclose(found.centre, [1 / 3, 1 / 3], atol=1e-6)
    full = found.basis @ found.shape @ found.basis.T
    np.testing.assert_allclose(full, [[3, 1.5], [1.5, 3]], atol=1e-6)
    np.testing.assert_allclose(found.weights, 1 / 3, atol=1e-6)


@pytest.mark.parametrize("variant", VARIANTS)
def test_coresets_of_a_cross_polytope(variant):
    rows = np.concatenate([0.5 * cross(3), cross(3)])
    found = linf_coreset(rows, variant)
    assert found.indices.tolist() == [6, 7, 8, 9, 10, 11]
    assert found.centring == pytest.approx(0, abs=1e-3)
    power = 1 if variant == "lowner_contact" else 1.5
    assert found.alpha == pytest.approx(3**power, rel=1e-3)
    assert found.alpha_relu == pytest.approx(3**1 * (1 if power == 1 else 3**0.5), rel=1e-2)


def test_the_contact_points_of_a_cube_are_made_few():
    # 256 corners touch the ball; 8 * 11 / 2 = 44 of them are enough.
    assert len(linf_coreset(cube(8)).indices) <= 44
    assert len(linf_coreset(cube(5)).indices) <= 20


def test_peeling_a_nest_of_squares():
    # 4 corners each; contact points, alpha = 3: rounds go on while 6 points or more are left.
    rows = np.concatenate([size * cube(2) for size in (5, 4, 3, 2, 1)])
    found = sensitivities(rows, "lowner_contact")
    expected = np.repeat([3, 3 / 2, 3 / 3, 3 / 4, 3 / 5], 4)
    np.testing.assert_allclose(found.values, expected)
    assert (found.rounds, found.alpha, found.dimension, found.variance) == (4, 3, 2, 1)
    assert found.relu == (True,) * 4
    # 2 r^1.5 = 5.66 while 8 points or more are left.
    other = sensitivities(rows, "lowner_caratheodory")
    assert other.alpha == pytest.approx(2 * 2**1.5)
    assert other.values.max() == other.alpha and other.values[:4].max() == other.alpha


def test_three_points_of_a_square():
    corners = np.array([[0.0, 0], [1, 0], [0, 1], [1, 1]])
    indices, weights = combination(corners, np.array([0.5, 0.25]))
    assert len(indices) <= 3
    np.testing.assert_allclose(weights @ corners[indices], [0.5, 0.25])
    indices, weights = reduce_support(corners, np.full(4, 0.25))
    assert len(indices) <= 3
    np.testing.assert_allclose(weights @ corners[indices], [0.5, 0.5])


def test_norms():
    rows = points(np.array([[3.0], [-5], [0]]), np.array([4.0, 12, 0]), np.array([2, 1, 7]))
    np.testing.assert_allclose(mussay_sensitivities(rows), [10, 13, 0])
