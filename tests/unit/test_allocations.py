# SPDX-License-Identifier: Apache-2.0
"""Allocations: exact sums, floors, and the same counts in NumPy, TensorFlow and XLA."""

import math

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given
from hypothesis import strategies as st

from tfprune.masks import kernel_layout
from tfprune.masks.allocations import ERK, LAMP, Global, PerSite, Uniform, keep_count
from tfprune.masks.select import select
from tfprune.masks.serialization import from_config, to_config
from tfprune.masks.sites import Site


class Layer:
    def __init__(self, name):
        self.name = name


def sites_of(*shapes):
    return [
        Site(f"net/layer{index}/kernel", shape, kernel_layout.of_shape(shape), f"layer{index}")
        for index, shape in enumerate(shapes)
    ]


def scores_of(sites, seed=0):
    generator = np.random.default_rng(seed)
    return [
        (np.abs(generator.normal(size=site.size)) * 3.0**index).astype("float32")
        for index, site in enumerate(sites)
    ]


shapes = st.lists(st.tuples(st.integers(1, 9), st.integers(1, 9)), min_size=1, max_size=6)
sparsities = st.one_of(st.just(0.0), st.floats(0, 0.999))


@given(
    st.sampled_from([Global, LAMP, ERK]),
    shapes,
    sparsities,
    st.integers(0, 12),
    st.integers(0, 2**32 - 1),
    st.booleans(),
)
def test_counts_sum_exactly_and_respect_floors(kind, shapes, sparsity, floor, seed, tied):
    sites = sites_of(*shapes)
    scores = scores_of(sites, seed)
    if tied:
        scores = [np.floor(score) for score in scores]
    counts = kind(min_keep=floor)(scores, sites, sparsity, sparsity)
    sizes = np.array([len(score) for score in scores])
    floors = np.minimum(floor, sizes)
    assert counts.dtype == np.int64
    assert (counts >= floors).all() and (counts <= sizes).all()
    assert counts.sum() == max(round(sizes.sum() * (1 - sparsity)), floors.sum())


@given(shapes, sparsities, st.integers(0, 5), st.integers(0, 2**32 - 1))
def test_global_is_one_ranking_with_guaranteed_floors(shapes, sparsity, floor, seed):
    sites = sites_of(*shapes)
    scores = scores_of(sites, seed)
    # The definition, slowly: the best `min_keep` of each site, then the best of the rest.
    owner = np.repeat(np.arange(len(scores)), [len(score) for score in scores])
    first = np.concatenate([select(score, floor) for score in scores])
    total = max(round(len(owner) * (1 - sparsity)), first.sum())
    order = np.lexsort((np.arange(len(owner)), -np.concatenate(scores), ~first))
    expected = np.bincount(owner[order[:total]], minlength=len(scores))
    counts = Global(min_keep=floor)(scores, sites, sparsity, sparsity)
    np.testing.assert_array_equal(counts, expected)


@pytest.mark.parametrize(
    "allocation",
    [
        Uniform(),
        Global(),
        Global(min_keep=20),
        LAMP(),
        ERK(),
        ERK(min_keep=50),
        PerSite({"layer0": 0, "net/layer1/kernel": 0.5}, Global()),
        PerSite({"layer0": 0.3, "layer1": 0.2, "layer2": 0.1}),
    ],
    ids=repr,
)
def test_tensors_give_the_same_counts(allocation):
    sites = sites_of((3, 3, 2, 8), (12, 10), (10, 7))
    scores = scores_of(sites)
    scores[1][:60] = 0
    scores[1][60:70] = np.nan
    for jit in (False, True):
        call = tf.function(
            lambda scores, sparsity: allocation(scores, sites, sparsity, 0.9),
            jit_compile=jit,
            autograph=False,
        )
        for sparsity in np.array([0, 0.3, 0.8, 0.9], np.float64):
            counts = call([tf.constant(score) for score in scores], tf.constant(sparsity))
            assert counts.dtype == tf.int64
            np.testing.assert_array_equal(counts, allocation(scores, sites, sparsity, 0.9))


@pytest.mark.parametrize("allocation", [Uniform(), Global(), LAMP(), ERK()], ids=repr)
def test_a_sparsity_of_zero_keeps_all(allocation):
    sites = sites_of((3, 5), (1, 1), (4, 4))
    scores = [np.zeros(site.size, "float32") for site in sites]
    assert allocation(scores, sites, 0.0, 0.5).tolist() == [15, 1, 16]


def test_no_site_collapses_when_its_scores_are_the_lowest():
    sites = sites_of((4, 4), (4, 4), (4, 4))
    scores = [np.zeros(16, "float32"), np.full(16, -np.inf, "float32"), np.ones(16, "float32")]
    assert Global()(scores, sites, 0.9, 0.9).tolist() == [1, 1, 3]
    assert Global(min_keep=0)(scores, sites, 0.9, 0.9).tolist() == [0, 0, 5]
    assert LAMP()(scores, sites, 0.99, 0.99).tolist() == [1, 1, 1]


@pytest.mark.parametrize("value", [np.inf, 1e30, 1e-30])
def test_lamp_of_extreme_scores(value):
    scores = [np.array([value, value / 2, 0], "float32"), np.array([4, 2, 0], "float32")]
    counts = LAMP()(scores, [], 0.5, 0.5)
    assert counts.sum() == 3 and (counts >= 1).all()


@given(st.lists(st.integers(0, 2**26), min_size=1, max_size=5), st.floats(0, 0.999))
def test_counts_are_computed_in_the_dtype_of_the_sparsity(groups, sparsity):
    wide = [round(count * (1 - sparsity)) for count in groups]
    assert keep_count(groups, sparsity).tolist() == wide
    single = np.float32(sparsity)
    narrow = [
        min(int(np.round(np.float32(count) * (np.float32(1) - single))), count) for count in groups
    ]
    if single:
        assert keep_count(groups, single).tolist() == narrow


def test_float32_and_float64_differ_as_tf_mot_does():
    assert keep_count(250, 0.9).tolist() == 25
    assert keep_count(5, np.float64(0.9)).tolist() == 0  # 0.49999999999999994
    assert keep_count(15, 0.9).tolist() == 1  # 1.4999999999999996
    assert keep_count(15, np.float32(0.9)).tolist() == 2  # 1.5000004


def test_per_site_follows_the_course_to_its_own_target():
    sites = sites_of((10, 10), (10, 10), (10, 10))
    allocation = PerSite({"layer0": 0.5, Layer("layer1"): 0})
    scores = scores_of(sites)
    assert allocation(scores, sites, 0.4, 0.8).tolist() == [75, 100, 60]
    assert allocation(scores, sites, 0.8, 0.8).tolist() == [50, 100, 20]
    single = tf.constant(0.8, tf.float32)
    assert allocation(scores, sites, single, 0.8).numpy().tolist() == [50, 100, 20]


def test_per_site_may_speak_of_sites_that_were_left_dense():
    kept, left = sites_of((4, 4), (4, 4))[:1], sites_of((4, 4), (4, 4))[1:]
    both = PerSite({kept[0].name: 0.5, left[0].name: 0.0}, Global())
    assert both.among(kept, left) == PerSite({kept[0].name: 0.5}, Global())
    assert PerSite({left[0].name: 0.0}, Global()).among(kept, left) == Global()
    assert both.among([*kept, *left], []) is both
    with pytest.raises(ValueError, match="'nowhere' matches no layer"):
        PerSite({"nowhere": 0.0}).among(kept, left)([np.ones(16)], kept, 0.5, 0.5)


def test_per_site_the_closer_key_counts():
    sites = [Site("net/block/dense/kernel", (10, 10), kernel_layout.DENSE, "net")]
    for sparsities, kept in [
        ({"net": 0.2, "block": 0.4}, 60),
        ({"block": 0.4, "net": 0.2}, 60),
        ({"dense": 0.4, "block": 0.2}, 60),
        ({"net/block/dense/kernel": 0.2, "dense": 0.4}, 80),
    ]:
        assert PerSite(sparsities)([np.ones(100)], sites, 0.5, 0.5).tolist() == [kept]


@pytest.mark.parametrize(
    "make, words",
    [
        (lambda: Uniform(min_keep=-1), "min_keep=-1"),
        (lambda: PerSite({"a": 1.0}), r"PerSite\(\{'a'"),
        (lambda: PerSite({3: 0.5}), "3 is no key"),
        (lambda: PerSite({"a": 0.5}).check(sites_of((2, 2))), "'a' matches no .*net/layer0/kernel"),
        (lambda: PerSite({"layer0": 0.5})([np.ones(4)], sites_of((2, 2)), 0.0, 0.0), "ends at"),
    ],
)
def test_wrong_settings_are_refused(make, words):
    with pytest.raises(ValueError, match=words):
        make()


@pytest.mark.parametrize(
    "allocation",
    [Uniform(), ERK(min_keep=3), PerSite({"layer0": 0.5, "layer1": 0.0}, others=LAMP(min_keep=2))],
)
def test_configuration_round_trip(allocation):
    again = from_config(to_config(allocation))
    assert again == allocation and hash(again) == hash(allocation)


def test_only_uniform_goes_with_structures_that_count_themselves():
    assert Uniform().accepts_fixed
    assert not any(other.accepts_fixed for other in (Global(), ERK(), LAMP(), PerSite({})))


def test_erk_is_exact_where_the_definition_iterates():
    # The definition: make the sparsest-to-be layers dense one by one until all densities fit.
    shapes = [(3, 3, 3, 16), (3, 3, 16, 32), (1, 1, 8, 8), (3, 3, 32, 64), (64, 10)]
    sites = sites_of(*shapes)
    sizes = np.array([math.prod(shape) for shape in shapes])
    raw = np.array([sum(shape) / math.prod(shape) for shape in shapes])
    for sparsity in np.linspace(0.05, 0.98, 32):
        total, dense = round(sizes.sum() * (1 - sparsity)), np.zeros(len(shapes), bool)
        while True:
            epsilon = (total - sizes[dense].sum()) / (raw * sizes)[~dense].sum()
            if epsilon * raw[~dense].max() <= 1:
                break
            dense |= raw == raw[~dense].max()
        ideal = np.where(dense, sizes, epsilon * raw * sizes)
        counts = ERK()([np.ones(size) for size in sizes], sites, sparsity, sparsity)
        assert counts.sum() == total and (np.abs(counts - ideal) < 1).all()


@pytest.mark.parametrize(
    "allocation",
    [Uniform(min_keep=3), Global(min_keep=3), LAMP(), ERK(), Global(min_keep=0)],
    ids=repr,
)
@pytest.mark.parametrize("sparsity", [0.0, 0.5, 0.99])
def test_total_is_the_sum_of_the_counts(allocation, sparsity):
    sites = sites_of((7, 3), (40, 20), (20, 5))
    scores = scores_of(sites)
    counts = allocation(scores, sites, sparsity, sparsity)
    assert allocation.total([len(score) for score in scores], sites, sparsity, sparsity) == int(
        np.sum(counts)
    )
