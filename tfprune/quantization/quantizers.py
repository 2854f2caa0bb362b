# SPDX-License-Identifier: Apache-2.0
"""The learnable quantizer of joint pruning and quantization, with its gradients.

    m(x) = min(|x|, q)^t,   x_q = sign(x) d round(m(x) / d)

with a step d, a range q and a power t that are learned. The output lives in the mapped domain:
with t = 1 it is the usual symmetric uniform quantizer, with any other t no integer kernel of a
runtime computes it. Everything is computed in float32, whatever the type of x.

Paper: Y. Wang, Y. Lu, T. Blankevoort, "Differentiable Joint Pruning and Quantization for Hardware
Efficiency", 2020, arXiv 2007.10463.
"""

from __future__ import annotations

import math
from typing import Any

import tensorflow as tf

SLOPE = 10.0
"""Upper bound of the slope t |x|^(t-1), which is infinite at zero for t < 1."""

_TINY = 1e-6


def quantize(x: Any, step: Any, ceiling: Any, power: Any = None) -> tf.Tensor:
    """x_q = sign(x) d round(min(|x|, q)^t / d).

    Rounding is straight through: the gradients are those of the formula with round(u) = u, but
    for the step, which gets what rounding changed: dx_q/dd = sign(x) (round(m/d) - m/d).

    Args:
        x: any shape, any float type.
        step: d > 0, a scalar.
        ceiling: q, a scalar; |q| + 1e-6 is used where it is not above zero.
        power: t > 0, a scalar; None: 1, without the work that a power makes.

    Returns:
        The quantized x, in its shape and type.

    Example:
        >>> quantize([-1.5, -.6, 0., .3, .77], .25, 1.).numpy().tolist()
        [-1.0, -0.5, 0.0, 0.25, 0.75]
    """
    x = tf.convert_to_tensor(x)
    given = (x, step, ceiling) if power is None else (x, step, ceiling, power)
    single = (tf.cast(one, tf.float32) for one in given)
    return tf.cast((_uniform if power is None else _quantize)(*single), x.dtype)


@tf.custom_gradient
def _uniform(x, step, ceiling):
    # Every line here is a pass over all activations, so there are few: rounding to even is the
    # same on both sides of zero, and needs no sign.
    top = _safe(ceiling)
    clipped = tf.clip_by_value(x, -top, top)
    scaled = clipped / step
    levels = tf.round(scaled)

    def gradient(upstream):
        size = tf.abs(x)
        beyond = tf.where(size > top, upstream * clipped, 0.0)
        return (
            tf.where(size < top, upstream, 0.0),
            tf.reduce_sum(upstream * (levels - scaled)),
            tf.reduce_sum(beyond) / top,
        )

    return step * levels, gradient


@tf.custom_gradient
def _quantize(x, step, ceiling, power):
    top = _safe(ceiling)
    size = tf.abs(x)
    inside, zero = size < top, tf.equal(size, 0)
    # No logarithm and no power of zero, in either direction: zeros are replaced before.
    base = tf.where(zero, tf.ones_like(size), tf.minimum(size, top))
    mapped = tf.where(zero, tf.zeros_like(size), tf.pow(base, power))
    levels = tf.round(mapped / step)
    sign = tf.sign(x)

    def gradient(upstream):
        slope = tf.clip_by_value(power * tf.pow(base, power - 1), 0.0, SLOPE)
        over = tf.cast(size > top, tf.float32)
        signed = upstream * sign
        return (
            upstream * tf.where(inside, tf.where(zero, _slope_at_zero(power), slope), 0.0),
            tf.reduce_sum(signed * (levels - mapped / step)),
            tf.reduce_sum(signed * over) * power * tf.pow(top, power - 1),
            tf.reduce_sum(signed * mapped * tf.math.log(base)),
        )

    return sign * step * levels, gradient


def _safe(ceiling):
    return tf.where(ceiling > 0, ceiling, tf.abs(ceiling) + _TINY)


def _slope_at_zero(power):
    """t 0^(t-1) between 0 and the bound: 0, 1 or the bound."""
    return tf.where(power > 1, 0.0, tf.where(power < 1, SLOPE, 1.0))


def bits(step: Any, ceiling: Any, power: Any = 1.0, *, signed: bool = True) -> tf.Tensor:
    """b = log2(q^t / d + 1), and one more for the sign; smooth in d, q and t.

    Args:
        step, ceiling, power: of the quantizer, scalars.
        signed: False for what is never below zero, as after ReLU.

    Example:
        >>> round(float(bits(1 / 127, 1.)), 4), round(float(bits(.25, 1., signed=False)), 4)
        (8.0, 2.3219)
    """
    step, ceiling, power = (tf.cast(one, tf.float32) for one in (step, ceiling, power))
    return tf.math.log1p(tf.pow(ceiling, power) / step) / math.log(2) + float(signed)


def step_for(width: Any, ceiling: Any, power: Any = 1.0, *, signed: bool = True) -> tf.Tensor:
    """The step at which a quantizer has that many bits: d = q^t / (2^(b - 1) - 1), signed.

    Example:
        >>> round(float(1 / step_for(8, 1.))), round(float(1 / step_for(8, 1., signed=False)))
        (127, 255)
    """
    width, ceiling, power = (tf.cast(one, tf.float32) for one in (width, ceiling, power))
    return tf.pow(ceiling, power) / (tf.pow(2.0, width - float(signed)) - 1)


def nearest_width(width: Any) -> tf.Tensor:
    """The allowed width in {2, 4, 8, 16, 32} that is nearest in log2.

    Example:
        >>> nearest_width([1.5, 5.0, 6.0, 40.0]).numpy().tolist()
        [2.0, 4.0, 8.0, 32.0]
    """
    width = tf.cast(width, tf.float32)
    exponent = tf.round(tf.math.log(width) / math.log(2))
    return tf.pow(2.0, tf.clip_by_value(exponent, 1.0, 5.0))


def restricted(
    step: Any, ceiling: Any, power: Any = 1.0, *, signed: bool = True
) -> tuple[tf.Tensor, tf.Tensor]:
    """The step and the width of the nearest allowed bit width.

    Gradients go straight through: to the step and the bits as they would be without restriction.

    Returns:
        (step, width), scalars.

    Example:
        >>> step, width = restricted(1 / 100, 1.)
        >>> round(float(1 / step)), float(width)
        (127, 8.0)
    """
    own = bits(step, ceiling, power, signed=signed)
    width = nearest_width(own)
    step = tf.cast(step, tf.float32)
    return (
        straight_through(step, step_for(width, ceiling, power, signed=signed)),
        straight_through(own, width),
    )


def straight_through(value: tf.Tensor, shown: tf.Tensor) -> tf.Tensor:
    """`shown`, with the gradient of `value`."""
    return _shown(value, tf.stop_gradient(shown))


@tf.custom_gradient
def _shown(value, shown):
    return tf.identity(shown), lambda upstream: (upstream, None)


@tf.custom_gradient
def bounded(value: tf.Tensor, low: tf.Tensor, high: tf.Tensor):
    """The value between bounds; beyond a bound only a gradient that leads back passes.

    Example:
        >>> float(bounded(tf.constant(3.), tf.constant(0.), tf.constant(2.)))
        2.0
    """

    def gradient(upstream):
        outwards = ((value > high) & (upstream < 0)) | ((value < low) & (upstream > 0))
        return tf.where(outwards, tf.zeros_like(upstream), upstream), None, None

    return tf.clip_by_value(value, low, high), gradient


@tf.custom_gradient
def _with_rate(value: tf.Tensor, rate: tf.Tensor):
    # The gradient is not multiplied by the rate: so the rate multiplies the learning rate of
    # plain gradient descent as it does that of Adam, which takes no notice of the factor.
    return value * rate, lambda upstream: (upstream, None)


def scaled(variable: Any, rate: float) -> tf.Tensor:
    """What a variable stands for that holds a value divided by the rate."""
    return _with_rate(tf.convert_to_tensor(variable), tf.constant(rate, tf.float32))
