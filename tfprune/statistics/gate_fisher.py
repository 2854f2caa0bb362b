# SPDX-License-Identifier: Apache-2.0
"""The squared derivative of each example's loss with respect to gates: the empirical Fisher."""

from __future__ import annotations

import contextlib
from typing import Any, Iterator

import tensorflow as tf

from tfprune.statistics.gradient import count, gradients, mean_over, prepared
from tfprune.statistics.group_gates import gates
from tfprune.statistics.measured_model import Subject


@contextlib.contextmanager
def measuring(subject: Subject, feed: Any = None, structure: Any = None) -> Iterator[Any]:
    """Measure `gate_square`: mean over the examples of (dL_n/dz)^2, with training=False.

    L_n is the loss of one example, z a gate. Examples are differentiated one at a time: a batch's
    gradient would mix them, and its square would vanish at a minimum.

    Args:
        subject: the model.
        feed: the data.
        structure: whose groups have gates.

    Yields:
        A function without arguments: for each site `{"gate_square": [groups]}`, float32 (in the
        weight's shape where every weight is a group).

    Raises:
        ValueError: no data, no loss, or data that does not fit the model.
    """
    with prepared(subject, feed) as goal:
        held = gates(subject, structure)

        def of_example(*parts):
            one = tf.nest.map_structure(lambda part: part[tf.newaxis], parts)
            batch = (*one, None)[:3]
            found, _ = gradients(subject, goal, held.variables, batch)
            return [
                tf.square(value)
                for value in held.fold(
                    [tf.cast(v, tf.float32) * g for v, g in zip(held.variables, found)]
                )
            ]

        @tf.function(autograph=False, reduce_retracing=True)
        def squares(*batch):
            given = tuple(part for part in batch if part is not None)
            size = tf.shape(tf.nest.flatten(given)[0])[0]

            def add(index, totals):
                parts = tf.nest.map_structure(lambda part: part[index], given)
                return index + 1, [total + one for total, one in zip(totals, of_example(*parts))]

            first = of_example(*tf.nest.map_structure(lambda part: part[0], given))
            # One after the other: TensorFlow 2.21's convolutions are not safe to run as several
            # iterations at once, and end the process now and then.
            _, totals = tf.while_loop(
                lambda index, _: index < size, add, (1, first), parallel_iterations=1
            )
            return totals, count(batch)

        def measure() -> list[dict[str, Any]]:
            values = held.per_site(mean_over(squares, feed.take()))
            return [{"gate_square": value} for value in values]

        yield measure
