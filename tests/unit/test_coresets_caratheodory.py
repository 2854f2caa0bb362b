# SPDX-License-Identifier: Apache-2.0
"""Carathéodory: the same mean, of few points, also where the points repeat or are degenerate."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tfprune.masks.coresets.caratheodory import combination, reduce_moments, reduce_support
from tfprune.masks.coresets.ellipsoid import lowner
from tfprune.masks.coresets.points import hull

seeds = st.integers(0, 2**32 - 1)
quick = settings(max_examples=60)


@st.composite
def weighted_sets(draw):
    """(points, weights): flat or full, on a lattice or not, repeated or not, few weights or all."""
    generator = np.random.default_rng(draw(seeds))
    count, rank, more = draw(st.integers(1, 150)), draw(st.integers(1, 12)), draw(st.integers(0, 3))
    rows = generator.normal(size=(count, rank))
    if draw(st.booleans()):
        rows = np.round(rows)
    if draw(st.booleans()):
        rows = rows[generator.integers(0, count, count)]
    if more:
        rows = rows @ generator.normal(size=(rank, rank + more))
    weights = generator.dirichlet(np.full(count, draw(st.sampled_from([0.05, 1.0]))))
    return rows, weights / weights.sum()


def check(rows, target, found):
    indices, weights = found
    assert len(np.unique(indices)) == len(indices) <= hull(rows).basis.shape[1] + 1
    assert (weights > 0).all() and abs(weights.sum() - 1) < 1e-9
    np.testing.assert_allclose(weights @ rows[indices], target, atol=1e-9)


@quick
@given(weighted_sets())
def test_a_mean_is_kept_by_few_points(weighted):
    rows, weights = weighted
    check(rows, weights @ rows, reduce_support(rows, weights))


@quick
@given(weighted_sets())
def test_a_point_of_the_hull_is_a_mean_of_few_points(weighted):
    rows, weights = weighted
    check(rows, weights @ rows, combination(rows, weights @ rows))
    check(rows, rows[-1], combination(rows, rows[-1]))
    check(rows, (rows[0] + rows[-1]) / 2, combination(rows, (rows[0] + rows[-1]) / 2))


@quick
@given(weighted_sets(), seeds)
def test_a_point_outside_of_the_hull_is_refused(weighted, seed):
    rows, _ = weighted
    direction = np.random.default_rng(seed).normal(size=rows.shape[1])
    direction /= np.linalg.norm(direction)
    outside = rows[(rows @ direction).argmax()] + 0.01 * direction
    with pytest.raises(ValueError, match="outside of the convex hull|away from the affine hull"):
        combination(rows, outside)


@quick
@given(seeds, st.integers(1, 8), st.integers(2, 100))
def test_the_ends_of_the_shrunk_ellipsoid_are_in_the_hull(seed, dimension, count):
    rows = np.random.default_rng(seed).normal(size=(count, dimension))
    found = lowner(rows)
    values, axes = np.linalg.eigh(found.shape)
    ends = (found.basis @ axes / np.sqrt(values)).T / (found.dimension * (1 + found.gap) ** 0.5)
    for end in np.concatenate([ends, -ends]):
        check(rows, found.centre + end, combination(rows, found.centre + end))
        # So do they in the hull of the contact points alone.
        contact = rows[found.weights > 0]
        check(contact, found.centre + end, combination(contact, found.centre + end))


def test_many_points():
    rows = np.random.default_rng(0).normal(size=(5000, 16))
    weights = np.full(5000, 1 / 5000)
    check(rows, weights @ rows, reduce_support(rows, weights))
    check(rows, weights @ rows, combination(rows, weights @ rows))


def test_large_and_small_numbers():
    generator = np.random.default_rng(0)
    for scale in (1e-9, 1e9):
        rows = scale * (generator.normal(size=(60, 5)) + 4)
        weights = generator.dirichlet(np.ones(60))
        for indices, values in (reduce_support(rows, weights), combination(rows, weights @ rows)):
            assert len(indices) <= 6
            np.testing.assert_allclose(values @ rows[indices], weights @ rows, rtol=1e-9)


@quick
@given(seeds, st.integers(1, 8), st.integers(1, 90))
def test_moments_are_kept_and_the_gain_does_not_fall(seed, size, count):
    generator = np.random.default_rng(seed)
    moments = np.column_stack([generator.normal(size=(count, size)), np.ones(count)])
    weights, gain = generator.dirichlet(np.ones(count)), generator.normal(size=count)
    indices, values = reduce_moments(moments, weights, gain=gain)
    assert len(indices) <= size + 1 and (values > 0).all()
    np.testing.assert_allclose(values @ moments[indices], weights @ moments, atol=1e-9)
    assert values @ gain[indices] >= weights @ gain - 1e-9


@pytest.mark.parametrize(
    "call, words",
    [
        (lambda: combination(np.eye(3), np.ones(2)), r"target has shape \(2,\)"),
        (lambda: combination(np.eye(3), np.ones(3)), "away from the affine hull"),
        (lambda: reduce_support(np.eye(3), np.ones(3)), "weights sum to 3"),
        (lambda: reduce_support(np.eye(3), np.array([1.5, -0.5, 0])), "numbers >= 0"),
        (lambda: reduce_support(np.eye(3), np.full(3, np.nan)), "numbers >= 0"),
    ],
)
def test_wrong_arguments_are_refused(call, words):
    with pytest.raises(ValueError, match=words):
        call()
