# SPDX-License-Identifier: Apache-2.0
"""Löwner ellipsoids: what makes them least, and that they move with the points."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tfprune.masks.coresets.ellipsoid import lowner
from tfprune.masks.coresets.points import hull, points, project

seeds = st.integers(0, 2**32 - 1)
quick = settings(max_examples=40)


def cloud(seed, count, dimension):
    """Points of several shapes: Gaussian, heavy-tailed, on a lattice with repetitions."""
    generator = np.random.default_rng(seed)
    rows = generator.normal(size=(count, dimension))
    if seed % 3 == 1:
        rows /= np.abs(generator.normal(size=(count, 1))) + 0.05
    if seed % 3 == 2:
        rows = np.round(2 * rows)
    return rows + 3 * generator.normal(size=dimension)


def full_shape(ellipsoid):
    return ellipsoid.basis @ ellipsoid.shape @ ellipsoid.basis.T


@quick
@given(seeds, st.integers(1, 120), st.integers(1, 9))
def test_all_points_are_inside_and_those_with_weight_on_the_surface(seed, count, dimension):
    rows = cloud(seed, count, dimension)
    found = lowner(rows)
    squares = found.norms(rows) ** 2
    assert squares.max() <= 1 + 1e-4 + 1e-9
    assert found.gap <= 1e-4
    weights = found.weights
    assert (weights >= 0).all() and abs(weights.sum() - 1) < 1e-12
    assert found.dimension == 0 or (squares[weights > 0] >= 1 - 1e-4 - 1e-9).all()
    np.testing.assert_allclose(found.basis.T @ found.basis, np.eye(found.dimension), atol=1e-12)


@quick
@given(seeds, st.integers(3, 80), st.integers(1, 7))
def test_centre_and_shape_are_the_moments_of_the_weights(seed, count, dimension):
    rows = cloud(seed, count, dimension)
    found = lowner(rows)
    np.testing.assert_allclose(found.centre, found.weights @ rows, atol=1e-9)
    places = found.whiten(rows)
    np.testing.assert_allclose(found.weights @ places, 0, atol=1e-9)
    covariance = places.T @ (found.weights[:, None] * places)
    np.testing.assert_allclose(covariance, np.eye(found.dimension), atol=1e-8)
    np.testing.assert_allclose(
        np.sum(places**2, axis=1), found.dimension * found.norms(rows) ** 2, atol=1e-7
    )


@quick
@given(seeds, st.integers(2, 6))
def test_affine_maps_of_the_points_map_the_ellipsoid(seed, dimension):
    generator = np.random.default_rng(seed)
    rows = cloud(seed, 60, dimension)
    turns = [np.linalg.qr(generator.normal(size=(dimension,) * 2))[0] for _ in range(2)]
    matrix = turns[0] * generator.uniform(0.2, 5, dimension) @ turns[1]
    shift = generator.normal(size=dimension)
    before, after = lowner(rows, tol=1e-9), lowner(rows @ matrix.T + shift, tol=1e-9)
    inverse = np.linalg.inv(matrix)
    np.testing.assert_allclose(after.centre, matrix @ before.centre + shift, atol=1e-3)
    expected = inverse.T @ full_shape(before) @ inverse
    np.testing.assert_allclose(full_shape(after), expected, atol=1e-4 * np.abs(expected).max())


def test_very_different_scales_per_coordinate():
    generator = np.random.default_rng(0)
    rows, scales = generator.normal(size=(100, 5)), 10.0 ** np.arange(-6, 9, 3)
    before, after = lowner(rows, tol=1e-8), lowner(rows * scales, tol=1e-8)
    assert after.dimension == 5
    np.testing.assert_allclose(after.norms(rows * scales), before.norms(rows), atol=1e-4)


@quick
@given(seeds, st.integers(1, 5), st.integers(0, 30), st.integers(2, 60))
def test_a_flat_cloud_has_the_ellipsoid_of_its_subspace(seed, rank, more, count):
    generator = np.random.default_rng(seed)
    inner = generator.normal(size=(count, rank))
    turn = np.linalg.qr(generator.normal(size=(rank + more, rank)))[0]
    shift = generator.normal(size=rank + more)
    flat, full = lowner(inner @ turn.T + shift, tol=1e-8), lowner(inner, tol=1e-8)
    assert flat.dimension == full.dimension == min(rank, count - 1)
    np.testing.assert_allclose(flat.centre, turn @ full.centre + shift, atol=1e-3)
    np.testing.assert_allclose(
        turn.T @ full_shape(flat) @ turn, full_shape(full), atol=1e-3 * np.abs(full.shape).max()
    )
    if more:
        off = shift + np.linalg.svd(turn.T)[2][-1]  # orthogonal to the subspace
        assert flat.norms(off[None])[0] == np.inf


def test_no_more_points_than_a_simplex_has():
    generator = np.random.default_rng(0)
    for count in (2, 3, 5, 8):
        found = lowner(generator.normal(size=(count, 7)))
        assert found.dimension == count - 1
        np.testing.assert_allclose(found.weights, 1 / count, atol=1e-4)


def test_one_point_and_copies_of_it():
    for count in (1, 5):
        found = lowner(np.full((count, 3), 0.1))
        assert found.dimension == 0 and found.gap == 0
        assert found.centre.tolist() == [0.1, 0.1, 0.1]
        assert found.norms(np.array([[0.1] * 3, [0.1, 0.1, 0.2]])).tolist() == [0, np.inf]


def test_copies_change_nothing():
    rows = cloud(0, 50, 4)
    once, often = lowner(rows, tol=1e-8), lowner(np.repeat(rows, 7, axis=0), tol=1e-8)
    np.testing.assert_allclose(full_shape(often), full_shape(once), rtol=1e-3, atol=1e-5)


def test_the_least_volume():
    # Any other ellipsoid that holds the points is larger: moved, turned or stretched ones.
    rows = cloud(0, 40, 3)
    found = lowner(rows, tol=1e-8)
    generator = np.random.default_rng(1)
    volume = -np.linalg.slogdet(full_shape(found))[1]
    for _ in range(300):
        root = np.eye(3) + 0.05 * generator.normal(size=(3, 3))
        shape = root.T @ full_shape(found) @ root
        offsets = rows - found.centre - 0.02 * generator.normal(size=3)
        squares = np.einsum("ni,ij,nj->n", offsets, shape, offsets)
        assert -np.linalg.slogdet(shape / squares.max())[1] > volume - 1e-6


def test_the_seed_changes_the_start_only():
    rows = cloud(0, 200, 6)
    one, two = lowner(rows, tol=1e-8, seed=1), lowner(rows, tol=1e-8, seed=2)
    again = lowner(rows, tol=1e-8, seed=1)
    np.testing.assert_allclose(full_shape(one), full_shape(two), atol=1e-5)
    np.testing.assert_array_equal(one.weights, again.weights)


@quick
@given(seeds, st.integers(1, 6), st.sampled_from([(40, 35), (150, 400), (400, 150)]))
def test_a_projection_of_no_lower_rank_keeps_inner_products(seed, rank, size):
    generator = np.random.default_rng(seed)
    rows = generator.normal(size=(size[0], rank)) @ generator.normal(size=(rank, size[1]))
    rows += generator.normal(size=size[1])
    inside, flat = project(rows, 6)
    assert flat.share == 1 and inside.shape == (size[0], rank + 1)
    np.testing.assert_allclose(
        inside @ inside.T, rows @ rows.T, atol=1e-9 * np.sum(rows**2, axis=1).max()
    )


@pytest.mark.parametrize("size", [(150, 400), (400, 150)])
def test_a_projection_keeps_nearly_the_most_variance(size):
    rows = np.random.default_rng(0).normal(size=size)
    values = np.linalg.svd(rows - rows.mean(axis=0), compute_uv=False) ** 2
    best = values[:4].sum() / values.sum()
    assert 0.99 * best < hull(rows, 4).share <= best + 1e-12


def test_points_of_neurons():
    incoming, bias, outgoing = np.arange(6.0).reshape(3, 2), np.ones(3), np.array([2, 0, 0.5])
    assert points(incoming, bias, outgoing).tolist() == [[0, 2, 2], [0, 0, 0], [2, 2.5, 0.5]]
    assert points(incoming, None, outgoing).shape == (3, 2)
    assert points(incoming.astype("float32"), None, outgoing).dtype == np.float64


@pytest.mark.parametrize(
    "call, words",
    [
        (lambda: lowner(np.zeros((0, 3))), r"shape \(0, 3\)"),
        (lambda: lowner(np.zeros(3)), r"shape \(3,\)"),
        (lambda: lowner(np.array([[0.0], [np.nan]])), r"points \[1\] are not finite"),
        (lambda: lowner(np.eye(3), tol=0), "tol is 0"),
        (lambda: points(np.eye(3), np.ones(2), np.ones(3)), r"bias has shape \(2,\)"),
        (lambda: points(np.eye(3), None, -np.ones(3)), "outgoing_max holds -1"),
        (lambda: points(np.eye(3), None, np.full(3, np.inf)), "not finite"),
    ],
)
def test_wrong_arguments_are_refused(call, words):
    with pytest.raises(ValueError, match=words):
        call()
