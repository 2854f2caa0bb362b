# SPDX-License-Identifier: Apache-2.0
"""The dynamic program over budgets, against all choices one after the other."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tfprune.masks.allocations.dynamic_program import least_error

choices = st.lists(
    st.tuples(st.integers(-5, 20).map(float), st.integers(0, 30)), min_size=1, max_size=4
)
sites = st.lists(choices, min_size=1, max_size=4)


def split(tables):
    return (
        [[error for error, _ in one] for one in tables],
        [[cost for _, cost in one] for one in tables],
    )


def every(tables):
    """(sum of errors, sum of costs) of all combinations."""
    combined = (zip(*one, strict=True) for one in itertools.product(*tables))
    return [tuple(map(sum, pair)) for pair in combined]


def total(tables, found):
    return tuple(map(sum, zip(*(one[index] for one, index in zip(tables, found)), strict=True)))


@given(sites, st.integers(0, 120))
def test_it_finds_what_brute_force_finds(tables, limit):
    errors, costs = split(tables)
    within = [error for error, cost in every(tables) if cost <= limit]
    if not within:
        least = min(cost for _, cost in every(tables))
        with pytest.raises(ValueError, match=f"cost {least} at least, and the limit is {limit}"):
            least_error(errors, costs, limit)
        return
    error, cost = total(tables, least_error(errors, costs, limit))
    assert cost <= limit and error == min(within)


@given(sites, st.integers(0, 120), st.integers(1, 10))
def test_few_buckets_keep_the_limit_and_are_exact_on_rounded_costs(tables, limit, buckets):
    errors, costs = split(tables)
    cheapest = [min(one) for one in costs]
    if sum(cheapest) > limit:
        return
    error, cost = total(tables, least_error(errors, costs, limit, buckets=buckets))
    assert cost <= limit
    room = limit - sum(cheapest)
    width = max(1, -(-min(room, sum(map(max, costs)) - sum(cheapest)) // buckets))
    rounded = [
        [(error, -(-(cost - low) // width)) for error, cost in one]
        for one, low in zip(tables, cheapest, strict=True)
    ]
    assert error == min(error for error, cost in every(rounded) if cost <= room // width)


def test_a_hundred_sites_with_large_costs():
    generator = np.random.default_rng(0)
    sizes = generator.integers(1_000, 2_000_000, 100)
    ratios = np.linspace(0, 0.99, 30)
    costs = [np.rint(size * (1 - ratios)).astype(np.int64) for size in sizes]
    scales = generator.random(100)
    errors = [scale * ratios**3 for scale in scales]
    limit = int(sizes.sum() // 5)
    found = least_error(errors, costs, limit)
    used = sum(cost[index] for cost, index in zip(costs, found, strict=True))
    assert 0.97 * limit < used <= limit
    gained = sum(error[index] for error, index in zip(errors, found, strict=True))
    uniform = sum(error[np.argmax(ratios >= 0.8)] for error in errors)
    assert gained < 0.95 * uniform


@pytest.mark.parametrize(
    "errors, costs, words",
    [
        ([[0.0, np.nan]], [[2, 1]], "NaN or infinite"),
        ([[0.0]], [[2, 1]], "1 errors and 2 costs"),
        ([[]], [[]], "0 errors"),
        ([[0.0]], [[-1]], "integers from 0 on"),
        ([[0.0]], [[0.5]], "integers from 0 on"),
    ],
)
def test_tables_that_are_none_are_refused(errors, costs, words):
    with pytest.raises(ValueError, match=words):
        least_error(errors, costs, 10)
    with pytest.raises(ValueError, match="buckets=0"):
        least_error([[0.0]], [[1]], 1, buckets=0)
