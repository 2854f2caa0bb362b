# SPDX-License-Identifier: Apache-2.0
"""Structures, counts and schedules beside TF-MOT's own, and where they differ on purpose."""

import os

import numpy as np
import pytest
import tensorflow as tf

from tfprune.masks.allocations import Uniform, keep_count
from tfprune.masks.kernel_layout import DENSE, conv
from tfprune.masks.schedules import Constant, Polynomial
from tfprune.masks.select import select
from tfprune.masks.structures import Block, Element, NofM


@pytest.fixture(scope="module")
def tfmot():
    """TF-MOT's modules; importing them sets an environment variable, which is put back."""
    before = os.environ.get("TF_USE_LEGACY_KERAS")
    from tensorflow_model_optimization.python.core.sparsity.keras import (
        pruning_impl,
        pruning_schedule,
        pruning_utils,
    )

    if before is None:
        os.environ.pop("TF_USE_LEGACY_KERAS", None)
    else:
        os.environ["TF_USE_LEGACY_KERAS"] = before
    yield type(
        "TFMOT",
        (),
        {"Pruning": pruning_impl.Pruning, "schedules": pruning_schedule, "utils": pruning_utils},
    )


def weights_of(*shape):
    return np.random.default_rng(1).normal(size=shape).astype("float32")


def theirs(tfmot, weights, sparsity=0.5, block_size=(1, 1), pooling="AVG", m_by_n=None):
    pruning = tfmot.Pruning(
        lambda: tf.constant(1),
        [],
        tfmot.schedules.ConstantSparsity(sparsity, 0),
        block_size,
        pooling,
        m_by_n,
    )
    return pruning._maybe_update_block_mask(tf.constant(weights))[1].numpy().astype(bool)


def ours(structure, weights, layout, sparsity=0.5):
    scores = structure.reduce(np.abs(weights), layout)
    if structure.fixed:
        keep = structure.fixed
    else:
        keep = Uniform()([scores], [], np.float32(sparsity), sparsity)[0]
    return structure.expand(select(scores, keep), weights.shape, layout)


@pytest.mark.parametrize("sparsity", [0.1, 0.5, 0.77, 0.9, 0.999])
def test_elements(tfmot, sparsity):
    weights = weights_of(3, 3, 7, 5)
    np.testing.assert_array_equal(
        ours(Element(), weights, conv(2), sparsity), theirs(tfmot, weights, sparsity)
    )


@pytest.mark.parametrize("pooling", ["AVG", "MAX"])
@pytest.mark.parametrize(
    "shape, block_size",
    [
        ((16, 12), (4, 1)),
        ((16, 12), (1, 4)),
        ((16, 12), (4, 4)),
        ((16, 12), (8, 1)),
        ((15, 13), (2, 2)),
        ((15, 12), (4, 1)),
        ((7, 5), (2, 1)),  # uneven, one entry short
    ],
)
def test_blocks(tfmot, shape, block_size, pooling):
    weights = weights_of(*shape)
    block = Block.of_kernel(block_size, DENSE, {"AVG": "mean", "MAX": "max"}[pooling])
    np.testing.assert_array_equal(
        ours(block, weights, DENSE), theirs(tfmot, weights, block_size=block_size, pooling=pooling)
    )


def test_blocks_that_lack_two_entries_are_scored_elsewhere_by_tf_mot(tfmot):
    # 9 rows in blocks of 4: the last block has one row and lacks three. TF-MOT scores the rows
    # 0-2, 3-6 and 7-8 (means 0, 6, 4.5) for the blocks 0-3, 4-7 and 8 (means 2.25, 4, 8).
    column = np.array([0, 0, 0, 9, 5, 5, 5, 1, 8], "float32")
    weights = np.stack([column, column / 8], axis=1)
    mask = ours(Block(1, 4), weights, DENSE, 0.8)  # one block of six stays
    assert mask[:, 0].tolist() == [False] * 8 + [True] and not mask[:, 1].any()
    mask = theirs(tfmot, weights, 0.8, (4, 1))
    assert mask[:, 0].tolist() == [False] * 4 + [True] * 4 + [False] and not mask[:, 1].any()


@pytest.mark.parametrize("shape, block_size", [((9, 1), (4, 1)), ((16, 12), (16, 1))])
def test_a_single_row_or_column_of_blocks_is_an_error_in_tf_mot_only(tfmot, shape, block_size):
    weights = weights_of(*shape)
    with pytest.raises(ValueError, match="rank"):
        theirs(tfmot, weights, block_size=block_size)
    sizes = Block.of_kernel(block_size, DENSE).sizes(shape, DENSE)
    kept = ours(Block.of_kernel(block_size, DENSE), weights, DENSE).sum()
    assert kept % sizes[0] in (0, sizes[-1]) and 0 < kept < weights.size


@pytest.mark.parametrize("n, m", [(2, 4), (3, 4), (1, 4), (4, 8)])
@pytest.mark.parametrize(
    "shape, layout",
    [((16, 6), DENSE), ((10, 3), DENSE), ((3, 3, 8, 4), conv(2)), ((3, 3, 6, 4), conv(2))],
)
def test_n_of_m(tfmot, n, m, shape, layout):
    weights = weights_of(*shape)
    np.testing.assert_array_equal(
        ours(NofM(n, m), weights, layout), theirs(tfmot, weights, m_by_n=(m - n, m))
    )


def test_ties_are_counted_exactly_here_and_all_kept_by_tf_mot(tfmot):
    weights = np.ones((4, 5), "float32")
    assert ours(Element(), weights, DENSE).sum() == 10
    assert theirs(tfmot, weights).sum() == 20


@pytest.mark.parametrize("sparsity", [0.0, 0.3, 0.5, 0.7, 0.9, 0.95, 0.999])
def test_counts(tfmot, sparsity):
    for size in (1, 5, 15, 25, 1000, 36_864):
        weights = np.arange(1, size + 1, dtype="float32")
        kept = theirs(tfmot, weights, sparsity).sum()
        assert keep_count(size, tf.constant(sparsity, tf.float32), min_keep=1).numpy() == kept


def sequence(schedule, steps):
    return [
        (bool(due), float(sparsity))
        for due, sparsity in (schedule(tf.constant(step, tf.int64)) for step in range(steps))
    ]


@pytest.mark.parametrize(
    "begin, end, frequency, power", [(0, 30, 10, 3), (5, 25, 4, 1), (3, 43, 10, 2)]
)
def test_polynomial(tfmot, begin, end, frequency, power):
    reference = sequence(
        tfmot.schedules.PolynomialDecay(0.1, 0.9, begin, end, power, frequency), end + 12
    )
    result = sequence(
        Polynomial(
            0.9, initial=0.1, begin=begin, end=end, power=power, frequency=frequency
        ).resolve(),
        end + 12,
    )
    assert [due for due, _ in reference] == [due for due, _ in result]
    np.testing.assert_allclose(
        [sparsity for due, sparsity in reference if due],
        [sparsity for due, sparsity in result if due],
        atol=1e-6,
    )


@pytest.mark.parametrize("end", [-1, 24])
def test_constant(tfmot, end):
    reference = sequence(tfmot.schedules.ConstantSparsity(0.5, 3, end, 7), 60)
    result = sequence(
        Constant(0.5, begin=3, end=None if end == -1 else end, frequency=7).resolve(), 60
    )
    assert [due for due, _ in reference] == [due for due, _ in result]


def test_the_end_is_reached_here_and_missed_by_tf_mot(tfmot):
    reference = sequence(tfmot.schedules.PolynomialDecay(0.0, 0.9, 0, 25, 3, 10), 40)
    result = sequence(Polynomial(0.9, end=25, frequency=10).resolve(), 40)
    assert [step for step, (due, _) in enumerate(reference) if due] == [0, 10, 20]
    assert [step for step, (due, _) in enumerate(result) if due] == [0, 10, 20, 25]
    assert result[25][1] == 0.9
    assert reference[20][1] == pytest.approx(0.8928)
