"""The Hessian of the softened loss, multiplied with its gradient: what GraSP looks at."""

from __future__ import annotations

import contextlib
from typing import Any, Iterator

import tensorflow as tf

from tfprune.statistics.losses import Objective
from tfprune.statistics.subject import Subject
from tfprune.statistics.sweep import gradients, mean_over, prepared

TEMPERATURE = 200.0


@contextlib.contextmanager
def measuring(subject: Subject, feed: Any = None, structure: Any = None) -> Iterator[Any]:
    """Measure `hessian_gradient`: H g, g = dL/dW and H = d2L/dW2 over the same examples.

    L is the mean loss with logits divided by 200, as in the paper. Two passes over the data: one
    for g, one for H g with that g.

    Args:
        subject: the model.
        feed: the data.
        structure: not used.

    Yields:
        A function without arguments: for each site `{"hessian_gradient": H g}`, float32 of its
        shape.

    Raises:
        ValueError: no data, no loss, or data that does not fit the model.

    Paper: C. Wang, G. Zhang, R. Grosse, "Picking Winning Tickets Before Training by Preserving
    Gradient Flow", 2020, arXiv 2002.07376.
    """
    with prepared(subject, feed) as goal:
        kernels = subject.kernels
        slope = tf.function(
            lambda *batch: gradients(subject, goal, kernels, batch, TEMPERATURE), autograph=False,
            reduce_retracing=True,
        )
        bend = tf.function(
            lambda direction, *batch: hessian_product(subject, goal, direction, batch),
            autograph=False, reduce_retracing=True,
        )

        def measure() -> list[dict[str, Any]]:
            batches = list(feed.take())
            direction = mean_over(slope, batches)
            products = mean_over(lambda *batch: bend(direction, *batch), batches)
            return [{"hessian_gradient": product} for product in products]

        yield measure


def hessian_product(subject: Subject, goal: Objective, direction: list[Any],
                    batch: tuple) -> tuple[list[Any], Any]:
    """Sum over a batch of H v, at softened outputs, and the number of its examples."""
    kernels = subject.kernels
    with tf.GradientTape(watch_accessed_variables=False) as outer:
        outer.watch(kernels)
        found, examples = gradients(subject, goal, kernels, batch, TEMPERATURE)
        along = tf.add_n([tf.reduce_sum(one * way) for one, way in zip(found, direction)])
    products = outer.gradient(along, kernels, unconnected_gradients="zero")
    return [tf.convert_to_tensor(product) for product in products], examples
