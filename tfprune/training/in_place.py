# SPDX-License-Identifier: Apache-2.0
"""Passes over large kernels, each compiled into one loop that writes where it reads.

TensorFlow's own operations write every result into new memory, and a step on a large layer costs
what it moves through memory. XLA fuses a pass into one loop, and assigns in place where a loop
writes one variable: so a function here assigns one. Compiling takes some 50 ms for every shape,
which small kernels never earn back.
"""

from __future__ import annotations

import functools
from typing import Any

import tensorflow as tf

from tfprune.masks.select_tf import in_xla

LEAST = 1 << 18
"""Entries of the smallest kernel for which compiling pays."""

compiled = functools.partial(tf.function, jit_compile=True, autograph=False)


def pays(kernel: Any) -> bool:
    """Whether passes over a kernel are to be compiled, where they are traced now: it is large and
    on a CPU, there is one replica, and the step is not compiled as a whole."""
    return (
        kernel.shape.num_elements() >= LEAST
        and not tf.executing_eagerly()
        and kernel.device.endswith("CPU:0")
        and not tf.distribute.has_strategy()
        and not in_xla()
        and _can_compile()
    )


@compiled
def zero_pruned(kernel: tf.Variable, kept: Any) -> None:
    """K <- K M"""
    kernel.assign(_masked(kernel, kept), read_value=False)


@compiled
def take_back(kernel: tf.Variable, hidden: tf.Variable, kept: Any) -> None:
    """K <- K + H M"""
    kernel.assign(tf.where(tf.cast(kept, tf.bool), kernel + hidden, kernel), read_value=False)


@compiled
def hide_pruned(kernel: tf.Variable, hidden: tf.Variable, kept: Any) -> None:
    """H <- (K + H) (1 - M)"""
    hidden.assign(_pruned(kernel + hidden, kept), read_value=False)


def split(kernel: tf.Variable, hidden: tf.Variable, kept: Any) -> None:
    """K <- (K + H) M, H <- (K + H) (1 - M)"""
    hidden.assign_add(kernel, read_value=False)
    _show(kernel, hidden, kept)
    _zero_shown(hidden, kept)


@compiled
def _show(kernel, hidden, kept):
    kernel.assign(_masked(hidden, kept), read_value=False)


@compiled
def _zero_shown(hidden, kept):
    hidden.assign(_pruned(hidden, kept), read_value=False)


@compiled
def restore(variable: tf.Variable, before: tf.Tensor, moves: Any) -> None:
    """Give the entries that do not move what they were before."""
    variable.assign(tf.where(moves, variable, before), read_value=False)


@compiled
def zero_still(kernel: tf.Variable, moves: Any) -> None:
    """Zeros for the entries that do not move, also where an update left NaN."""
    kernel.assign(tf.where(moves, kernel, tf.zeros([], kernel.dtype)), read_value=False)


def _masked(values, kept):
    # NaN and infinity stay visible: of a product with the mask XLA makes a choice of zeros.
    return tf.where(tf.cast(kept, tf.bool), values, values * 0)


def _pruned(values, kept):
    return tf.where(tf.cast(kept, tf.bool), tf.zeros([], values.dtype), values)


@functools.cache
def _can_compile() -> bool:
    """Some builds of TensorFlow have no compiler for CPUs."""
    with tf.init_scope():
        try:
            compiled(lambda: tf.zeros([]))()
        except (tf.errors.OpError, ValueError):
            return False
    return True
