# SPDX-License-Identifier: Apache-2.0
"""PFP: exact sums, floors, counts that never grow, the same in NumPy, TensorFlow and XLA."""

import math

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from tfprune.masks import kernel_layout
from tfprune.masks.allocations import PFP, PerSite
from tfprune.masks.serialization import from_config, to_config
from tfprune.masks.sites import Site

SITES = [
    Site("first/kernel", (3, 3, 3, 16), kernel_layout.conv(2), "first", 1024),
    Site("second/kernel", (3, 3, 16, 32), kernel_layout.conv(2), "second", 256),
    Site("last/kernel", (32, 10), kernel_layout.DENSE, "last", 1),
    Site("unknown/kernel", (24, 10), kernel_layout.DENSE, "unknown"),
]


def sites_of(*channels):
    return [
        Site(f"layer{index}/kernel", (count, 2), kernel_layout.DENSE, f"layer{index}", index)
        for index, count in enumerate(channels)
    ]


def scores_of(seed, channels, kind):
    generator = np.random.default_rng(seed)
    scores = [
        generator.uniform(size=count).astype("float32") ** (1 + 3 * index)
        for index, count in enumerate(channels)
    ]
    if kind == "tied":
        scores = [score.round(1) for score in scores]
    if kind == "equal":
        scores = [np.full(count, 0.5, "float32") for count in channels]
    if kind == "dead":
        scores[0][:] = 0
    if kind == "strange":
        scores[0][:2] = [np.nan, -np.inf][: len(scores[0])]
        scores[-1][-1:] = np.inf
    return scores


channels = st.lists(st.integers(1, 20), min_size=1, max_size=5)
kinds = st.sampled_from(["random", "tied", "equal", "dead", "strange"])
seeds = st.integers(0, 2**32 - 1)
sparsities = st.one_of(st.just(0.0), st.floats(0, 0.999))


@given(channels, kinds, seeds, sparsities, st.integers(0, 12))
def test_counts_sum_exactly_and_respect_floors(channels, kind, seed, sparsity, floor):
    counts = PFP(floor)(scores_of(seed, channels, kind), sites_of(*channels), sparsity, sparsity)
    floors = np.minimum(floor, channels)
    assert counts.dtype == np.int64
    assert (counts >= floors).all() and (counts <= channels).all()
    assert counts.sum() == max(round(sum(channels) * (1 - sparsity)), floors.sum())


@settings(max_examples=40)
@given(channels, kinds, seeds, st.integers(0, 3))
def test_counts_never_grow_with_sparsity(channels, kind, seed, floor):
    scores, sites = scores_of(seed, channels, kind), sites_of(*channels)
    groups = sum(channels)
    previous = np.array(channels)
    for kept in range(groups, 0, -1):
        counts = PFP(floor)(scores, sites, 1 - kept / groups, 0.9)
        assert (counts <= previous).all()
        previous = counts


@given(
    channels, kinds, seeds, st.integers(0, 3), st.lists(st.floats(-40, 40), min_size=2, max_size=2)
)
def test_the_size_falls_as_the_error_grows(channels, kind, seed, floor, exponents):
    scores, sites = scores_of(seed, channels, kind), sites_of(*channels)
    small, large = (
        PFP(floor).counts(scores, sites, 2.0**exponent) for exponent in sorted(exponents)
    )
    assert (large <= small).all() and (large >= np.minimum(floor, channels)).all()


def reference(scores, sites, epsilon, delta=1e-16, constant=3.0):
    """The definition, site by site."""
    counts = []
    for score, site in zip(scores, sites):
        total = score.sum(dtype=np.float64)
        area = math.prod(site.shape[axis] for axis in site.layout.spatial)
        positions = 1 if site.positions is None else site.positions
        need = 2 * constant * math.log(8 * (positions + 1) * area / delta) * total
        draws = max(1, math.ceil(3 * (6 + 2 * epsilon) * need / epsilon**2))
        different = sum(1 - (1 - value / total) ** draws for value in score.astype(np.float64))
        counts.append(min(max(math.ceil(different - 1e-6), 1), len(score)))
    return counts


@pytest.mark.parametrize("delta, constant", [(1e-16, 3.0), (0.3, 0.5)])
def test_one_epsilon_serves_all_sites(delta, constant):
    scores = scores_of(1, [3, 16, 32, 24], "random")
    allocation = PFP(delta=delta, constant=constant)
    met = set()
    for epsilon in np.geomspace(1, 1e5, 60):
        expected = reference(scores, SITES, epsilon, delta, constant)
        assert allocation.counts(scores, SITES, epsilon).tolist() == expected
        # asked for as many, it finds an epsilon with these counts
        assert allocation(scores, SITES, 1 - sum(expected) / 75, 0.9).tolist() == expected
        met.add(tuple(expected))
    assert len(met) > 10


@pytest.mark.parametrize(
    "kind, dtype",
    [
        ("random", "float64"),
        ("tied", "float32"),
        ("equal", "float32"),
        ("dead", "float32"),
        ("strange", "float32"),
    ],
)
def test_tensors_give_the_same_counts(kind, dtype):
    scores = scores_of(2, [3, 16, 32, 24], kind)
    scores[2] = scores[2].astype(dtype)
    forms = [
        tf.function(
            lambda scores, sparsity: PFP()(scores, SITES, sparsity, 0.9),
            jit_compile=jit,
            autograph=False,
        )
        for jit in (False, True)
    ]
    for sparsity in (0, 0.3, 0.5, 0.8, 0.9):
        expected = PFP()(scores, SITES, sparsity, 0.9)
        for call in (*forms, lambda *given: PFP()(given[0], SITES, given[1], 0.9)):
            counts = call(
                [tf.constant(score) for score in scores], tf.constant(sparsity, tf.float64)
            )
            assert counts.dtype == tf.int64
            np.testing.assert_array_equal(counts, expected)


def test_dead_channels_go_first_and_dead_layers_keep_their_floor():
    sites = sites_of(4, 4, 4)
    scores = [np.zeros(4), np.array([0.5, 0, 0, 0]), np.array([0.1, 0.1, 0.1, 1e-9])]
    assert PFP()(scores, sites, 0.5, 0.5).tolist() == [1, 1, 4]
    assert PFP()(scores, sites, 0.25, 0.5).tolist() == [4, 1, 4]
    assert PFP()(scores, sites, 0.0, 0.5).tolist() == [4, 4, 4]
    assert PFP(min_keep=0)(scores, sites, 0.9, 0.9).sum() == 1


def test_the_first_layer_can_be_left_out():
    scores = scores_of(3, [3, 16, 32, 24], "random")
    allocation = PerSite({"first": 0}, others=PFP())
    counts = allocation(scores, SITES, 0.9, 0.9)
    assert counts[0] == 3 and counts[1:].sum() == 7
    assert PFP()(scores, SITES, 0.9, 0.9)[0] < 3


@pytest.mark.parametrize(
    "make, words",
    [
        (lambda: PFP(min_keep=-1), "min_keep=-1"),
        (lambda: PFP(delta=0), r"delta=0\).*between 0 and 1"),
        (lambda: PFP(delta=1.0), r"delta=1.0"),
        (lambda: PFP(constant=-1), r"constant=-1\).*between 0 and inf"),
        (lambda: PFP(constant=math.nan), r"constant=nan"),
        (lambda: PFP(delta="small"), r"delta='small'"),
    ],
)
def test_wrong_settings_are_refused(make, words):
    with pytest.raises(ValueError, match=words):
        make()


def test_configuration_round_trip():
    allocation = PFP(2, delta=0.1, constant=1.5)
    again = from_config(to_config(allocation))
    assert again == allocation and hash(again) == hash(allocation)
    assert not PFP().accepts_fixed and PFP().compares_sites
