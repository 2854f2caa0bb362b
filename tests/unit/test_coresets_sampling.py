# SPDX-License-Identifier: Apache-2.0
"""Draws: unbiased at a fixed number, exact sizes until distinct, nested for one seed."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tfprune.masks.coresets import draw, draw_distinct, sensitivities, top

seeds = st.integers(0, 2**32 - 1)
quick = settings(max_examples=60)
positive = st.lists(st.floats(1e-6, 1e6), min_size=1, max_size=60).map(np.array)


def deviation(samples, expected):
    """How many standard errors the mean of the samples is off, per column."""
    samples = np.asarray(samples)
    error = samples.std(axis=0, ddof=1) / len(samples) ** 0.5
    return np.abs(samples.mean(axis=0) - expected) / error


def spread_out(values, sample):
    full = np.zeros(len(values))
    full[sample.indices] = sample.weights
    return full


def test_a_fixed_number_of_draws_is_unbiased():
    generator = np.random.default_rng(0)
    rows = generator.normal(size=(60, 4)) * generator.uniform(0.1, 3, (60, 1))
    values = sensitivities(rows).values
    seen = np.abs(generator.normal(size=(20, 4)) @ rows.T)
    weights = np.array([spread_out(values, draw(values, 25, seed=seed)) for seed in range(4000)])
    # 80 means in all: 4.5 standard errors are passed by chance once in 2000 suites.
    assert deviation(weights, 1).max() < 4.5
    assert deviation(weights @ seen.T, seen.sum(axis=1)).max() < 4.5
    # An estimate that forgets to divide by q would be off by far.
    forgotten = np.where(weights > 0, weights * values / values.sum(), 0) * len(values)
    assert deviation(forgotten @ seen.T, seen.sum(axis=1)).max() > 20


def until_distinct(chances, keep, generator):
    """The definition, draw by draw."""
    counts = np.zeros(len(chances), int)
    order = []
    while len(order) < keep:
        index = generator.choice(len(chances), p=chances)
        if not counts[index]:
            order.append(index)
        counts[index] += 1
    return order, counts


def test_drawing_until_distinct_has_the_distribution_of_single_draws():
    values = np.array([5.0, 3, 1, 0.5, 0.5])
    chances, generator = values / values.sum(), np.random.default_rng(0)
    ours, theirs = [], []
    for seed in range(3000):
        sample = draw_distinct(values, 3, seed=seed)
        full = spread_out(values, sample) * sample.draws * chances
        ours.append([*full, sample.draws, sample.draws**2, *np.eye(5)[sample.indices].ravel()])
        order, counts = until_distinct(chances, 3, generator)
        draws = counts.sum()
        theirs.append([*counts, draws, draws**2, *np.eye(5)[order].ravel()])
    ours, theirs = np.array(ours), np.array(theirs)
    error = np.sqrt((ours.var(axis=0) + theirs.var(axis=0)) / len(ours))
    assert np.max(np.abs(ours.mean(axis=0) - theirs.mean(axis=0)) / error) < 4


@quick
@given(positive, seeds)
def test_until_distinct_gives_exactly_as_many_and_nested(values, seed):
    largest = draw_distinct(values, len(values), seed=seed)
    assert sorted(largest.indices) == list(range(len(values)))
    for keep in range(1, len(values) + 1):
        sample = draw_distinct(values, keep, seed=seed)
        np.testing.assert_array_equal(sample.indices, largest.indices[:keep])
        counts = sample.weights * sample.draws * (values / values.sum())[sample.indices]
        np.testing.assert_allclose(counts, counts.round(), rtol=1e-9)
        assert (counts > 0.5).all() and round(counts.sum()) == sample.draws >= keep
        assert round(counts[-1]) == 1  # the draw that made them enough


@quick
@given(positive, st.integers(1, 200), seeds)
def test_a_fixed_number_of_draws_counts_them(values, draws, seed):
    sample = draw(values, draws, seed=seed)
    counts = sample.weights * draws * (values / values.sum())[sample.indices]
    np.testing.assert_allclose(counts, counts.round(), rtol=1e-9, atol=1e-9)
    assert round(counts.sum()) == draws == sample.draws
    assert len(np.unique(sample.indices)) == len(sample.indices) <= draws
    fewer = draw(values, max(draws // 2, 1), seed=seed).indices
    np.testing.assert_array_equal(sample.indices[: len(fewer)], fewer)


@quick
@given(positive, seeds, st.floats(1e-3, 1e3))
def test_only_the_ratios_count(values, seed, unit):
    keep = (len(values) + 1) // 2
    one, two = draw_distinct(values, keep, seed=seed), draw_distinct(4 * values, keep, seed=seed)
    np.testing.assert_array_equal(one.indices, two.indices)
    np.testing.assert_array_equal(one.weights, two.weights)
    np.testing.assert_array_equal(top(values, keep).indices, top(unit * values, keep).indices)


@quick
@given(st.lists(st.integers(0, 5), min_size=1, max_size=40), seeds)
def test_points_without_sensitivity_come_last(values, seed):
    values = np.array(values, float)
    if not values.any():
        values[-1] = 1
    some = np.count_nonzero(values)
    sample = draw_distinct(values, len(values), seed=seed)
    assert (values[sample.indices[:some]] > 0).all()
    np.testing.assert_array_equal(sample.indices[some:], np.flatnonzero(values == 0))
    assert (sample.weights[some:] == 1).all()
    assert (values[draw(values, 50, seed=seed).indices] > 0).all()


@quick
@given(st.lists(st.integers(0, 5), min_size=2, max_size=40))
def test_the_highest(values):
    values = np.array(values, float) + 1
    expected = sorted(range(len(values)), key=lambda index: (-values[index], index))
    for keep in (1, len(values) // 2, len(values)):
        sample = top(values, keep)
        assert sample.indices.tolist() == expected[:keep]
        assert (sample.weights == 1).all() and sample.draws == 0


def test_very_unequal_chances_end():
    values = 10.0 ** -np.arange(14.0)
    sample = draw_distinct(values, 14, seed=0)
    assert len(sample.indices) == 14 and np.isfinite(sample.weights).all()
    assert sample.draws > 10**11  # that many single draws would not end
    far = draw_distinct(np.array([1, 1e-300, 1e300]), 3)
    assert far.indices.tolist() == [2, 0, 1] and (far.weights == 1).all()


def test_the_seed_decides():
    values = np.arange(1.0, 101)
    one, again = draw_distinct(values, 30, seed=3), draw_distinct(values, 30, seed=3)
    np.testing.assert_array_equal(one.weights, again.weights)
    assert (draw_distinct(values, 30, seed=4).indices != one.indices).any()


@pytest.mark.parametrize(
    "call, words",
    [
        (lambda: draw(np.zeros(3), 2), "all sensitivities are 0"),
        (lambda: draw(np.array([1, -1]), 2), "numbers >= 0"),
        (lambda: draw(np.array([1, np.nan]), 2), "numbers >= 0"),
        (lambda: draw(np.ones((2, 2)), 2), r"shape \(2, 2\)"),
        (lambda: draw(np.ones(3), 0), "draws is 0"),
        (lambda: draw_distinct(np.ones(3), 4), "keep is 4; expected 1 to 3"),
        (lambda: top(np.ones(3), 0), "keep is 0"),
    ],
)
def test_wrong_arguments_are_refused(call, words):
    with pytest.raises(ValueError, match=words):
        call()
