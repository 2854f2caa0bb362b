# SPDX-License-Identifier: Apache-2.0
"""Where the flow through a linearised model can be rescaled without changing any ranking.

A tensor that every path from the inputs to the outputs passes through may be multiplied by any
constant: the result and all derivatives are multiplied by it, too. So the float32 range suffices
for networks of any depth, residual ones included, where scaling a layer would favour one branch.
"""

from __future__ import annotations

from collections import defaultdict
from typing import Any

import tensorflow as tf

# Operations whose result depends on the shape of their input alone.
_SHAPES = {"Shape", "ShapeN", "Size", "Rank"}


def on_every_path(graph: tf.Graph, sources: list[str], sink: str, names: list[str]) -> list[str]:
    """Which of some operations lie on every path from the sources to the sink.

    n(source -> v) n(v -> sink) = n(source -> sink), n the number of paths, an exact integer.

    Args:
        graph: of a traced function.
        sources, sink, names: names of operations in it.

    Returns:
        Those of `names` that do, in the same order.

    Example:
        >>> with tf.Graph().as_default() as graph:
        ...     x = tf.identity(1.0, name="x")
        ...     y = tf.identity(tf.identity(x, name="a") + x, name="y")
        ...     _ = tf.identity(2 * y, name="z")
        >>> on_every_path(graph, ["x"], "z", ["a", "y"])
        ['y']
    """
    order = [op for op in graph.get_operations() if op.type not in _SHAPES]
    ahead = _paths(order, set(sources), lambda op: [t.op for t in op.inputs])
    behind = _paths(order[::-1], {sink}, _consumers)
    total = sum(behind[source] for source in sources)
    return [name for name in names if total and ahead[name] * behind[name] == total]


def _paths(order: list[Any], starts: set[str], before: Any) -> dict[str, int]:
    """Number of paths from the starts to each operation, in an order that follows the edges."""
    counts: dict[str, int] = defaultdict(int)
    for op in order:
        counts[op.name] = int(op.name in starts) + sum(
            counts[other.name] for other in before(op) if other.type not in _SHAPES
        )
    return counts


def _consumers(op: Any) -> list[Any]:
    return [consumer for tensor in op.outputs for consumer in tensor.consumers()]


@tf.custom_gradient
def rescaled(x: tf.Tensor):
    """The tensor times the power of two that brings its maximum to 1; its gradient as much."""
    peak = tf.reduce_max(tf.abs(x))
    exponent = tf.round(
        tf.math.log(tf.where(peak > 0, peak, tf.ones_like(peak)))
        / tf.math.log(tf.constant(2.0, x.dtype))
    )
    factor = tf.pow(tf.constant(2.0, x.dtype), -exponent)
    return x * factor, lambda upstream: upstream * factor
