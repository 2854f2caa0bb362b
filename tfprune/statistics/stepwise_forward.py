# SPDX-License-Identifier: Apache-2.0
"""A forward pass that stops between two layers, and goes on from there when weights have changed.

Nested models are entered: their calls are steps as well. A model without a graph is one step.
"""

from __future__ import annotations

import inspect
import itertools
from dataclasses import dataclass
from typing import Any, Iterator, Sequence

import tensorflow as tf

from tfprune.backend.model_view import ModelView
from tfprune.layers.base import has
from tfprune.layers.graph import Graph, Ref, leaves, mapped


@dataclass(frozen=True)
class Slot:
    """Stands for a tensor; its number is the same wherever the tensor is used."""

    number: int


@dataclass(frozen=True, eq=False)
class Step:
    """One call of a layer or an operation.

    Attributes:
        operation: what is called.
        args, kwargs: what it is called with, `Slot`s in place of tensors.
        outputs: the numbers of what comes out.
    """

    operation: Any
    args: tuple
    kwargs: dict[str, Any]
    outputs: tuple[int, ...]

    @property
    def reads(self) -> list[int]:
        """The numbers of the tensors that it is given, in their order."""
        return [one.number for one in leaves((self.args, self.kwargs)) if isinstance(one, Slot)]

    def given(self, known: dict[int, Any]) -> tuple[tuple, dict[str, Any]]:
        """What it is called with, if `known` holds the tensors by their numbers."""
        return mapped((self.args, self.kwargs), Slot, lambda slot: known[slot.number])

    def run(self, known: dict[int, Any]) -> None:
        """Call it in evaluation; what comes out is known then, too."""
        args, kwargs = self.given(known)
        call = getattr(self.operation, "call", self.operation)
        if "training" in inspect.signature(call).parameters and kwargs.get("training") is None:
            kwargs = {**kwargs, "training": False}
        results = self.operation(*args, **kwargs)
        if len(self.outputs) == 1 and not isinstance(results, (list, tuple, dict)):
            known[self.outputs[0]] = results
        else:
            known.update(zip(self.outputs, leaves(results), strict=False))


class StepwiseForward:
    """The activations of one model between two of its steps, for all batches.

    Only those are kept that later steps read: to go through a whole model costs one forward pass,
    wherever it stops on the way.

    Args:
        view: of a built model.
        batches: inputs of the model.

    Raises:
        ValueError: a layer that goes on from its last state.

    Attributes:
        steps: all of them, in an order in which they can be computed.
        done: how many have been computed.

    Example:
        >>> import keras
        >>> from tfprune.backend import view
        >>> model = keras.Sequential([keras.Input((1,)), keras.layers.ReLU(), keras.layers.ReLU()])
        >>> forward = StepwiseForward(view(model), [tf.constant([[-2.0], [3.0]])])
        >>> forward.advance(1)
        >>> [sorted(one) for one in forward.known], forward.known[0][1].numpy().tolist()
        ([[1]], [[0.0], [3.0]])
    """

    def __init__(self, view: ModelView, batches: Sequence[Any]):
        graph, self.done = view.graph, 0
        for layer in view.operations:
            if getattr(layer, "stateful", False) and has(layer, "loop"):
                raise ValueError(
                    f"The layer {layer.name!r} is stateful: each call begins where the last one "
                    "ended, so that a model cannot be looked at part by part. Make it with "
                    "stateful=False."
                )
        if graph is None:
            self.steps = [Step(view.model, (Slot(0),), {}, (1,))]
            self._results, names = [1], None
        else:
            numbers = itertools.count()
            given, self.steps = [next(numbers) for _ in graph.inputs], []
            self._results = _unfold(graph, given, view, self.steps, numbers)
            names = graph
        self.known = [_begin(names, batch) for batch in batches]

    def reorder(self, order: Sequence[int]) -> None:
        """Take the steps in another order in which they can be computed, before the first one.

        Args:
            order: the present places of the steps.
        """
        self.steps = [self.steps[place] for place in order]

    def advance(self, end: int) -> None:
        """Compute the steps before `end` that have not been, for all batches."""
        read = {number for step in self.steps[end:] for number in step.reads}
        read.update(self._results)
        for place, known in enumerate(self.known):
            for step in self.steps[self.done : end]:
                step.run(known)
            self.known[place] = {number: known[number] for number in known if number in read}
        self.done = max(self.done, end)

    def ahead(self, batch: int, end: int) -> dict[int, Any]:
        """What is known of a batch after the steps before `end`; nothing of it is kept."""
        known = dict(self.known[batch])
        masks = [(value, getattr(value, "_keras_mask", None)) for value in known.values()]
        try:
            for step in self.steps[self.done : end]:
                step.run(known)
        finally:  # Keras 3's MultiHeadAttention takes the masks off its inputs
            for value, mask in masks:
                if mask is not None:
                    value._keras_mask = mask
        return known

    def results(self, known: dict[int, Any]) -> list[tf.Tensor]:
        """The model's outputs out of what is known at the end."""
        return [one for number in self._results for one in tf.nest.flatten(known[number])]


def _unfold(
    graph: Graph, given: Sequence[int], view: ModelView, steps: list[Step], numbers: Iterator[int]
) -> list[int]:
    """Append the steps of a graph, those of models inside of it in their places.

    Args:
        given: the numbers of its inputs.
        numbers: those that are free.

    Returns:
        The numbers of its outputs.
    """
    known = {ref.key: number for ref, number in zip(graph.inputs, given, strict=True)}
    for call in graph.calls:
        args, kwargs = mapped((call.args, call.kwargs), Ref, lambda ref: Slot(known[ref.key]))
        inner = view.at(call.operation).graph
        if inner is None:
            made = [next(numbers) for _ in call.outputs]
            steps.append(Step(call.operation, args, kwargs, tuple(made)))
        else:
            read = [one.number for one in leaves((args, kwargs)) if isinstance(one, Slot)]
            made = _unfold(inner, read, view, steps, numbers)
        known.update((ref.key, number) for ref, number in zip(call.outputs, made, strict=True))
    return [known[ref.key] for ref in graph.outputs]


def _begin(graph: Graph | None, batch: Any) -> dict[int, Any]:
    """What is known of a batch at the beginning."""
    if graph is None:
        return {0: batch}
    is_named = isinstance(batch, dict) and set(graph.names) <= set(batch)
    parts = [batch[name] for name in graph.names] if is_named else tf.nest.flatten(batch)
    return {
        number: tf.cast(part, ref.dtype) if ref.dtype != "string" else tf.convert_to_tensor(part)
        for number, (part, ref) in enumerate(zip(parts, graph.inputs, strict=True))
    }
