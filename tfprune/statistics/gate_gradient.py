# SPDX-License-Identifier: Apache-2.0
"""The squared derivative of each batch's loss with respect to gates."""

from __future__ import annotations

import contextlib
from typing import Any, Iterator

import tensorflow as tf

from tfprune.statistics.gradient import gradients, mean_over, prepared
from tfprune.statistics.group_gates import gates
from tfprune.statistics.measured_model import Subject


@contextlib.contextmanager
def measuring(subject: Subject, feed: Any = None, structure: Any = None) -> Iterator[Any]:
    """Measure `gate_batch_square`: mean over the batches of (dL_b/dz)^2, with training=False.

    L_b is the mean loss of one batch, z a gate; batches count by their examples. The square of the
    mean over all data would vanish at a minimum.

    Args:
        subject: the model.
        feed: the data.
        structure: whose groups have gates.

    Yields:
        A function without arguments: for each site `{"gate_batch_square": [groups]}`, float32 (in
        the weight's shape where every weight is a group).

    Raises:
        ValueError: no data, no loss, or data that does not fit the model.
    """
    with prepared(subject, feed) as goal:
        held = gates(subject, structure)

        @tf.function(autograph=False, reduce_retracing=True)
        def slopes(*batch):
            found, examples = gradients(subject, goal, held.variables, batch)
            products = [
                tf.cast(variable, tf.float32) * one for variable, one in zip(held.variables, found)
            ]
            return [tf.square(value) / examples for value in held.fold(products)], examples

        def measure() -> list[dict[str, Any]]:
            values = held.per_site(mean_over(slopes, feed.take()))
            return [{"gate_batch_square": value} for value in values]

        yield measure
