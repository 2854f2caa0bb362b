# SPDX-License-Identifier: Apache-2.0
"""Sensitivities: they bound what they should, and depend on nothing that they should not."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tfprune.masks.coresets import VARIANTS, mussay_sensitivities, sensitivities
from tfprune.masks.coresets.sensitivities import default_dimension

seeds = st.integers(0, 2**32 - 1)
variants = st.sampled_from(VARIANTS)


def cloud(generator, count, rank):
    rows = generator.normal(size=(count, rank)) * generator.uniform(0.1, 2, (count, 1))
    return rows + generator.normal(size=rank)


def empirical(rows, generator):
    """The largest share |x'p_j| / sum |x'p| of each point, over random and adversarial queries."""
    queries = generator.normal(size=(3000, rows.shape[1]))
    queries = np.concatenate([queries, rows, np.linalg.pinv(rows).T])
    shares = np.abs(queries @ rows.T)
    shares /= shares.sum(axis=1, keepdims=True)
    best, queries = shares.max(axis=0), queries[shares.argmax(axis=0)]
    for step in 0.3 * 0.95 ** np.arange(100):  # ascent on each point's own share
        queries /= np.linalg.norm(queries, axis=1, keepdims=True)
        seen = queries @ rows.T
        own, total = np.diag(seen)[:, None], np.abs(seen).sum(axis=1, keepdims=True)
        best = np.maximum(best, np.abs(own / total)[:, 0])
        gradient = rows / np.where(own == 0, 1, own) - np.sign(seen) @ rows / total
        queries += step * gradient / np.linalg.norm(gradient, axis=1, keepdims=True)
    return best


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("rank, count", [(2, 300), (3, 200), (6, 300)])
def test_no_query_makes_a_point_more_important(rank, count, variant):
    generator = np.random.default_rng(rank)
    rows = cloud(generator, count, rank)
    found = sensitivities(rows, variant)
    assert found.dimension == rank and found.variance == 1
    share = empirical(rows, generator)
    assert (share <= found.values).all()
    if rank == 2:
        assert (found.values < 0.5).sum() > 60  # a bound that says something


@pytest.mark.parametrize("variant", VARIANTS)
def test_rounds_as_they_are_defined(variant):
    rank, count = 4, 500
    found = sensitivities(cloud(np.random.default_rng(0), count, rank), variant)
    contact = variant == "lowner_contact"
    alpha, enough = (5, 15) if contact else (16, 32)
    largest = 14 if contact else 40
    assert found.alpha == alpha and found.rounds == len(found.relu) == len(found.centring)
    numbers = alpha / found.values
    np.testing.assert_allclose(numbers, numbers.round(), rtol=1e-12)
    sizes = np.bincount(numbers.round().astype(int))[1:]
    assert len(sizes) == found.rounds + 1 and sizes[-1] < enough
    assert (sizes[:-1] <= largest).all() and (sizes[:-1] >= rank + 1).all()
    assert (count - np.cumsum(sizes[:-2]) >= enough).all()  # before each round but the first


def test_relu_is_checked_in_every_round():
    generator = np.random.default_rng(0)
    centred = generator.normal(size=(100, 3))
    found = sensitivities(np.concatenate([centred, -centred]))
    assert all(held == (centring < 1) for held, centring in zip(found.relu, found.centring))
    assert found.relu[0] and found.centring[0] < 0.05
    assert not any(sensitivities(centred + 5).relu)


@settings(max_examples=25)
@given(seeds, variants, st.integers(1, 5), st.integers(1, 150))
def test_order_and_unit_of_the_points(seed, variant, rank, count):
    generator = np.random.default_rng(seed)
    rows, order = cloud(generator, count, rank), generator.permutation(count)
    found = sensitivities(rows, variant)
    assert (found.values > 0).all()
    moved = sensitivities(rows[order], variant)
    np.testing.assert_array_equal(moved.values, found.values[order])
    scaled = sensitivities(rows * generator.uniform(0.001, 1000), variant)
    np.testing.assert_array_equal(scaled.values, found.values)


def test_order_does_not_matter_after_a_projection():
    generator = np.random.default_rng(0)
    rows, order = generator.normal(size=(200, 300)), generator.permutation(200)
    for variant in VARIANTS:
        found, moved = sensitivities(rows, variant), sensitivities(rows[order], variant)
        assert found.dimension == 5 and 0.03 < found.variance < 0.2
        np.testing.assert_array_equal(moved.values, found.values[order])


def test_the_dimension():
    assert [default_dimension(count) for count in (1, 72, 300, 512, 4096)] == [2, 3, 6, 8, 16]
    rows = np.random.default_rng(0).normal(size=(300, 40))
    found = [sensitivities(rows, dimension=dimension) for dimension in (1, 3, 10, 40, 99)]
    assert [one.dimension for one in found] == [1, 3, 10, 40, 40]
    assert np.all(np.diff([one.variance for one in found[:4]]) > 0)
    assert found[3].variance == 1 == found[4].variance


@pytest.mark.parametrize("variant", VARIANTS)
def test_copies_of_points(variant):
    generator = np.random.default_rng(0)
    live = cloud(generator, 50, 2)
    rows = np.concatenate([live, np.tile([[0.3, 0.1]], (400, 1))])
    found = sensitivities(rows, variant)
    # One of the copies may be in the coreset of a round; the others are as good as one another.
    assert len(np.unique(found.values[50:])) <= 1 + found.rounds
    assert np.median(found.values[50:]) < found.values[:50].min()
    assert (empirical(rows, generator) <= found.values).all()
    same = sensitivities(np.ones((8, 5)), variant)
    assert same.values.tolist() == [1 / 8] * 8 and same.rounds == 0
    assert sensitivities(np.ones((1, 1)), variant).values.tolist() == [1]


def test_a_point_at_the_end_of_all_counts_more_than_one_in_the_middle():
    generator = np.random.default_rng(0)
    rows = generator.normal(size=(200, 3))
    rows[7] *= 20
    rows[8] *= 0.001
    for variant in VARIANTS:
        values = sensitivities(rows, variant).values
        assert values[7] == values.max() and values[8] == values.min()


def test_mussay():
    generator = np.random.default_rng(0)
    rows, importance = generator.normal(size=(50, 9)), generator.uniform(size=50)
    norms = np.linalg.norm(rows, axis=1)
    np.testing.assert_allclose(mussay_sensitivities(rows, importance), importance * norms)
    squashed = mussay_sensitivities(rows, importance, phi=np.tanh, beta=0.1)
    np.testing.assert_allclose(squashed, importance * np.tanh(0.1 * norms))
    # For ReLU the importance may stand inside, and beta does not change the chances.
    inside = mussay_sensitivities(rows * importance[:, None], beta=7)
    np.testing.assert_allclose(inside, 7 * importance * norms)


@pytest.mark.parametrize(
    "call, words",
    [
        (lambda: sensitivities(np.eye(3), "svd"), "no variant 'svd'"),
        (lambda: sensitivities(np.eye(3), dimension=0), "dimension is 0"),
        (lambda: sensitivities(np.full((3, 3), np.inf)), "not finite"),
        (lambda: sensitivities(np.zeros((4, 0))), r"shape \(4, 0\)"),
        (lambda: mussay_sensitivities(np.eye(3), np.ones(2)), r"importance of shape \(2,\)"),
        (lambda: mussay_sensitivities(np.eye(3), beta=0), "beta is 0"),
        (lambda: mussay_sensitivities(np.eye(3), phi=lambda x: x + np.nan), "not finite"),
    ],
)
def test_wrong_arguments_are_refused(call, words):
    with pytest.raises(ValueError, match=words):
        call()
