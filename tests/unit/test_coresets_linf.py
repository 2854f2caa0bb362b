# SPDX-License-Identifier: Apache-2.0
"""L-infinity coresets: the bound on random and on adversarial queries, and where ReLU breaks it."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tfprune.masks.coresets import VARIANTS, linf_coreset
from tfprune.masks.coresets.ellipsoid import lowner

seeds = st.integers(0, 2**32 - 1)


def gaussian(generator, count, rank):
    return generator.normal(size=(count, rank))


def heavy(generator, count, rank):
    return gaussian(generator, count, rank) / (np.abs(generator.normal(size=(count, 1))) + 0.02)


def away(generator, count, rank):
    return gaussian(generator, count, rank) + 4


def flat(generator, count, rank):
    return gaussian(generator, count, rank) @ generator.normal(size=(rank, rank + 9)) + 1


def corners(generator, count, rank):
    return np.sign(gaussian(generator, count, rank))


CLOUDS = [(gaussian, 3), (gaussian, 8), (heavy, 5), (away, 5), (flat, 8), (corners, 8)]


def absolute(values):
    return np.abs(values)


def relu(values):
    return np.maximum(values, 0)


def worst_ratio(rows, chosen, phi):
    """The largest max_P phi(x'p) / max_S phi(x'q) over random and adversarial queries."""
    generator = np.random.default_rng(7)
    queries = generator.normal(size=(10_000, rows.shape[1]))
    everything, some = phi(queries @ rows.T).max(axis=1), phi(queries @ chosen.T).max(axis=1)
    ratio = np.max(everything / np.maximum(some, 1e-12 * everything.max()))
    # Ascent on log max_P |x'p| - log max_S |x'q|, from the worst queries and from random ones.
    order = np.argsort(-everything / np.maximum(some, 1e-12))
    queries = queries[np.concatenate([order[:50], np.arange(50)])]
    for step in 0.3 * 0.97 ** np.arange(150):
        queries /= np.linalg.norm(queries, axis=1, keepdims=True)
        gradient = np.zeros_like(queries)
        tops = []
        for cloud, sign in ((rows, 1), (chosen, -1)):
            seen = queries @ cloud.T
            best = phi(seen).argmax(axis=1)
            value = np.take_along_axis(seen, best[:, None], axis=1)
            gradient += sign * cloud[best] / np.where(np.abs(value) < 1e-12, 1e-12, value)
            tops.append(phi(value[:, 0]))
        ratio = max(ratio, np.max(tops[0] / np.maximum(tops[1], 1e-12 * tops[0].max())))
        length = np.linalg.norm(gradient, axis=1, keepdims=True)
        queries = queries + step * gradient / np.maximum(length, 1e-12)
    return ratio


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("make, rank", CLOUDS, ids=lambda value: getattr(value, "__name__", value))
def test_no_query_sees_the_coreset_much_smaller(make, rank, variant):
    rows = make(np.random.default_rng(rank), 300, rank)
    found = linf_coreset(rows, variant)
    assert found.dimension == rank
    contact = variant == "lowner_contact"
    assert len(found.indices) <= (rank * (rank + 3) // 2 if contact else 2 * rank * (rank + 1))
    power = 1 if contact else 1.5
    assert rank**power <= found.alpha <= rank**power * (1 + 1e-4)
    ratio = worst_ratio(rows, rows[found.indices], absolute)
    assert 1 <= ratio <= found.alpha
    if make in (gaussian, away, flat):
        assert ratio > 1.05  # the adversary is one


@settings(max_examples=40)
@given(
    seeds,
    st.integers(1, 7),
    st.integers(1, 80),
    st.sampled_from(VARIANTS),
    st.sampled_from([1e-8, 1e-4, 0.5]),
)
def test_the_bound_holds_for_any_tolerance(seed, rank, count, variant, tol):
    generator = np.random.default_rng(seed)
    rows = heavy(generator, count, rank) + generator.normal(size=rank)
    found = linf_coreset(rows, variant, tol=tol)
    queries = generator.normal(size=(2000, rank))
    seen = np.abs(queries @ rows.T)
    limit = found.alpha * seen[:, found.indices].max(axis=1)
    assert (seen.max(axis=1) <= limit * (1 + 1e-9)).all()
    if found.dimension:
        # What the bound rests on: from the centre, S reaches so far along every direction.
        ellipsoid = lowner(rows, tol=tol)
        places = ellipsoid.whiten(rows)[found.indices]
        queries_in = generator.normal(size=(2000, found.dimension))
        reach = (queries_in @ places.T).max(axis=1) / np.linalg.norm(queries_in, axis=1)
        least = 1 if variant == "lowner_contact" else found.dimension**-0.5
        assert reach.min() >= least / (found.dimension * (1 + ellipsoid.gap)) ** 0.5 - 1e-9
    if found.alpha_relu is not None:
        seen = relu(queries @ rows.T)
        limit = found.alpha_relu * seen[:, found.indices].max(axis=1)
        assert (seen.max(axis=1) <= limit * (1 + 1e-9)).all()


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("rank", [2, 4, 6])
def test_relu_where_the_condition_holds(rank, variant):
    rows = gaussian(np.random.default_rng(rank), 300, rank)
    # Moved until the condition is nearly lost.
    limit = 1 if variant == "lowner_contact" else rank**-0.5
    centre = lowner(rows, tol=1e-6).centre
    for share in (0.0, 0.5, 0.9):
        direction = np.eye(rank)[0]
        unit = linf_coreset(rows - centre + direction, variant, tol=1e-6).centring
        moved = rows - centre + share * limit / unit * direction
        found = linf_coreset(moved, variant, tol=1e-6)
        assert found.centring == pytest.approx(share * limit, abs=2e-3)
        expected = (rank - found.centring) / (limit - found.centring)
        assert found.alpha_relu == pytest.approx(expected, rel=1e-3)
        assert worst_ratio(moved, moved[found.indices], relu) <= found.alpha_relu


@pytest.mark.parametrize("variant", VARIANTS)
def test_relu_where_it_fails(variant):
    # A circle, moved so that one query sees a point of it and none of the coreset.
    angles = np.arange(64) * np.pi / 32
    circle = np.column_stack([np.cos(angles), np.sin(angles)])
    chosen = linf_coreset(circle, variant).indices
    left = np.setdiff1d(np.arange(64), chosen)
    heights = circle @ circle.T
    query = circle[left[(1 - heights[np.ix_(left, chosen)].max(axis=1)).argmax()]]
    moved = circle - query * (1 + (circle[chosen] @ query).max()) / 2
    found = linf_coreset(moved, variant)
    np.testing.assert_array_equal(found.indices, chosen)
    assert found.alpha_relu is None and found.centring > 1
    assert relu(moved @ query).max() > 0.01 and relu(moved[chosen] @ query).max() == 0
    # With |x'p| the same query is harmless.
    assert np.abs(moved @ query).max() <= found.alpha * np.abs(moved[chosen] @ query).max()


def test_the_origin_off_the_subspace():
    rows = flat(np.random.default_rng(0), 50, 3)
    found = linf_coreset(rows)
    assert found.centring == np.inf and found.alpha_relu is None
    centred = linf_coreset(rows - rows.mean(axis=0))
    assert centred.centring < np.inf
    np.testing.assert_array_equal(centred.indices, found.indices)


@pytest.mark.parametrize("variant", VARIANTS)
def test_clouds_of_few_points(variant):
    one = linf_coreset(np.full((4, 3), 2.0), variant)
    assert (one.indices.tolist(), one.alpha, one.alpha_relu) == ([0], 1, 1)
    two = linf_coreset(np.array([[1.0, 2], [1, 2], [3, 4]]), variant)
    assert set(two.indices.tolist()) in ({0, 2}, {1, 2}) and two.alpha == pytest.approx(1)
    simplex = linf_coreset(np.eye(5), variant)
    assert simplex.indices.tolist() == [0, 1, 2, 3, 4]


@settings(max_examples=30)
@given(seeds, st.sampled_from(VARIANTS), st.integers(2, 6))
def test_the_order_and_the_unit_of_the_points_do_not_matter(seed, variant, rank):
    generator = np.random.default_rng(seed)
    rows, order = gaussian(generator, 80, rank) + 1, generator.permutation(80)
    found, moved = linf_coreset(rows, variant), linf_coreset(rows[order], variant)
    assert set(order[moved.indices]) == set(found.indices)
    assert moved.centring == pytest.approx(found.centring, rel=1e-6)
    scaled = linf_coreset(rows * generator.uniform(0.001, 1000), variant)
    np.testing.assert_array_equal(scaled.indices, found.indices)
    assert scaled.centring == pytest.approx(found.centring, rel=1e-6)


def test_contact_points_are_the_same_for_linear_maps():
    generator = np.random.default_rng(0)
    rows = gaussian(generator, 200, 5)
    matrix = generator.normal(size=(5, 5))
    found, mapped = linf_coreset(rows, tol=1e-8), linf_coreset(rows @ matrix, tol=1e-8)
    np.testing.assert_array_equal(found.indices, mapped.indices)
    assert mapped.centring == pytest.approx(found.centring, rel=1e-3)


def test_an_unknown_variant_is_refused():
    with pytest.raises(ValueError, match="no variant 'lowner'; there are lowner_contact"):
        linf_coreset(np.eye(3), "lowner")
