# SPDX-License-Identifier: Apache-2.0
"""A pruned and a dense model side by side on the same examples, layer by layer."""

from __future__ import annotations

import contextlib
from typing import Any, Iterable, Iterator, Sequence

import numpy as np
import tensorflow as tf

from tfprune.backend.model_view import ModelView
from tfprune.backend.substitute import Change, replaced
from tfprune.reconstruction.correspondence import Pair, align
from tfprune.reconstruction.normal_equations import NormalEquations
from tfprune.statistics.calibration_data import CalibrationData, Feed
from tfprune.statistics.gradients import as_tensors, check_inputs
from tfprune.statistics.measured_model import Subject
from tfprune.statistics.stepwise_forward import Step, StepwiseForward

BATCH = 64


def batches_of(view: ModelView, data: Any) -> list[Any]:
    """The inputs of a model, in batches.

    Raises:
        ValueError: no data, or data that does not fit the model.
        TypeError: neither arrays nor an iterable.
    """
    given = isinstance(data, CalibrationData)
    data = data if given or data is None else CalibrationData(data, batch_size=BATCH)
    if data is None:
        raise ValueError(
            "data=None: pass some inputs that are typical of the model, as an array x, a data set "
            "of batches or a tfprune.CalibrationData; labels are not needed."
        )
    feed, found = Feed(data), []
    for inputs, _, _ in feed.take():
        check_inputs(Subject.of(view), inputs)
        found.append(as_tensors(inputs))
    return found


def examples_in(batches: Sequence[Any]) -> int:
    """How many examples there are."""
    return sum(int(tf.nest.flatten(one)[0].shape[0]) for one in batches)


class Walk:
    """One model on its way through some examples.

    Args:
        view: of the model.
        batches: of its inputs.
        changes: of attributes of its layers while they are called: other weights.
    """

    def __init__(self, view: ModelView, batches: Sequence[Any], changes: Sequence[Change] = ()):
        self.view, self.forward = view, StepwiseForward(view, batches)
        self.changes = changes
        self.look()

    def advance(self, end: int) -> None:
        """Go on to a step, with all batches."""
        with replaced(self.changes):
            self.forward.advance(end)

    def ahead(self, batch: int, end: int) -> dict[int, Any]:
        """What is known of a batch before a step that is further on."""
        with replaced(self.changes):
            return self.forward.ahead(batch, end)

    def look(self) -> None:
        """Note which layers each step calls; the steps stay in this order."""
        self._inside = [_layers_in(step, self.view) for step in self.forward.steps]

    def first(self, layer: Any) -> int | None:
        """The first step that calls a layer; None: none does."""
        return next((n for n, inside in enumerate(self._inside) if id(layer) in inside), None)

    def inputs(self, layer: Any) -> Iterator[tf.Tensor]:
        """What a layer is called with, call by call and batch by batch; the walk goes on to its
        first call, and looks ahead for the others."""
        places = [place for place, inside in enumerate(self._inside) if id(layer) in inside]
        self.advance(places[0])
        for batch in range(len(self.forward.known)):
            yield from self._inputs(layer, places[-1] + 1, batch)

    def _inputs(self, layer: Any, end: int, batch: int) -> list[tf.Tensor]:
        step = self.forward.steps[self.forward.done]
        if end == self.forward.done + 1 and step.operation is layer:
            args, kwargs = step.given(self.forward.known[batch])
            return [_first(args, kwargs)]
        found: list[tf.Tensor] = []

        def see(called: Any, args: tuple, kwargs: dict[str, Any], outputs: Any) -> None:
            found.append(_first(args, kwargs))

        with self.view.record_calls([layer], see):
            self.ahead(batch, end)
        return found

    def called(self, layers: Sequence[Any]) -> list[Any]:
        """Those of the layers that a forward pass of the first batch calls, in its order."""
        found: dict[int, Any] = {}

        def see(layer: Any, args: tuple, kwargs: dict[str, Any], outputs: Any) -> None:
            if isinstance(_first(args, kwargs), tf.__internal__.EagerTensor):
                found.setdefault(id(layer), layer)

        with self.view.record_calls(layers, see):
            self.ahead(0, len(self.forward.steps))
        return list(found.values())


class TwoWalks:
    """The pruned and the dense model.

    Args:
        model, dense: looks at them.
        batches: of their inputs.
        changes: of attributes of the dense one's layers while they are called.

    Raises:
        ValueError: they do not call the same layers.
    """

    def __init__(
        self,
        model: ModelView,
        dense: ModelView,
        batches: Sequence[Any],
        *,
        changes: Sequence[Change] = (),
    ):
        self.model, self.dense = Walk(model, batches), Walk(dense, batches, changes)
        align(self.model.forward, self.dense.forward)
        self.dense.look()  # its steps may have got another order

    def inputs(self, layers: tuple[Any, Any]) -> Iterator[tuple[tf.Tensor, tf.Tensor]]:
        """What a layer of both models is called with, call by call and batch by batch."""
        yield from zip(self.model.inputs(layers[0]), self.dense.inputs(layers[1]), strict=True)

    def equations(self, pair: Pair) -> NormalEquations:
        """The normal equations of a kernel: its own inputs, and what is missing of the dense one's
        outputs. All uses of a layer that is used several times are in it."""
        product, dense = pair.pruned, pair.dense
        outputs, columns = product.shape
        found = NormalEquations(
            columns, outputs, groups=product.groups, has_bias=product.bias is not None
        )
        dtype = tf.float64 if product.kernel.dtype == tf.float64 else tf.float32
        left = np.flatnonzero(pair.left)
        for own, others in self.inputs((product.layer, dense.layer)):
            own = tf.cast(own, dtype)
            given = product.called(own)
            with replaced(self.dense.changes):
                wanted = dense.called(tf.cast(others, dtype))
            if not pair.left.all():
                wanted = tf.gather(wanted, left, axis=2)
            if pair.factor != 1.0:
                wanted *= pair.factor
            for part in product.parts(own):
                goal, made = (tf.reshape(one[part], (-1, outputs)) for one in (wanted, given))
                found.add(product.rows(own[part]), goal - made, goal)
        return found

    def distance(self) -> float:
        """||Z' - Z|| / ||Z|| of the outputs of both models; they go to the end for that."""
        forwards = self.model.forward, self.dense.forward
        for one in (self.model, self.dense):
            one.advance(len(one.forward.steps))
        off = whole = 0.0
        for batch in range(len(forwards[0].known)):
            pairs = [one.results(one.known[batch]) for one in forwards]
            for own, wanted in zip(*pairs, strict=True):
                own, wanted = tf.cast(own, tf.float64), tf.cast(wanted, tf.float64)
                off += float(tf.reduce_sum(tf.square(own - wanted)))
                whole += float(tf.reduce_sum(tf.square(wanted)))
        return (off / whole) ** 0.5 if whole else off**0.5


def _layers_in(step: Step, view: ModelView) -> set[int]:
    operation = step.operation
    if not isinstance(operation, view.backend.Layer):
        return set()
    inner = view.backend.unwrap(operation) if view.backend.is_wrapped(operation) else operation
    return {id(operation), id(inner)} | {id(held.layer) for held in view.at(inner).below}


def _first(args: tuple, kwargs: dict[str, Any]) -> Any:
    """The tensor that a layer is called with."""
    return args[0] if args else next(iter(kwargs.values()))


@contextlib.contextmanager
def as_before_on_failure(variables: Iterable[tf.Variable | None]) -> Iterator[None]:
    """Give variables their values back if something fails, or is interrupted."""
    held = [(one, one.numpy()) for one in variables if one is not None]
    try:
        yield
    except BaseException:
        for variable, value in held:
            variable.assign(value)
        raise
