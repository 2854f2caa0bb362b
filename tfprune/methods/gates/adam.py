# SPDX-License-Identifier: Apache-2.0
"""One step of Adam, for what gates learn by themselves."""

from __future__ import annotations

from typing import Any

import tensorflow as tf

FIRST, SECOND, EPSILON = 0.9, 0.999, 1e-8


def adam(value: Any, slope: Any, *, moments: tuple[Any, Any], steps: Any, rate: float):
    """Move a value against its slope.

        m <- 0.9 m + 0.1 g,  v <- 0.999 v + 0.001 g^2
        value - rate m / (1 - 0.9^t) / (sqrt(v / (1 - 0.999^t)) + 1e-8)

    Args:
        value, slope: float32 tensors of one shape; the slope is g.
        moments: (m, v), zeros at first.
        steps: t, a float32 scalar: how many steps there were, with this one.
        rate: the learning rate.

    Returns:
        (value, m, v) after the step.

    Paper: D. P. Kingma, J. Ba, "Adam: A Method for Stochastic Optimization", 2014, arXiv 1412.6980.

    Example:
        >>> moved, *_ = adam(tf.ones(1), tf.ones(1), moments=(0.0, 0.0), steps=1.0, rate=0.5)
        >>> round(float(moved[0]), 6)
        0.5
    """
    first = FIRST * moments[0] + (1 - FIRST) * slope
    second = SECOND * moments[1] + (1 - SECOND) * tf.square(slope)
    scale = tf.sqrt(second / (1 - SECOND**steps)) + EPSILON
    return value - rate * first / (1 - FIRST**steps) / scale, first, second
