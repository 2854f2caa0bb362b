# SPDX-License-Identifier: Apache-2.0
"""The Hessian of the softened loss, multiplied with its gradient: what GraSP looks at."""

from __future__ import annotations

import contextlib
from typing import Any, Iterator

import tensorflow as tf

from tfprune.statistics.gradient import gradients, mean_over, prepared
from tfprune.statistics.loss import Objective
from tfprune.statistics.measured_model import Subject

SETTINGS = ("temperature",)
"""What a score may say of how its statistic is measured."""


@contextlib.contextmanager
def measuring(
    subject: Subject, feed: Any = None, structure: Any = None, *, temperature: float
) -> Iterator[Any]:
    """Measure `hessian_gradient`: H g, g = dL/dW and H = d2L/dW2 over the same examples.

    L is the mean loss with logits divided by a temperature. Two passes over the data: one for g,
    one for H g with that g.

    Args:
        subject: the model.
        feed: the data.
        structure: not used.
        temperature: what logits are divided by, above 0; 200 in the paper's code.

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
            lambda *batch: gradients(subject, goal, kernels, batch, temperature),
            autograph=False,
            reduce_retracing=True,
        )
        bend = tf.function(
            lambda direction, *batch: hessian_product(subject, goal, direction, batch, temperature),
            autograph=False,
            reduce_retracing=True,
        )

        def measure() -> list[dict[str, Any]]:
            batches = list(feed.take())
            direction = mean_over(slope, batches)
            products = mean_over(lambda *batch: bend(direction, *batch), batches)
            return [{"hessian_gradient": product} for product in products]

        yield measure


def hessian_product(
    subject: Subject, goal: Objective, direction: list[Any], batch: tuple, temperature: float
) -> tuple[list[Any], Any]:
    """Sum over a batch of H v, at softened outputs, and the number of its examples."""
    kernels = subject.kernels
    with tf.GradientTape(watch_accessed_variables=False) as outer:
        outer.watch(kernels)
        found, examples = gradients(subject, goal, kernels, batch, temperature)
        along = tf.add_n([tf.reduce_sum(one * way) for one, way in zip(found, direction)])
    products = outer.gradient(along, kernels, unconnected_gradients="zero")
    return [tf.convert_to_tensor(product) for product in products], examples
