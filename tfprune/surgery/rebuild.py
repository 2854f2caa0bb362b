# SPDX-License-Identifier: Apache-2.0
"""A new model with a given model's graph, layer by layer with new settings and weights."""

from __future__ import annotations

from copy import copy
from typing import Any, Iterator

import numpy as np

from tfprune.backend import adapter_of
from tfprune.backend.base import Backend
from tfprune.layers import graph as graphs
from tfprune.layers.base import kind_of, raw
from tfprune.layers.call import KeptChannels
from tfprune.layers.operation_kinds import sizes
from tfprune.layers.resizing import Resizing, resized
from tfprune.layers.resizing_operations import Sizes
from tfprune.layers.symbolic_tensor import Unsupported
from tfprune.surgery.block_copies import looked_into, smaller
from tfprune.surgery.constant_folding import Folding
from tfprune.surgery.shared_weights import (
    WHAT_TO_DO,
    Shared,
    refuse_lost_ties,
    refuse_outside,
    refuse_unequal,
)


class Rebuild:
    """Builds the copy of one model.

    Args:
        kept: which channels stay.
        folding: constants of those that go.

    Attributes:
        pairs: after `of`: (variable, its counterpart in the new model).
    """

    def __init__(self, kept: KeptChannels, folding: Folding):
        self.kept, self.folding = kept, folding
        self.adapter: Backend = kept.survey.adapter
        self.copies: dict[int, Any] = {}
        self.originals: list[Any] = []
        self.blocks: set[int] = set()
        self.shared = Shared(kept.survey)
        self.own = {id(self.adapter.raw(one)) for one in kept.survey.tracer.view.model.weights}
        self.pairs: list[tuple[Any, Any]] = []

    def of(self, model: Any) -> Any:
        """The new model, its weights not yet set.

        Raises:
            ValueError: a layer cannot be copied, or shares a variable so that its copy would not.
        """
        new = self._model(model)
        self.copies[id(model)] = new
        self._pairs = [
            (layer, old, one) for layer in self.originals for old, one in self.paired(layer)
        ]
        refuse_lost_ties(self._pairs)
        for operation in self.originals:
            if id(operation) in self.kept.survey.tracer.unknown:
                refuse_outside(operation, self.copies[id(operation)], self.own)
        copy_flags(model, new, self.copies)
        return new

    def _model(self, model: Any) -> Any:
        graph = self.adapter.graph(model)
        inputs = [
            self.adapter.new_input(layer, shape)
            for layer, shape in zip(
                self.adapter.input_layers(model), self._inputs(model), strict=True
            )
        ]
        if self.adapter.is_sequence(model):
            return self.adapter.sequence(model, [*inputs, *map(self.copy, model.layers)])
        assert graph is not None, model.name
        return self.adapter.assembled(model, inputs, graph.replayed(inputs, self._call))

    def _inputs(self, model: Any) -> list[tuple]:
        graph = self.adapter.graph(model)
        assert graph is not None, model.name
        own = [ref.shape for ref in graph.inputs]
        calls = self.kept.survey.by_operation.get(id(model), ())
        if not calls:  # the whole model, whose inputs stay
            return own
        shapes = [self.kept.shape(one) for one in calls[0][0].values]
        return [
            tuple(None if size is None else new for size, new in zip(old, shape, strict=True))
            for old, shape in zip(own, shapes, strict=True)
        ]

    def _call(self, call: graphs.Call, known: dict[int, Any]) -> list[Any]:
        def given(value: Any) -> Any:
            return known[value.key] if isinstance(value, graphs.Ref) else self._counterpart(value)

        kinds = (graphs.Ref, *self.adapter.VARIABLES)
        args = [graphs.mapped(one, kinds, given) for one in call.args]
        kwargs = graphs.mapped(call.kwargs, kinds, given)
        changed = self._sizes(call)
        if changed:
            config = call.operation.get_config()
            self.adapter.set_sizes(config, args, kwargs, changed)
            new = self.keep(call.operation, self.adapter.from_config(call.operation, config))
        else:
            new = self.copy(call.operation)
        return list(graphs.leaves(new(*args, **kwargs)))

    def _sizes(self, call: graphs.Call) -> Sizes:
        name = self.adapter.operation_name(call.operation)
        if name is None or not call.outputs:
            return {}
        step, results = self.kept.survey.tracer.calls[call.outputs[0].key][0]
        return sizes(name, step, results, self.kept)

    def copy(self, operation: Any) -> Any:
        """The layer's or operation's copy, the same wherever it is used."""
        if id(operation) in self.copies:
            return self.copies[id(operation)]
        if self.adapter.knows_graph(operation):
            return self.keep(operation, self._model(operation))
        try:
            is_smaller = is_changed(operation, self.kept, self.folding)
            if is_smaller and looked_into(operation, self.kept.survey):
                return smaller(operation, self)
            config = operation.get_config()
            if is_smaller:
                resized(Resizing(operation, config, self.kept, self.folding.biases))
            new = self.adapter.from_config(operation, config)
            if isinstance(operation, self.adapter.Layer):
                self.shared.join(operation, new, self.copy)
        except Unsupported:
            raise
        except Exception as error:
            raise ValueError(
                f"{operation.name!r} ({type(operation).__name__}) cannot be copied: its "
                f"from_config(get_config()) fails with {type(error).__name__}: {error}. A layer "
                "of your own needs both, so that a smaller model can be built around it."
            ) from error
        return self.keep(operation, new)

    def settings(self, layer: Any) -> dict[str, Any]:
        """What the layer says of itself.

        Raises:
            Unsupported: nothing.
        """
        try:
            return layer.get_config()
        except Exception as error:
            raise Unsupported(
                f"its get_config() fails with {type(error).__name__}: {str(error)[:100]}"
            ) from error

    def fork(self) -> "Rebuild":
        """The same so far, to try something."""
        fork = copy(self)
        fork.copies, fork.originals = dict(self.copies), list(self.originals)
        fork.blocks = set(self.blocks)
        return fork

    def adopt(self, fork: "Rebuild") -> None:
        """Go on from where a trial has come to."""
        self.copies, self.originals, self.blocks = fork.copies, fork.originals, fork.blocks

    def keep(self, operation: Any, new: Any) -> Any:
        """Remember the copy of an operation."""
        self.copies[id(operation)] = new
        self.originals.append(operation)
        return new

    def set_weights(self, only: tuple[str, ...] | None = None) -> None:
        """Give the new model the weights of the given one, without the channels that go.

        Args:
            only: kinds of layers; all where None.
        """
        factors: dict[int, float] = {}
        for layer in self.originals:
            find = kind_of(layer).factors
            if find is not None:
                factors.update(find(layer, self.kept))
        self.pairs = [
            (old, new)
            for layer, old, new in self._pairs
            if only is None or kind_of(layer).name in only
        ]
        for old, new in self.pairs:
            before, after = self.adapter.raw(old), self.adapter.raw(new)
            value = before.numpy()
            if id(before) in self.folding.added:
                value = value + self.folding.added[id(before)].astype(value.dtype)
            value = self.kept.sliced(
                before, value * factors[id(before)] if id(before) in factors else value
            )
            if tuple(value.shape) == tuple(after.shape):  # not so: states of another batch size
                after.assign(value.astype(after.dtype.as_numpy_dtype))
        for layer in self.originals:
            if kind_of(layer).name == "Normalization":
                self.copies[id(layer)].finalize_state()  # computes with what it has just been given

    def paired(self, layer: Any) -> Iterator[tuple[Any, Any]]:
        """The variables of a layer with those of its copy."""
        if isinstance(layer, self.adapter.Layer) and not self.adapter.knows_graph(layer):
            new = self.copies[id(layer)]
            if id(layer) in self.blocks:  # the layers inside have copies of their own
                own, theirs = map(self.adapter.own_variables, (layer, new))
            else:
                own, theirs = counterparts(layer, new, self.folding)
            refuse_unequal(layer, (own, theirs), self.originals)
            yield from zip(own, theirs, strict=True)

    def _counterpart(self, variable: Any) -> Any:
        """What an operation reads in place of a variable: that of the copy, if a layer holds it."""
        key = id(self.adapter.raw(variable))
        for layer in self.originals:
            for old, new in self.paired(layer):
                if id(self.adapter.raw(old)) == key:
                    return new
        if key in self.own:
            raise ValueError(
                f"An operation of the model reads the variable {variable.name!r} "
                "before the layer that holds it is called, and cannot be copied. "
                f"{WHAT_TO_DO}"
            )
        return variable


def is_changed(layer: Any, kept: KeptChannels, folding: Folding) -> bool:
    """Whether a layer's variables, or what it reads or makes, change their shapes."""
    adapter = adapter_of(layer) if hasattr(layer, "weights") else None
    if adapter is None:
        return False
    if any(kept.masks(adapter.raw(one)) for one in layer.weights) or _gets_bias(
        layer, adapter, folding
    ):
        return True
    return any(
        kept.shape(one) != one.shape
        for step, results in kept.survey.by_operation.get(id(layer), ())
        for one in (*step.values, *results)
    )


def _gets_bias(layer: Any, adapter: Backend, folding: Folding) -> bool:
    return id(layer) in folding.biases or any(
        _gets_bias(sub, adapter, folding) for sub in adapter.sublayers(layer)
    )


def counterparts(layer: Any, new: Any, folding: Folding) -> tuple[list[Any], list[Any]]:
    """The variables of a layer and those of its copy, in the same order.

    Biases that only the copy has are left out, and get their values.

    Args:
        folding: constants that need them.
    """
    adapter = adapter_of(layer)
    biases: set[int] = set()
    _new_biases(layer, new, folding, biases)
    theirs = [one for one in adapter.variables(new) if id(adapter.raw(one)) not in biases]
    return adapter.variables(layer), theirs


def _new_biases(old: Any, new: Any, folding: Folding, found: set[int]) -> None:
    adapter = adapter_of(old)
    if id(old) in folding.biases:
        bias, value = raw(adapter, new, "bias"), folding.biases[id(old)]
        full = np.zeros(tuple(bias.shape))
        if full.ndim == 2 and value.ndim == 1:  # input and recurrent biases of a GRU
            full[0] = value
        else:
            full = value.reshape(full.shape)
        bias.assign(full.astype(bias.dtype.as_numpy_dtype))
        found.add(id(bias))
    for one, other in zip(adapter.sublayers(old), adapter.sublayers(new), strict=False):
        _new_biases(one, other, folding, found)


def copy_flags(old: Any, new: Any, copies: dict[int, Any]) -> None:
    """What is trained: from the outside to the inside, for a model sets it for all its layers.

    Args:
        copies: of layers, by the ids of those of the given model.
    """
    if old.trainable != new.trainable:
        new.trainable = old.trainable
    adapter = adapter_of(old)
    inside = adapter.sublayers(old)
    if adapter.is_model(old) and any(id(sub) in copies for sub in inside):
        matched = [(sub, copies.get(id(sub))) for sub in inside]
    else:
        matched = [
            (sub, copies.get(id(sub), other))
            for sub, other in zip(inside, adapter.sublayers(new), strict=False)
        ]
    for sub, other in matched:
        if other is not None and not adapter.is_input(sub):
            copy_flags(sub, other, copies)
