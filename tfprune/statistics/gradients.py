# SPDX-License-Identifier: Apache-2.0
"""Derivatives of the loss by the weights, and the pass over the data that gives them."""

from __future__ import annotations

import contextlib
from typing import Any, Callable, Iterator, Sequence

import tensorflow as tf

from tfprune.methods.statistics_table import measures
from tfprune.statistics.loss import Objective, check, objective
from tfprune.statistics.measured_model import Subject


@measures("gradient")
@contextlib.contextmanager
def gradient(subject: Subject, feed: Any = None, structure: Any = None) -> Iterator[Any]:
    """Measure `gradient`: dL/dW, L the mean loss of the examples, with training=False.

    Args:
        subject: the model.
        feed: the data.
        structure: not used.

    Yields:
        A function without arguments: for each site `{"gradient": dL/dW}`, float32 of its shape.

    Raises:
        ValueError: no data, no loss, or data that does not fit the model.
    """
    with prepared(subject, feed) as goal:
        kernels = subject.kernels
        slope = compiled(lambda *batch: gradients(subject, goal, kernels, batch))

        def measure() -> list[dict[str, Any]]:
            return [{"gradient": mean} for mean in mean_over(slope, feed.take())]

        yield measure


@measures("hessian_gradient", settings=("temperature",))
@contextlib.contextmanager
def hessian_gradient(
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
        slope = compiled(lambda *batch: gradients(subject, goal, kernels, batch, temperature))
        bend = compiled(
            lambda direction, *batch: _product(subject, goal, direction, batch, temperature)
        )

        def measure() -> list[dict[str, Any]]:
            batches = list(feed.take())
            direction = mean_over(slope, batches)
            products = mean_over(lambda *batch: bend(direction, *batch), batches)
            return [{"hessian_gradient": product} for product in products]

        yield measure


def _product(
    subject: Subject, goal: Objective, direction: list[Any], batch: tuple, temperature: float
) -> tuple[list[Any], Any]:
    """Sum over a batch of H v, at softened outputs, and the number of its examples."""
    kernels = subject.kernels
    with tf.GradientTape(watch_accessed_variables=False) as outer:
        outer.watch(kernels)
        found, examples = gradients(subject, goal, kernels, batch, temperature)
        along = tf.add_n(
            [tf.reduce_sum(one * way) for one, way in zip(found, direction, strict=True)]
        )
    products = outer.gradient(along, kernels, unconnected_gradients="zero")
    return [tf.convert_to_tensor(product) for product in products], examples


@contextlib.contextmanager
def prepared(subject: Subject, feed: Any) -> Iterator[Objective]:
    """The objective, checked on a first batch, while the model computes in float32.

    Raises:
        ValueError: no data, no loss, or data that does not fit the model.
    """
    require(feed)
    goal = objective(subject, feed.data.loss)
    with examined(subject, feed) as (inputs, labels):
        check(goal, labels, subject.model(as_tensors(inputs), training=False))
        yield goal


@contextlib.contextmanager
def examined(subject: Subject, feed: Any) -> Iterator[tuple[Any, Any]]:
    """A first batch (inputs, labels), whose inputs fit, while the model computes in float32.

    Raises:
        ValueError: no data, or inputs that do not fit the model.
    """
    require(feed)
    with subject.view.in_single_precision():
        inputs, labels, _ = feed.peek()
        check_inputs(subject, inputs)
        yield inputs, labels


def compiled(function: Callable) -> Callable:
    """A function of a batch in graph operations, traced once for batches of most sizes."""
    return tf.function(function, autograph=False, reduce_retracing=True)


def require(feed: Any) -> None:
    """Refuse to go on without data.

    Raises:
        ValueError: there is none.
    """
    if feed is None:
        raise ValueError(
            "The score is computed from data: pass data=(x, y), a tf.data.Dataset of batches, or "
            "tfprune.CalibrationData((x, y), loss=...)."
        )


def gradients(
    subject: Subject,
    goal: Objective,
    sources: Sequence[Any],
    batch: tuple,
    temperature: float | None = None,
) -> tuple[list[Any], Any]:
    """Sums over a batch of dL/dsource, and the number of its examples (or sum of their weights)."""
    inputs, labels, weights = batch
    with tf.GradientTape(watch_accessed_variables=False) as tape:
        tape.watch(sources)
        outputs = subject.model(inputs, training=False)
        total = tf.reduce_sum(goal.losses(labels, outputs, weights, temperature))
    found = tape.gradient(total, sources, unconnected_gradients="zero")
    return [tf.cast(tf.convert_to_tensor(one), tf.float32) for one in found], count(batch)


def count(batch: tuple) -> Any:
    """Examples of a batch, float32; the sum of their weights where there are some."""
    inputs, _, weights = batch
    if weights is not None:
        return tf.reduce_sum(tf.cast(weights, tf.float32))
    return tf.cast(tf.shape(tf.nest.flatten(inputs)[0])[0], tf.float32)


def mean_over(sums_of: Callable, batches: Any) -> list[Any]:
    """The mean per example of what a function sums over each batch.

    Args:
        sums_of: batch -> (sums, examples).
        batches: (inputs, labels, weights) of each.
    """
    totals: list[Any] = []
    examples = 0.0
    for inputs, labels, weights in batches:
        sums, number = sums_of(*map(as_tensors, (inputs, labels, weights)))
        totals = (
            [total + one for total, one in zip(totals, sums, strict=True)] if totals else list(sums)
        )
        examples += number
    return [total / examples for total in totals]


def as_tensors(structure: Any) -> Any:
    """Arrays as tensors; None stays None."""
    return tf.nest.map_structure(
        lambda part: None if part is None else tf.convert_to_tensor(part), structure
    )


def check_inputs(subject: Subject, inputs: Any) -> None:
    """Refuse inputs whose number or shapes are not the model's.

    Raises:
        ValueError: they are not.
    """
    specs = subject.view.input_specs
    wanted = tf.nest.flatten(specs) if specs is not None else []
    given = tf.nest.flatten(inputs)
    shapes = [tuple(part.shape) for part in given]
    if wanted and (
        len(wanted) != len(given)
        or not all(
            spec.shape.is_compatible_with((None, *shape[1:]))
            for spec, shape in zip(wanted, shapes, strict=True)
        )
    ):
        expected = ", ".join(str(tuple(spec.shape)) for spec in wanted)
        raise ValueError(
            f"The data has inputs of shape {', '.join(map(str, shapes))}; the model "
            f"{subject.model.name!r} takes {expected}."
            + (" Of several inputs pass ([a, b],) or {name: array}." if len(wanted) > 1 else "")
        )
