# SPDX-License-Identifier: Apache-2.0
"""Sensitivity of SiPP and PFP: the share of a unit's input that a weight can account for, on data.

W is split by sign into W+ and W-, the input into a+ and a- (both taken as magnitudes; an input
with negative entries counts as two examples), so that nothing cancels. For the output i, the
column e of its patches and the position p, with W^s the part that has the sign of W_ie,

    g_ie(p) = |W_ie| a_ep / sum over f of |W^s_if| a_fp        0 where the sum is 0; in [0, 1]

Biases play no part, patches must be finite. Scaling a filter or the input leaves g unchanged.
Batches are combined by the elementwise maximum, which is exact.

Papers: Baykal et al., SiPPing Neural Networks, arXiv 1910.05422; Liebenwein et al., Provable
Filter Pruning for Efficient Neural Networks, arXiv 1911.07412.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import tensorflow as tf

from tfprune.masks.kernel_layout import Layout

_BLOCK = 1 << 16  # entries of the patches that are worked on at a time, to stay in the cache


def mean_sensitivity(patches: Any, matrix: Any) -> tf.Tensor:
    """The SiPP score of every weight: max over examples of the mean of g over positions.

    Args:
        patches: [batch, positions, columns] or [batch, positions, groups, columns], as
            `tfprune.layers.im2col` makes them.
        matrix: the kernel's matrix [outputs, columns], of any floating type.

    Returns:
        [outputs, columns] in [0, 1]; float32, float64 if the matrix is.

    >>> patches = tf.constant([[[1.0, 3.0], [0.0, 2.0]]])  # one example, two positions
    >>> mean_sensitivity(patches, [[2.0, 2.0]]).numpy()  # (1/4 + 0) / 2, (3/4 + 1) / 2
    array([[0.125, 0.875]], dtype=float32)
    """
    rows, matrix, positions = _grouped(patches, matrix)
    if isinstance(positions, int) and positions == 1:
        return peak_sensitivity(patches, tf.reshape(matrix, (-1, matrix.shape[2])))
    outputs = matrix.shape[1]
    signed = _signed(matrix)

    def mean(example):
        rates = _rates(example, signed) / tf.cast(positions, matrix.dtype)
        shares = tf.matmul(rates, example) * signed
        return shares[:, :outputs] + shares[:, outputs:]  # a weight has one sign

    return _largest(mean, rows, positions, matrix)


def peak_sensitivity(patches: Any, matrix: Any) -> tf.Tensor:
    """Max of g over examples and positions: the score of randomised SiPP, and what PFP pools.

    Args:
        patches: [batch, positions, columns] or [batch, positions, groups, columns], as
            `tfprune.layers.im2col` makes them.
        matrix: the kernel's matrix [outputs, columns], of any floating type.

    Returns:
        [outputs, columns] in [0, 1]; float32, float64 if the matrix is.

    >>> patches = tf.constant([[[1.0, 3.0], [0.0, 2.0]]])
    >>> peak_sensitivity(patches, [[2.0, 2.0]]).numpy()
    array([[0.25, 1.  ]], dtype=float32)
    """
    rows, matrix, _ = _grouped(patches, matrix)
    groups, outputs, columns = matrix.shape
    signed = _signed(matrix)

    def peak(block):
        rates = tf.transpose(_rates(block, signed), (1, 0, 2))  # [2 outputs, groups, rows]

        def of_output(index):
            row = matrix[:, index]
            own = tf.where(
                row[:, None] > 0, rates[index, :, :, None], rates[outputs + index, :, :, None]
            )
            return tf.reduce_max(block * own, axis=1) * tf.abs(row)

        peaks = tf.map_fn(
            of_output,
            tf.range(outputs),
            parallel_iterations=1,
            fn_output_signature=tf.TensorSpec((groups, columns), matrix.dtype),
        )
        return tf.transpose(peaks, (1, 0, 2))

    return _largest(peak, rows, max(1, _BLOCK // (groups * columns)), matrix)


def channel_sensitivity(
    peak: Any, shape: tuple[int, ...], layout: Layout, *, groups: int = 1
) -> tf.Tensor:
    """The PFP score of every input channel: the maximum over outputs and kernel positions.

    s_j = max over i, and over e that belong to the channel j, of peak_ie

    Args:
        peak: [outputs, columns], from `peak_sensitivity`.
        shape: of the kernel.
        layout: of the kernel.
        groups: groups of channels that do not mix; of a depthwise kernel its input channels.
            With one group it is what the structure `Channel("max")` makes of the scores.

    Returns:
        [input channels of the layer].

    >>> from tfprune.masks.kernel_layout import conv
    >>> peak = tf.constant([[0.1, 0.4, 0.3, 0.2]])  # two positions of two channels
    >>> channel_sensitivity(peak, (2, 2, 1), conv(1)).numpy()
    array([0.3, 0.4], dtype=float32)
    """
    outputs, columns = layout.matrix_shape(shape)
    area = math.prod(shape[axis] for axis in layout.spatial)
    parts = tf.reshape(peak, (groups, outputs // groups, area, columns // area))
    return tf.reshape(tf.reduce_max(parts, axis=(1, 2)), (-1,))


def _grouped(patches, matrix):
    """Rows [batch * positions, groups, columns], matrix [groups, outputs, columns], positions.

    The matrix is scaled to a largest weight of 1 in each row, which leaves g as it is.
    """
    patches, matrix = tf.convert_to_tensor(patches), tf.convert_to_tensor(matrix)
    dtype = tf.float64 if matrix.dtype == tf.float64 else tf.float32
    patches, matrix = tf.cast(patches, dtype), tf.cast(matrix, dtype)
    columns = patches.shape[-1]
    groups = patches.shape[2] if patches.shape.rank == 4 else 1
    if matrix.shape.rank != 2 or matrix.shape[1] != columns or matrix.shape[0] % groups:
        raise ValueError(
            f"A matrix of shape {tuple(matrix.shape)} does not fit patches of "
            f"{columns} columns in {groups} groups: expected [outputs, {columns}]."
        )
    positions = patches.shape[1] if patches.shape[1] is not None else tf.shape(patches)[1]
    matrix = tf.reshape(_scaled(matrix), (groups, matrix.shape[0] // groups, columns))
    return tf.reshape(patches, (-1, groups, columns)), matrix, positions


def _scaled(values):
    largest = tf.reduce_max(tf.abs(values), axis=-1, keepdims=True)
    return tf.math.divide_no_nan(values, largest)


def _signed(matrix):
    """W+ and W- below each other, [groups, 2 outputs, columns]."""
    return tf.concat([tf.nn.relu(matrix), tf.nn.relu(-matrix)], axis=1)


def _rates(block, signed):
    """1 / (W_i . a_p), 0 where that is 0, [groups, 2 outputs, rows]."""
    sums = tf.matmul(signed, block, transpose_b=True)
    tiny = np.finfo(sums.dtype.as_numpy_dtype).tiny
    return tf.where(sums > tiny, 1 / tf.maximum(sums, tiny), tf.zeros_like(sums))


def _largest(score, rows, length, matrix):
    """The maximum of a score over blocks of so many rows, of a+ and of a-: [outputs, columns]."""
    count = tf.shape(rows)[0] if rows.shape[0] is None else rows.shape[0]
    fixed = isinstance(count, int) and isinstance(length, int)
    length = max(min(length, count), 1) if fixed else tf.maximum(tf.minimum(length, count), 1)
    groups, outputs, columns = matrix.shape

    def of_sign(block):
        # Scaled to a largest entry of 1 in each row, which leaves g as it is.
        return score(_scaled(tf.nn.relu(block)))

    def step(index, largest):
        start = tf.minimum(index * length, count - length)  # a last block may overlap
        block = tf.slice(rows, (start, 0, 0), (length, groups, columns))
        block = tf.transpose(block, (1, 0, 2))
        largest = tf.maximum(largest, of_sign(block))
        largest = tf.cond(
            tf.reduce_any(block < 0), lambda: tf.maximum(largest, of_sign(-block)), lambda: largest
        )
        return index + 1, largest

    blocks = -(-count // length)
    _, largest = tf.while_loop(
        lambda index, _: index < blocks,
        step,
        (tf.constant(0), tf.zeros_like(matrix)),
        parallel_iterations=1,
    )
    return tf.minimum(tf.reshape(largest, (groups * outputs, columns)), 1)
