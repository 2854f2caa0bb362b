# SPDX-License-Identifier: Apache-2.0
"""The patches of a layer's input that its kernel is multiplied with, as a matrix.

    outputs = patches(inputs, reading(layer, layout), layout) @ matrix(kernel).T  (+ bias)

matrix(kernel) is TFLite's matrix, columns spatial first and input channels last: see
`tfprune.masks.kernel_layout.to_matrix`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np
import tensorflow as tf

from tfprune.layers.base import kind_of
from tfprune.masks import kernel_layout
from tfprune.masks.kernel_layout import Layout


@dataclass(frozen=True)
class Contraction:
    """How Dense and EinsumDense read their input: they sum over whole axes of it.

    Attributes:
        axes: the axes of the input that are summed over, in the order of the kernel's axes.
    """

    axes: tuple[int, ...] = (-1,)


@dataclass(frozen=True)
class Window:
    """How a convolution reads its input; the layout tells which kind of convolution it is.

    Attributes:
        size: of the kernel, per spatial axis.
        strides: steps, per spatial axis; of a transposed convolution between its outputs.
        dilation: distance of the kernel's positions, per spatial axis.
        padding: "valid", "same" or "causal".
        groups: groups of channels that do not mix. Depthwise: 1, the layout says it.
        channels_first: whether the input's channels come before its positions.
    """

    size: tuple[int, ...]
    strides: tuple[int, ...]
    dilation: tuple[int, ...]
    padding: str = "valid"
    groups: int = 1
    channels_first: bool = False

    @property
    def reach(self) -> tuple[int, ...]:
        """Length of the kernel with its gaps, per spatial axis."""
        return tuple(
            (size - 1) * step + 1 for size, step in zip(self.size, self.dilation, strict=True)
        )


def reading(layer: Any, layout: Layout) -> Contraction | Window:
    """How a layer of either Keras reads its input for the kernel that has this layout.

    Raises:
        ValueError: the kernel is not multiplied with patches of the layer's input, or it is
            unknown how. The message is the reason, to be reported next to the layer's name.
    """
    kind = kind_of(layer)
    is_convolution = kind.patches is not None and bool(layout.spatial)
    if kind.patches is None or not (is_convolution or kind.name in ("Dense", "EinsumDense")):
        raise ValueError(
            f"{type(layer).__name__} does more with its kernel than multiply it with "
            "patches of its input, or how it reads its input is not known"
        )
    return kind.patches(layer, layout)


def patches(inputs: Any, how: Contraction | Window, layout: Layout) -> tf.Tensor:
    """The patches of a layer's input.

    Args:
        inputs: the input, [batch, ...].
        how: what `reading` says of the layer.
        layout: of the kernel.

    Returns:
        [batch, positions, columns]; [batch, positions, groups, columns] of depthwise kernels
        (each input channel is a group) and where `groups` is more than 1. Then the rows of the
        kernel's matrix fall into as many equal groups, in order. Values the input does not have
        (padding, gaps of a transposed convolution) are 0. It takes twice the memory of the result.

    Raises:
        ValueError: the kernel's layout is not that of a convolution.

    >>> window = Window((2,), (1,), (1,), "same")
    >>> patches(tf.reshape([1.0, 2.0, 3.0], (1, 3, 1)), window, kernel_layout.conv(1)).numpy()
    array([[[1., 2.],
            [2., 3.],
            [3., 0.]]], dtype=float32)
    """
    inputs = tf.convert_to_tensor(inputs)
    if isinstance(how, Contraction):
        return _contraction_patches(inputs, how.axes)
    rank = len(layout.spatial)
    transposed = layout == kernel_layout.conv_transpose(rank)
    if not transposed and layout not in (kernel_layout.conv(rank), kernel_layout.depthwise(rank)):
        raise ValueError(f"{layout} is not the layout of a convolution.")
    if how.channels_first:
        inputs = tf.transpose(inputs, (0, *range(2, rank + 2), 1))
    inputs, counts = (_spread if transposed else _padded)(inputs, how)
    strides = (1,) * rank if transposed else how.strides
    pieces = [
        inputs[(slice(None), *spans)]
        for spans in product(
            *(_spans(*axis) for axis in zip(how.size, how.dilation, counts, strides, strict=True))
        )
    ]
    pieces = tf.stack(pieces[::-1] if transposed else pieces, axis=-2)
    batch, channels = _length(inputs, 0), _length(inputs, -1)
    offsets, places = math.prod(how.size), math.prod(counts)
    depthwise = layout == kernel_layout.depthwise(rank)
    groups = channels if depthwise else how.groups
    if how.groups == 1 and not depthwise:
        return tf.reshape(pieces, (batch, places, offsets * channels))
    pieces = tf.reshape(pieces, (batch, places, offsets, groups, channels // groups))
    pieces = tf.transpose(pieces, (0, 1, 3, 2, 4))
    return tf.reshape(pieces, (batch, places, groups, offsets * (channels // groups)))


def _contraction_patches(inputs, axes):
    rank = inputs.shape.rank
    axes = [axis % rank for axis in axes]
    others = [axis for axis in range(rank) if axis not in axes]
    shape = [
        math.prod(_length(inputs, axis) for axis in part) for part in (others[:1], others[1:], axes)
    ]
    return tf.reshape(tf.transpose(inputs, others + axes), shape)


def as_tuple(value: Any, rank: int) -> tuple:
    """A setting of a layer, per spatial axis."""
    return tuple(value) if isinstance(value, (tuple, list)) else (value,) * rank


def _length(tensor, axis):
    """Length of an axis; a scalar tensor if it is not known when a graph is built."""
    return tensor.shape[axis] if tensor.shape[axis] is not None else tf.shape(tensor)[axis]


def _spans(size, dilation, count, stride):
    """For each position of the kernel, the slice of the input that it meets."""
    return [
        slice(start, start + (count - 1) * stride + 1, stride)
        for start in range(0, size * dilation, dilation)
    ]


def _padded(inputs, window):
    """(padded input, number of output positions per axis)."""
    counts, pads = [], [(0, 0)]
    for axis, (reach, stride) in enumerate(zip(window.reach, window.strides, strict=True), 1):
        length = _length(inputs, axis)
        total = reach - 1 if window.padding == "causal" else 0
        if window.padding == "same":
            total = _positive((-(-length // stride) - 1) * stride + reach - length)
        front = total if window.padding == "causal" else total // 2
        pads.append((front, total - front))
        counts.append((length + total - reach) // stride + 1)
    return _pad(inputs, pads + [(0, 0)]), counts


def _spread(inputs, window):
    """Input of a transposed convolution, as that of a plain one with the kernel turned round."""
    lengths = [_length(inputs, axis) for axis in range(len(window.size) + 2)]
    counts, pads = [], [(0, 0)]
    for axis, (reach, stride) in enumerate(zip(window.reach, window.strides, strict=True), 1):
        gaps = np.zeros((len(lengths) + 1, 2), int)
        gaps[axis + 1, 1] = stride - 1
        inputs = _pad(tf.expand_dims(inputs, axis + 1), gaps.tolist())
        lengths[axis] = lengths[axis] * stride
        inputs = tf.reshape(inputs, lengths)
        overhang = max(reach - stride, 0)
        cut = overhang // 2 if window.padding == "same" else 0
        counts.append(lengths[axis] + (0 if window.padding == "same" else overhang))
        front = reach - 1 - cut
        pads.append((front, counts[-1] + reach - 1 - front - lengths[axis]))
    return _pad(inputs, pads + [(0, 0)]), counts


def _pad(tensor, pads):
    known = all(isinstance(count, int) for pair in pads for count in pair)
    return tensor if known and not np.any(pads) else tf.pad(tensor, pads)


def _positive(number):
    return tf.maximum(number, 0) if tf.is_tensor(number) else max(number, 0)
