# SPDX-License-Identifier: Apache-2.0
"""The two grids of integer inference, as a forward pass in float sees them.

Weights lie on a symmetric grid per output channel, activations on an asymmetric one per tensor:
those that TFLite's converter chooses for int8.

Paper: B. Jacob et al., "Quantization and Training of Neural Networks for Efficient
Integer-Arithmetic-Only Inference", CVPR 2018, arXiv 1712.05877.
"""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from tfprune.masks.kernel_layout import Layout
from tfprune.quantization.quantizers import straight_through


def on_weight_grid(kernel: Any, mask: Any, layout: Layout, bits: int) -> tf.Tensor:
    """step round(W M / step), step = max|W M| / (2^(bits-1) - 1) for each output channel.

    The gradient is that of W M: rounding is straight through, and what the mask removes gets
    exactly zero. BatchNorm needs no folding before: it scales whole output channels, and with
    them their largest magnitude, so that a folded kernel has the same integers.

    Args:
        kernel: W, any float type; computed in float32.
        mask: M, of its shape; not zero: kept.
        layout: tells the axes of the output channels.
        bits: 8: integers from -127 to 127; 4: from -7 to 7.

    Returns:
        float32, of the kernel's shape.

    Example:
        >>> from tfprune.masks.kernel_layout import DENSE
        >>> on_weight_grid([[1., 2.], [.3, .3]], [[1, 1], [1, 0]], DENSE, 2).numpy().tolist()
        [[1.0, 2.0], [0.0, 0.0]]
    """
    kernel = tf.cast(kernel, tf.float32)
    # A choice, not a product: its gradient is zero even where that of the rest is not finite.
    masked = tf.where(tf.cast(mask, tf.bool), kernel, tf.zeros_like(kernel))
    others = [axis for axis in range(layout.rank) if axis not in layout.outputs]
    largest = tf.reduce_max(tf.abs(tf.stop_gradient(masked)), others, keepdims=True)
    step = largest / (2 ** (bits - 1) - 1)
    step = tf.where(step > 0, step, tf.ones_like(step))  # channels without weights
    return straight_through(masked, step * tf.round(masked / step))


def range_of(values: Any) -> tuple[tf.Tensor, tf.Tensor]:
    """(lowest, highest) of a batch, zero among them: zero padding must be on the grid.

    Example:
        >>> [float(one) for one in range_of([2., 5.])]
        [0.0, 5.0]
    """
    values = tf.cast(tf.stop_gradient(values), tf.float32)
    return tf.minimum(tf.reduce_min(values), 0.0), tf.maximum(tf.reduce_max(values), 0.0)


def tracked(low: Any, high: Any, values: Any, momentum: float) -> tuple[tf.Tensor, tf.Tensor]:
    """The running range after a batch: its own if none was known, untouched if it is not finite.

    Args:
        low, high: the range so far; equal: none is known.
        values: the batch.
        momentum: weight of the range so far.

    Example:
        >>> [float(one) for one in tracked(0., 0., [-1., 3.], .5)]
        [-1.0, 3.0]
        >>> [float(one) for one in tracked(-1., 3., [0., 1.], .5)]
        [-0.5, 2.0]
    """
    lowest, highest = range_of(values)
    # Half precision overflows at times, and such a step is left out by the optimizer, too.
    finite = tf.math.is_finite(lowest) & tf.math.is_finite(highest)
    known = tf.convert_to_tensor(high, tf.float32) > low
    share = tf.where(known, momentum, 0.0)
    return tuple(
        tf.where(finite, share * old + (1 - share) * new, old)
        for old, new in ((low, lowest), (high, highest))
    )


def on_activation_grid(values: Any, low: Any, high: Any, bits: int) -> tf.Tensor:
    """The values on the grid of 2^bits levels between two bounds, zero among the levels.

        x_q = scale (clip(round(x / scale) + z, 0, 2^bits - 1) - z),
        scale = (high - low) / (2^bits - 1),  z = round(-low / scale)

    Gradients pass between the bounds. Values are untouched while the range is not known.

    Args:
        values: any shape, any float type.
        low, high: bounds with low <= 0 <= high, scalars; equal: not known.
        bits: 2 to 16.

    Example:
        >>> on_activation_grid([-1., .4, .6, 9.], 0., 3., 2).numpy().tolist()
        [0.0, 0.0, 1.0, 3.0]
        >>> on_activation_grid([-1., 9.], 0., 0., 2).numpy().tolist()
        [-1.0, 9.0]
    """
    values = tf.convert_to_tensor(values)
    low, high = tf.stop_gradient(low), tf.stop_gradient(high)
    known = high > low
    single = tf.cast(values, tf.float32)
    shown = tf.quantization.fake_quant_with_min_max_vars(
        single, tf.where(known, low, 0.0), tf.where(known, high, 1.0), num_bits=bits
    )
    return tf.cast(tf.where(known, shown, single), values.dtype)
