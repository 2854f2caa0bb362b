# SPDX-License-Identifier: Apache-2.0
"""The change of the loss when a gate is closed, to second order."""

from __future__ import annotations

import contextlib
from typing import Any, Iterator

import numpy as np
import tensorflow as tf

from tfprune.statistics.gradient import gradients, mean_over, prepared
from tfprune.statistics.group_gates import gates
from tfprune.statistics.measured_model import Subject

DIRECTIONS = 16
"""How many products with the Hessian estimate its diagonal; for fewer gates it is exact."""


@contextlib.contextmanager
def measuring(subject: Subject, feed: Any = None, structure: Any = None) -> Iterator[Any]:
    """Measure `gate_change`: -dL/dz + d2L/dz2 / 2 of each gate, with training=False.

    The diagonal of the Hessian is the mean of v * (H v) over random signs v (Hutchinson), drawn
    from a fixed seed; with at most 16 gates in all it is computed gate by gate, exactly.

    Args:
        subject: the model.
        feed: the data.
        structure: whose groups have gates.

    Yields:
        A function without arguments: for each site `{"gate_change": [groups]}`, float32 (in the
        weight's shape where every weight is a group).

    Raises:
        ValueError: no data, no loss, or data that does not fit the model.
    """
    with prepared(subject, feed) as goal:
        held = gates(subject, structure)

        @tf.function(autograph=False, reduce_retracing=True)
        def slopes(*batch):
            found, examples = gradients(subject, goal, held.variables, batch)
            return held.fold(_times(held.variables, found)), examples

        @tf.function(autograph=False, reduce_retracing=True)
        def bends(direction, *batch):
            along = _times(held.variables, held.unfold(direction))
            with tf.GradientTape(watch_accessed_variables=False) as outer:
                outer.watch(held.variables)
                found, examples = gradients(subject, goal, held.variables, batch)
                slope = tf.add_n([tf.reduce_sum(one * way) for one, way in zip(found, along)])
            products = outer.gradient(slope, held.variables, unconnected_gradients="zero")
            folded = held.fold(_times(held.variables, map(tf.convert_to_tensor, products)))
            return [value * sign for value, sign in zip(folded, direction)], examples

        def measure() -> list[dict[str, Any]]:
            batches = list(feed.take())
            slope = mean_over(slopes, batches)
            directions, share = _directions([tuple(value.shape) for value in slope])
            curvature = [tf.zeros_like(value) for value in slope]
            for direction in directions:
                found = mean_over(lambda *batch: bends(direction, *batch), batches)
                curvature = [total + share * one for total, one in zip(curvature, found)]
            changes = [0.5 * bend - one for bend, one in zip(curvature, slope)]
            return [{"gate_change": value} for value in held.per_site(changes)]

        yield measure


def _times(variables: Any, tensors: Any) -> list[Any]:
    return [tf.cast(variable, tf.float32) * one for variable, one in zip(variables, tensors)]


def _directions(shapes: list[tuple[int, ...]]) -> tuple[list[list[Any]], float]:
    """Directions in the space of all gates, and the share of each in the sum over them."""
    total = sum(int(np.prod(shape)) for shape in shapes)
    if total <= DIRECTIONS:
        rows, share = np.eye(total, dtype=np.float32), 1.0
    else:
        signs = np.random.default_rng(0).integers(0, 2, (DIRECTIONS, total))
        rows, share = (2 * signs - 1).astype(np.float32), 1 / DIRECTIONS
    ends = np.cumsum([int(np.prod(shape)) for shape in shapes])
    return [
        [tf.constant(part.reshape(shape)) for part, shape in zip(np.split(row, ends[:-1]), shapes)]
        for row in rows
    ], share
