# SPDX-License-Identifier: Apache-2.0
"""Statistics of the inputs of each layer: the sensitivities of SiPP and PFP.

One pass over the data serves all sites. Of the data only the inputs count: no labels, no loss.
"""

from __future__ import annotations

import contextlib
import functools
import math
from typing import Any, Callable, Iterator, Sequence

import tensorflow as tf

from tfprune.backend.find_sites import Found
from tfprune.layers.im2col import patches, reading
from tfprune.masks.kernel_layout import Layout, from_matrix, to_matrix
from tfprune.methods.statistics_table import measures
from tfprune.output.caller_warning import warn
from tfprune.statistics.gradients import as_tensors, examined
from tfprune.statistics.input_sensitivity import mean_sensitivity, peak_sensitivity
from tfprune.statistics.measured_model import Subject

_FUNCTIONS = {"mean_sensitivity": mean_sensitivity, "peak_sensitivity": peak_sensitivity}
_ROOM = 1 << 24  # numbers that the patches of a part of a batch may have: 64 MiB

# Sites whose weights these are; a layer may hold others, of which it is not known what they do.
_KERNELS = ("kernel", "depthwise_kernel")


def refusal(item: Found) -> str | None:
    """Why the inputs of a site do not tell of its weights; None if they do."""
    attribute = item.site.name.rpartition("/")[2]
    try:
        reading(item.owner, item.site.layout)
    except ValueError as reason:
        return str(reason)
    if attribute not in _KERNELS:
        return f"it is not known how {type(item.owner).__name__} uses its {attribute}"
    return None


@measures("mean_sensitivity", "peak_sensitivity", refusal=refusal)
@contextlib.contextmanager
def sensitivities(
    subject: Subject,
    feed: Any = None,
    structure: Any = None,
    *,
    names: Sequence[str] = tuple(_FUNCTIONS),
) -> Iterator[Any]:
    """Measure `mean_sensitivity` and `peak_sensitivity`, with training=False.

    Each weight's largest over all examples, and over the calls of a layer that is called several
    times. The weights are taken as they are: what is zero has the sensitivity 0. The model is
    called eagerly, layer by layer, so that the patches of one layer are freed before the next.

    Args:
        subject: the model.
        feed: the data; labels are not looked at.
        structure: not used.
        names: which of the two.

    Yields:
        A function without arguments: for each site a dictionary from the names to values in
        [0, 1], float32 of its shape. A layer that is never called has 0, and is warned about.

    Raises:
        ValueError: no data, data that does not fit the model, or a layer's input is not finite.

    Papers: Baykal et al., SiPPing Neural Networks, arXiv 1910.05422; Liebenwein et al., Provable
    Filter Pruning for Efficient Neural Networks, arXiv 1911.07412.
    """
    functions = {name: _FUNCTIONS[name] for name in names}
    with over_inputs(subject, feed, functions, tf.maximum) as measure:
        yield measure


@contextlib.contextmanager
def over_inputs(
    subject: Subject,
    feed: Any,
    functions: dict[str, Callable],
    combine: Callable,
    *,
    finish: Callable | None = None,
) -> Iterator[Any]:
    """Measure functions of the inputs of each site's layer, with training=False.

    Args:
        subject: the model.
        feed: the data; labels are not looked at.
        functions: name -> function (patches, matrix) -> [outputs, columns], as in
            `tfprune.statistics.input_sensitivity`.
        combine: of what they give for two parts of the data: `tf.maximum` or `tf.add`.
        finish: function (`Found`, kernel, what was found) -> values of the kernel's shape; None:
            what was found is [outputs, columns].

    Yields, Raises: as `sensitivities`.
    """
    with examined(subject, feed):
        compiled = _Functions(functions, combine)
        watches = [
            _Watch(*pair, compiled, finish or _in_shape)
            for pair in zip(subject.found, subject.kernels, strict=True)
        ]
        by_owner: dict[int, list[_Watch]] = {}
        for watch in watches:
            by_owner.setdefault(id(watch.item.owner), []).append(watch)
        owners = [held[0].item.owner for held in by_owner.values()]

        def see(layer: Any, args: tuple, kwargs: dict[str, Any], outputs: Any) -> None:
            for watch in by_owner[id(layer)]:
                watch.see(args[0] if args else kwargs["inputs"])

        def measure() -> list[dict[str, Any]]:
            for watch in watches:
                watch.reset()
            for inputs, _, _ in feed.take():
                with subject.view.record_calls(owners, see):
                    subject.model(as_tensors(inputs), training=False)
                for watch in watches:
                    watch.check()
            return [watch.result() for watch in watches]

        yield measure


def examples_at_once(inputs: Any, kernel: Any, layout: Layout) -> int:
    """How many examples of a layer's inputs have patches that fit into memory; at least 1."""
    area = math.prod(kernel.shape[axis] for axis in layout.spatial)
    return max(1, _ROOM // (math.prod(inputs.shape[1:]) * area))


class _Functions:
    """The compiled functions, traced once for all sites that are alike."""

    def __init__(self, functions: dict[str, Callable], combine: Callable):
        self.names = tuple(functions)
        self.combine = combine
        self._functions = functions
        self._compiled: dict[tuple, Callable] = {}

    def __call__(self, inputs: tf.Tensor, kernel: tf.Tensor, how: Any, layout: Layout) -> Any:
        """Whether the inputs are finite, and the matrix of each statistic."""
        key = (how, layout, tuple(kernel.shape), inputs.shape.rank)
        if key not in self._compiled:
            function = functools.partial(self._measured, how=how, layout=layout)
            self._compiled[key] = tf.function(function, autograph=False, reduce_retracing=True)
        return self._compiled[key](inputs, kernel)

    def _measured(self, inputs, kernel, *, how, layout):
        inputs = tf.cast(inputs, tf.float64 if kernel.dtype == tf.float64 else tf.float32)
        rows, matrix = patches(inputs, how, layout), to_matrix(kernel, layout)
        found = [function(rows, matrix) for function in self._functions.values()]
        return tf.reduce_all(tf.math.is_finite(inputs)), found


class _Watch:
    """The statistics of one site, over all inputs that its layer has seen."""

    def __init__(self, item: Found, kernel: Any, functions: _Functions, finish: Callable):
        self.item = item
        self._finish = finish
        self._kernel = kernel
        self._functions = functions
        self._how = reading(item.owner, item.site.layout)
        self._part: int | None = None
        self.reset()

    def reset(self) -> None:
        """Forget what was seen."""
        self._found: list[Any] | None = None
        self._finite = True

    def see(self, inputs: Any) -> None:
        """Take the examples of one call into account, as many at a time as there is room for."""
        inputs, kernel = tf.convert_to_tensor(inputs), tf.convert_to_tensor(self._kernel)
        layout = self.item.site.layout
        examples = inputs.shape[0]
        self._part = min(self._part or examples, examples_at_once(inputs, kernel, layout))
        for start in range(0, examples, self._part):
            # Filled up with examples seen before, which change no maximum, all have one shape.
            fills = self._functions.combine is tf.maximum
            end = start + self._part if fills else min(start + self._part, examples)
            chosen = [index % examples for index in range(start, end)]
            part = inputs if len(chosen) == examples else tf.gather(inputs, chosen)
            finite, found = self._functions(part, kernel, self._how, layout)
            self._finite &= bool(finite)
            if self._found is not None:
                found = [
                    self._functions.combine(*pair) for pair in zip(self._found, found, strict=True)
                ]
            self._found = found

    def check(self) -> None:
        """Refuse inputs that are not finite; not within the call, where Keras wraps errors."""
        if not self._finite:
            raise ValueError(
                f"The input of the layer {self.item.site.layer!r} is NaN or infinite for some "
                "examples, so nothing can be scored: are weights of the layers before it NaN?"
            )

    def result(self) -> dict[str, Any]:
        """{name: values of the kernel's shape}."""
        shape = self.item.site.shape
        if self._found is None:
            warn(
                f"The layer {self.item.site.layer!r} was not called on the data, so the weights "
                f"{self.item.site.name} score 0 and are pruned first."
            )
            return {name: tf.zeros(shape) for name in self._functions.names}
        return {
            name: tf.cast(self._finish(self.item, self._kernel, found), tf.float32)
            for name, found in zip(self._functions.names, self._found, strict=True)
        }


def _in_shape(item: Found, kernel: Any, matrix: tf.Tensor) -> tf.Tensor:
    return from_matrix(matrix, item.site.shape, item.site.layout)
