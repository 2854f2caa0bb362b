"""The derivative of the loss with respect to gates: over all examples, or example by example."""

from __future__ import annotations

import contextlib
from typing import Any, Iterator

import tensorflow as tf

from tfprune.statistics.gates import gates
from tfprune.statistics.subject import Subject
from tfprune.statistics.sweep import gradients, mean_over, prepared


@contextlib.contextmanager
def measuring(subject: Subject, feed: Any = None, structure: Any = None) -> Iterator[Any]:
    """Measure `gate_gradient`: dL/dz of each gate, L the mean loss, with training=False.

    Args:
        subject: the model.
        feed: the data.
        structure: whose groups have gates.

    Yields:
        A function without arguments: for each site `{"gate_gradient": [groups]}`, float32 (in the
        weight's shape where every weight is a group).

    Raises:
        ValueError: no data, no loss, or data that does not fit the model.
    """
    with prepared(subject, feed) as goal:
        held = gates(subject, structure)

        @tf.function(autograph=False, reduce_retracing=True)
        def slopes(*batch):
            found, examples = gradients(subject, goal, held.variables, batch)
            return held.fold(_products(held.variables, found)), examples

        def measure() -> list[dict[str, Any]]:
            values = held.per_site(mean_over(slopes, feed.take()))
            return [{"gate_gradient": value} for value in values]

        yield measure


def _products(variables: Any, found: Any) -> list[Any]:
    return [tf.cast(variable, tf.float32) * one for variable, one in zip(variables, found)]
