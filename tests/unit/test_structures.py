# SPDX-License-Identifier: Apache-2.0
"""Structures: every entry in exactly one group, in NumPy, TensorFlow and XLA alike."""

import math

import ml_dtypes
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import assume, given
from hypothesis import strategies as st

from tfprune.masks import kernel_layout
from tfprune.masks.kernel_layout import DENSE
from tfprune.masks.select import select
from tfprune.masks.serialization import from_config, to_config
from tfprune.masks.structures import Block, Channel, Column, Element, Filter, Kernel, NofM, Rows

POOLED = [
    Block(1, 4),
    Block(4, 1, "max"),
    Block(2, 3, "sum"),
    Block(1, 1),
    Block(100, 100),
    Kernel(),
    Column("max"),
    Channel("sum"),
    Filter(),
]
ROWS = [Rows("weights"), Rows("kernels", 2), Rows("maps", 1, tiles=2), Rows(tiles=3, pooling="sum")]
STRUCTURES = [Element(), NofM(2, 4), NofM(1, 2), NofM(3, 16), *POOLED, *ROWS]
LAYOUTS = {
    "dense": (DENSE, 2),
    "embedding": (kernel_layout.EMBEDDING, 2),
    "conv1": (kernel_layout.conv(1), 3),
    "conv2": (kernel_layout.conv(2), 4),
    "conv3": (kernel_layout.conv(3), 5),
    "transposed": (kernel_layout.conv_transpose(2), 4),
    "depthwise": (kernel_layout.depthwise(2), 4),
    "local": (kernel_layout.locally_connected(2), 3),
    "query": (kernel_layout.einsum("abc,cde->abde"), 3),
    "output": (kernel_layout.einsum("abcd,cde->abe"), 3),
    "batched": (kernel_layout.einsum("abc,acd->abd"), 3),
    "vector": (kernel_layout.of_shape((1,)), 1),
}


@st.composite
def cases(draw):
    structure = draw(st.sampled_from(STRUCTURES))
    layout, rank = LAYOUTS[draw(st.sampled_from(sorted(LAYOUTS)))]
    return structure, layout, tuple(draw(st.integers(1, 6)) for _ in range(rank))


def candidates(structure, shape, layout):
    """How many numbers the mask of the groups has."""
    return structure.reduce(np.zeros(shape), layout).size


@given(cases())
def test_groups_cover_every_entry_once(case):
    structure, layout, shape = case
    assume(structure.supports(shape, layout) is None)
    count = candidates(structure, shape, layout)
    times = sum(
        structure.expand(row, shape, layout).astype(int) for row in np.eye(count, dtype=bool)
    )
    np.testing.assert_array_equal(times, np.ones(shape, int))
    sizes = structure.sizes(shape, layout)
    assert sizes.dtype == np.int64 and len(sizes) == structure.groups(shape, layout)
    assert sizes.min() >= 1 and sizes.sum() == math.prod(shape)


@given(cases(), st.integers(0, 2**32 - 1))
def test_group_scores_are_those_of_the_expanded_groups(case, seed):
    structure, layout, shape = case
    assume(structure.supports(shape, layout) is None)
    scores = np.random.default_rng(seed).normal(size=shape)
    reduced = structure.reduce(scores, layout).reshape(-1)
    pool = {"mean": np.mean, "max": np.max, "sum": np.sum}[structure.pooling or "sum"]
    for group, row in enumerate(np.eye(len(reduced), dtype=bool)):
        members = scores[structure.expand(row, shape, layout)]
        expected = pool(members) if members.size else -np.inf  # padding of NofM
        np.testing.assert_allclose(reduced[group], expected, rtol=1e-12)


@given(cases(), st.integers(0, 10), st.integers(0, 2**32 - 1))
def test_masks_are_nested_and_counts_exact(case, keep, seed):
    structure, layout, shape = case
    assume(structure.supports(shape, layout) is None and structure.fixed is None)
    scores = np.random.default_rng(seed).integers(0, 3, size=shape).astype("float32")  # many ties
    groups = structure.reduce(scores, layout)
    small, large = select(groups, keep), select(groups, keep + 1)
    assert small.sum() == min(keep, len(groups))
    small, large = (structure.expand(mask, shape, layout) for mask in (small, large))
    assert not (small & ~large).any()


@pytest.mark.parametrize("name", sorted(LAYOUTS))
def test_tensors_give_the_same_bits(name):
    layout, rank = LAYOUTS[name]
    shape = (3, 2, 5, 7, 4)[-rank:]
    generator = np.random.default_rng(0)
    scores = generator.normal(size=shape).astype("float32")
    usable = [one for one in STRUCTURES if not one.supports(shape, layout)]
    masks = [generator.random(candidates(one, shape, layout)) < 0.5 for one in usable]

    def both(scores, masks):
        return [
            (one.reduce(scores, layout), one.expand(mask, shape, layout))
            for one, mask in zip(usable, masks)
        ]

    expected = both(scores, masks)
    for jit in (False, True):
        results = tf.function(both, jit_compile=jit, autograph=False)(
            tf.constant(scores), [tf.constant(mask) for mask in masks]
        )
        for structure, reference, result in zip(usable, expected, results):
            for one, other in zip(reference, result):
                np.testing.assert_array_equal(one, other.numpy(), err_msg=f"{structure} {jit}")
                assert one.dtype == other.dtype.as_numpy_dtype


@pytest.mark.parametrize("dtype", ["float16", ml_dtypes.bfloat16])
def test_half_precision_sums_do_not_overflow(dtype):
    kernel = np.full((300, 2), 500, dtype)
    for scores in (kernel, tf.constant(kernel)):
        sums = np.asarray(Filter("sum").reduce(scores, DENSE))
        assert sums.dtype == np.float32
        np.testing.assert_array_equal(sums, np.full(2, 300 * float(kernel[0, 0]), "float32"))
        assert Element().reduce(scores, DENSE).dtype == scores.dtype
        assert NofM(2, 7).reduce(scores, DENSE).dtype == scores.dtype  # 300 = 42 * 7 + 6


@pytest.mark.parametrize("pooling", ["mean", "max", "sum"])
def test_nan_makes_its_group_the_lowest(pooling):
    kernel = np.ones((3, 4), "float32")
    kernel[1, 2] = np.nan
    compiled = tf.function(Filter(pooling).reduce, jit_compile=True, autograph=False)
    for scores in (Filter(pooling).reduce(kernel, DENSE), compiled(tf.constant(kernel), DENSE)):
        np.testing.assert_array_equal(select(np.asarray(scores), 3), [True, True, False, True])


def test_short_rows_of_n_of_m_keep_what_they_have_even_nan():
    kernel = np.array([[5.0, 1, 4, 2, np.nan, 3]], "float32").T
    mask = NofM(2, 4).expand(select(NofM(2, 4).reduce(kernel, DENSE), 2), (6, 1), DENSE)
    assert mask[:, 0].tolist() == [True, False, True, False, True, True]


def test_uneven_blocks_are_pooled_over_what_they_cover():
    kernel = np.arange(1.0, 11).reshape(2, 5).T  # the matrix is [[1, .., 5], [6, .., 10]]
    assert Block(2, 4).reduce(kernel, DENSE).tolist() == [5.0, 7.5]
    assert Block(2, 4).sizes((5, 2), DENSE).tolist() == [8, 2]


def test_kernel_of_a_dense_layer_is_its_elements():
    kernel = np.arange(6.0).reshape(2, 3)
    np.testing.assert_array_equal(Kernel().reduce(kernel, DENSE), Element().reduce(kernel, DENSE))


@pytest.mark.parametrize(
    "structure, layout, shape, reason",
    [
        (NofM(2, 4), kernel_layout.depthwise(2), (3, 3, 8, 1), "no input channels"),
        (NofM(2, 4), kernel_layout.of_shape((5,)), (5,), "no input channels"),
        (Channel(), kernel_layout.of_shape((5,)), (5,), "no input channels"),
        (Column(), kernel_layout.of_shape((5,)), (5,), "neither input"),
        (Filter(), kernel_layout.einsum("ab,b->a"), (5,), "no output channels"),
        (Element(), DENSE, (0, 4), "no entries"),
        (Block(1, 4), DENSE, (3, 3, 2), "2 axes"),
    ],
)
def test_what_is_not_supported_has_a_reason(structure, layout, shape, reason):
    assert reason in structure.supports(shape, layout)


@pytest.mark.parametrize(
    "structure, words",
    [
        (NofM(2, 10**9), "rows of m=1000000000 weights are longer than its 4 input channels"),
        (NofM(1, 17), "rows of m=17 weights are longer"),
        (NofM(1, 16), None),
        (Rows("maps", 10**9), "fewer than k=1000000000"),
        (Rows("kernels", 5), "fewer than k=5"),
        (Rows(tiles=10**9), "rows of 4 cannot be cut into 1000000000 equal tiles"),
        (Block(10**9, 10**9), None),  # ends with the kernel
    ],
    ids=repr,
)
def test_no_structure_takes_more_memory_than_the_kernel(structure, words):
    kernel, reason = np.ones((4, 8)), structure.supports((4, 8), DENSE)
    if words is None:
        assert reason is None and structure.reduce(kernel, DENSE).size <= 4 * kernel.size
    else:
        assert words in reason
    if isinstance(structure, NofM) and words:
        for call in (
            lambda: structure.reduce(kernel, DENSE),
            lambda: structure.expand(np.ones((8, 2), bool), (4, 8), DENSE),
        ):
            with pytest.raises(ValueError, match=f"NofM.*{words}"):
                call()


@pytest.mark.parametrize(
    "make, words",
    [
        (lambda: Block(0, 4), "rows"),
        (lambda: Block(1, 2.0), "columns"),
        (lambda: Block(1, 4, "AVG"), "pooling='AVG'"),
        (lambda: Filter("median"), "median"),
        (lambda: NofM(4, 4), "0 < n < m"),
        (lambda: NofM(0, 4), "at least 1"),
        (lambda: NofM(1, 1), "at least 2"),
        (lambda: Block.of_kernel((2, 2), kernel_layout.conv(2)), "2 axes"),
        (lambda: Filter().reduce(np.ones((2, 2, 2)), DENSE), "has 3 axes"),
    ],
)
def test_wrong_settings_are_refused(make, words):
    with pytest.raises(ValueError, match=words):
        make()


@pytest.mark.parametrize("structure", STRUCTURES)
def test_configuration_round_trip(structure):
    assert from_config(to_config(structure)) == structure


def test_block_of_an_embedding_is_not_turned():
    assert Block.of_kernel((2, 8), kernel_layout.EMBEDDING) == Block(rows=2, columns=8)
    assert Block.of_kernel((2, 8), DENSE, "max") == Block(rows=8, columns=2, pooling="max")
