# SPDX-License-Identifier: Apache-2.0
"""Counts kept weights that lie on no path from an input to an output."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from typing import Any, Iterator

import numpy as np
import tensorflow as tf

from tfprune.backend.substitute import Change, replaced
from tfprune.layers.base import kind_of, stock_kind_of
from tfprune.layers.linearize import SCALES, normalized, scale
from tfprune.masks.array_namespace import array
from tfprune.masks.sites import Site
from tfprune.statistics.linearized_layers import changes, refusal
from tfprune.statistics.measured_model import Subject
from tfprune.statistics.synaptic_flow import absolute, input_specs, ones

_SMALL = 2**25  # weights whose gradients are taken at once, 128 MiB


@dataclass(frozen=True)
class Paths:
    """What is left of the paths through a model.

    Attributes:
        stranded: for each site by name, the kept weights that lie on no path from an input to an
            output: they cost bytes and time, and change nothing but constants.
        connected: whether any path is left.
    """

    stranded: dict[str, int]
    connected: bool


def paths(subject: Subject) -> Paths | str:
    """Follow the non-zero weights of a model from its inputs to its outputs, and back.

    A weight lies on a path if something flows into it from an input and out of it to an output:
    both are computed with zeros and ones in place of weights and activations, so nothing
    overflows or cancels. The model is afterwards bit for bit what it was.

    Args:
        subject: the model.

    Returns:
        The paths, or a text that says why they cannot be followed.

    Example:
        >>> import keras
        >>> from tfprune.backend import view
        >>> layers = [keras.layers.Dense(2, name="a"), keras.layers.Dense(1, name="b")]
        >>> model = keras.Sequential([keras.Input((1,)), *layers])
        >>> model.set_weights([np.ones((1, 2)), np.zeros(2), np.array([[1], [0]]), np.zeros(1)])
        >>> paths(Subject.of(view(model))).stranded
        {'a/kernel': 1, 'b/kernel': 0}
    """
    for item in subject.found:
        reason = refusal(item.owner)
        if reason is not None:
            return f"{item.site.name}: {reason}"
    try:
        specs = input_specs(subject)
    except ValueError as error:
        return str(error)
    operations = subject.view.operations
    simpler = list(_simplified(operations))
    unused = {
        id(subject.adapter.raw(held))
        for one, name, _ in simpler
        if (held := subject.adapter.attribute(one, name)) is not None
    }
    stranded: dict[str, int] = {}
    with contextlib.ExitStack() as stack:
        stack.enter_context(replaced(simpler))
        stack.enter_context(absolute(subject, biases=False, of_kernel=_ones_where, unused=unused))
        stack.enter_context(subject.view.in_single_precision())
        stack.enter_context(replaced(changes(operations, _Reached())))
        total = 0.0
        for part in _parts(subject.sites):
            kernels = subject.kernels[part]
            total, gradients = _gradients(subject, specs, kernels)
            for site, *both in zip(subject.sites[part], kernels, gradients, strict=True):
                stranded[site.name] = _count_off_paths(*both)
    return Paths(stranded, bool(total > 0))


def _parts(sites: list[Site]) -> Iterator[slice]:
    """Few, and no more than a quarter of the weights of a large model in each where none is larger:
    the gradients of all together would take the memory of its weights once more."""
    most = max(_SMALL, sum(site.size for site in sites) // 4)
    begin = size = 0
    for index, site in enumerate(sites):
        if begin < index and size + site.size > most:
            yield slice(begin, index)
            begin, size = index, 0
        size += site.size
    if sites:
        yield slice(begin, len(sites))


def _gradients(subject: Subject, specs: Any, kernels: list[Any]) -> tuple[Any, list[Any]]:
    """The sum of the outputs, and its gradients: how often each weight is reached both ways.

    A single pass takes a fraction of the time that tracing it would take.
    """
    with tf.GradientTape(watch_accessed_variables=False) as tape:
        tape.watch(kernels)
        outputs = subject.model(tf.nest.map_structure(ones, specs), training=False)
        sums = [
            tf.cast(tf.reduce_sum(output), tf.float32)
            for output in tf.nest.flatten(outputs)
            if output.dtype.is_floating
        ]
        total = tf.add_n(sums)
    return total, tape.gradient(total, kernels, unconnected_gradients="zero")


def _simplified(operations: list[Any]) -> Iterator[Change]:
    """What changes no path is left out: biases, and scales that set no channel to zero."""
    for one in operations:
        if "one_product" in stock_kind_of(one).traits:
            yield one, "use_bias", False
            yield one, "bias", None
        if kind_of(one).linearize is normalized and _passes_all(scale(one, tf.float32)):
            yield from ((one, name, None) for name in (*SCALES, "beta", "moving_mean"))


def _passes_all(scales: tf.Tensor | None) -> bool:
    return scales is None or bool(np.all(np.isfinite(scales) & (scales >= np.finfo("f4").tiny)))


def _ones_where(weights: tf.Tensor) -> np.ndarray:
    """1 where a weight is kept."""
    values = array(weights)
    return ((values > 0) | (values < 0)).astype(values.dtype)


def _count_off_paths(kernel: Any, gradient: Any) -> int:
    return int(np.count_nonzero((array(kernel) > 0) & (array(gradient) <= 0)))


class _Reached:
    """1 where anything arrives, 0 elsewhere, in both directions; once for each tensor."""

    def __init__(self) -> None:
        self._tensors: dict[int, tf.Tensor] = {}

    def __call__(self, x: tf.Tensor) -> tf.Tensor:
        if id(x) not in self._tensors:
            x = _reached(x)
            self._tensors[id(x)] = x
        return x


@tf.custom_gradient
def _reached(x: tf.Tensor) -> Any:
    """1 where anything arrives, 0 elsewhere, in both directions."""
    if not x.dtype.is_floating:
        return x, lambda upstream: upstream
    return tf.cast(x > 0, x.dtype), lambda upstream: tf.cast(upstream > 0, x.dtype)
