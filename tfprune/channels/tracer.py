# SPDX-License-Identifier: Apache-2.0
"""The walk through a model's graph that fills the book of channels."""

from __future__ import annotations

import inspect
from dataclasses import dataclass
from types import ModuleType
from typing import Any, Iterator

import numpy as np

from tfprune.backend import adapter_of_model
from tfprune.backend.find_sites import is_wrapped
from tfprune.channels.captured_variables import variables_given, variables_read
from tfprune.channels.groups import Role
from tfprune.layers import graph as graphs
from tfprune.layers.channel_graph import Book, Ids
from tfprune.layers.symbolic_tensor import Traced, Unsupported, pin_all, plain, tensors, with_last

_NO_GRAPH = (
    "{name!r} is a subclassed model, or has a call method of its own: its layers can be seen, "
    "but not how they are connected, so that nobody can say which channels belong together. "
    "Write it as a functional model (keras.Model(inputs, outputs)) or as a Sequential one."
)
_NOT_BUILT = (
    "{name!r} is not built, so its channels are not known yet: call model.build(input_shape), or "
    "the model on data, or give it an Input."
)


def traced(model: Any) -> Book:
    """What a walk through a model finds out about its channels.

    Raises:
        TypeError: not a Keras model.
        ValueError: no graph, or not built.
    """
    return walked(model).book


def walked(model: Any) -> "Tracer":
    """Walk through a model.

    Raises:
        TypeError: not a Keras model.
        ValueError: no graph, or not built.
    """
    adapter = adapter_of_model(model)
    graph = graphs.module_of(adapter).graph(model)
    if graph is None:
        text = _NO_GRAPH if adapter.is_built(model) or not adapter.has_graph(model) else _NOT_BUILT
        raise ValueError(text.format(name=model.name))
    tracer = Tracer(adapter, model)
    inputs = [tracer.source(ref, name) for ref, name in zip(graph.inputs, graph.names)]
    pin_all(tracer.book, tracer.run(graph, inputs), "model output")
    tracer.book.pin_held()
    return tracer


def variables(model: Any) -> dict[str, Any]:
    """The variables behind the sites of a model's channel groups, by site name."""
    return {entry.site: entry.variable for entry in traced(model).entries.values()}


class Tracer:
    """Applies the rules call by call.

    Attributes:
        root: the model.
        book: the channels.
        history: every call, those of layers inside of layers included, with what came out.
        calls: the same of the calls in graphs, by the key of their first output; several for a
            call in a model that is itself called several times.
        unknown: the ids of layers and operations that no rule covers.
    """

    def __init__(self, adapter: ModuleType, model: Any):
        self.adapter = adapter
        self.root = model
        self.graphs = graphs.module_of(adapter)
        self.book = Book()
        self.history: list[tuple[Step, list[Traced]]] = []
        self.calls: dict[int, list[tuple[Step, list[Traced]]]] = {}
        self.unknown: set[int] = set()
        self._paths: dict[int, str] = {}
        for layer, path in _paths(model, (), adapter):
            self._paths.setdefault(id(layer), path)

    def path(self, layer: Any) -> str:
        """Where a layer stands in the model, as in the names of sites."""
        return self._paths.get(id(layer), layer.name)

    def source(self, ref: graphs.Ref, name: str) -> Traced:
        """A model's input. Vectors of integers are tokens, not channels."""
        is_channels = len(ref.shape) > 2 or ref.dtype.startswith(("float", "bfloat"))
        if len(ref.shape) < 2 or ref.shape[-1] is None or not is_channels:
            return plain(ref.shape)
        ids = self.book.fresh(ref.shape[-1])
        self.book.pin(ids, f"model input {name}")
        return with_last(ref.shape, ids)

    def run(self, graph: graphs.Graph, inputs: list[Traced]) -> list[Traced]:
        """Walk through one graph, from its inputs to its outputs."""
        return graph.replayed(inputs, self._call)

    def _call(self, call: graphs.Call, known: dict[int, Traced]) -> list[Traced]:
        args, kwargs = (
            graphs.mapped(one, graphs.Ref, lambda ref: known[ref.key])
            for one in (call.args, _without_masks(call.kwargs))
        )
        shapes = [ref.shape for ref in call.outputs]
        results = self.apply(call.operation, args, kwargs, shapes)
        if call.outputs:
            self.calls.setdefault(call.outputs[0].key, []).append(self.history[-1])
        return results

    def apply(self, operation: Any, args: tuple, kwargs: dict, shapes: list) -> list[Traced]:
        """One call: the rule of its kind, or, if there is none, channels that must stay."""
        if is_wrapped(operation, self.adapter):
            operation = operation.layer
        step = Step(self, operation, args, kwargs, shapes)
        results = self._ruled(step)
        self.history.append((step, results))
        return results

    def _ruled(self, step: "Step") -> list[Traced]:
        from tfprune.layers.channel_rules import rule_of

        values = step.values
        self.book.hold(
            variables_given((step.args, step.kwargs), self.adapter), f"{step.name} reads it"
        )
        try:
            results = rule_of(step.operation, step)(step)
            results = list(results) if isinstance(results, (list, tuple)) else [results]
            forgotten = step.forgotten()
            if not forgotten:
                return results
            reason = f"{step.name} has {forgotten}, which no rule covers"
            pin_all(self.book, results, reason)
        except Unsupported as why:
            reason = str(why)
        self.unknown.add(id(step.operation))
        pin_all(self.book, values, reason)
        self.book.hold(variables_read(step.operation, self.adapter), reason)
        return [self._unknown(shape, reason) for shape in step.shapes]

    def _unknown(self, shape: tuple, reason: str) -> Traced:
        if len(shape) < 2 or shape[-1] is None:
            return plain(shape)
        ids = self.book.fresh(shape[-1])
        self.book.pin(ids, reason)
        return with_last(shape, ids)


@dataclass
class Step:
    """One call of one layer or operation, as its rule sees it."""

    tracer: Tracer
    operation: Any
    args: tuple
    kwargs: dict
    shapes: list

    @property
    def book(self) -> Book:
        return self.tracer.book

    @property
    def name(self) -> str:
        return self.tracer.path(self.operation)

    @property
    def values(self) -> list[Traced]:
        """All tensors of the call, in order."""
        return list(tensors((self.args, self.kwargs)))

    @property
    def value(self) -> Traced:
        """The first tensor of the call."""
        values = self.values
        if not values:
            raise Unsupported(f"{self.name} has no input")
        return values[0]

    def setting(self, name: str, position: int, default: Any = None) -> Any:
        """An argument of the call by name or position, or the operation's attribute."""
        if name in self.kwargs:
            return self.kwargs[name]
        if len(self.args) > position:
            return self.args[position]
        return getattr(self.operation, name, default)

    def variable(self, owner: Any, attribute: str) -> Any:
        """A layer's float variable; None if it has none of this name."""
        adapter = self.tracer.adapter
        variable = adapter.attribute(owner, attribute)
        if variable is not None and not adapter.is_float(variable):
            raise Unsupported(f"{self.name} has quantized weights")
        return variable

    def member(
        self, owner: Any, attribute: str, axis: int, ids: Ids | None, role: Role = Role.FOLLOWER
    ) -> None:
        """An axis of a variable carries these channels; nothing if the layer has none such."""
        variable = self.variable(owner, attribute)
        if variable is None:
            return
        raw = self.tracer.adapter.raw(variable)
        self.book.known.add(id(raw))
        axis %= len(raw.shape)
        self.book.use(raw, (id(self), id(owner), self.name), None if ids is None else axis)
        if ids is None:
            return
        if raw.shape[axis] != len(ids):
            raise Unsupported(
                f"{self.name}/{attribute} has {raw.shape[axis]} entries along axis "
                f"{axis} for {len(ids)} channels"
            )
        site = f"{self.tracer.path(owner)}/{attribute}"
        self.book.enter(raw, (site, axis, role, ids))

    def produce(self, owner: Any, attribute: str, axis: int, repeats: int = 1) -> Ids:
        """New channels along an axis of a kernel, which holds each `repeats` times in a row."""
        variable = self.variable(owner, attribute)
        ids = self.book.fresh(variable.shape[axis] // repeats)
        self.member(owner, attribute, axis, np.tile(ids, repeats), Role.PRODUCER)
        return ids

    def channel_axis(self, rank: int) -> int:
        """The axis of the channels, as the layer's data format says."""
        first = getattr(self.operation, "data_format", None) == "channels_first"
        return 1 if first and rank > 2 else rank - 1

    def channels(self, value: Traced) -> Ids | None:
        """The channels along the layer's channel axis; those along any other axis must stay."""
        place = self.channel_axis(len(value.shape))
        for axis, ids in enumerate(value.axes):
            if axis != place:
                self.book.pin(ids, f"{self.name} mixes it")
        return value.axes[place]

    def made(self, shape: tuple, ids: Ids | None) -> Traced:
        """A tensor that the layer makes, with channels along its channel axis only."""
        return plain(shape).along(self.channel_axis(len(shape)), ids)

    def forgotten(self) -> str | None:
        """A weight of the layer that no rule has looked at."""
        adapter = self.tracer.adapter
        for weight in getattr(self.operation, "weights", ()):
            raw = adapter.raw(weight)
            is_scalar = raw.shape.num_elements() == 1
            if raw.dtype.is_floating and not is_scalar and id(raw) not in self.book.known:
                return adapter.attribute_of(self.operation, weight)
        return None


def _without_masks(kwargs: dict[str, Any]) -> dict[str, Any]:
    """Masks choose positions, never channels."""
    return {name: value for name, value in kwargs.items() if not name.endswith("mask")}


def _paths(layer: Any, path: tuple[str, ...], adapter: ModuleType) -> Iterator[tuple[Any, str]]:
    """Every layer under a model with its path, in the order in which sites are named."""
    for sub in adapter.sublayers(layer):
        inner = sub.layer if is_wrapped(sub, adapter) else sub
        own = (*path, inner.name)
        yield inner, "/".join(own)
        yield from _paths(inner, own, adapter)


def is_stock(operation: Any, row: type) -> bool:
    """Whether nothing below the class of the row changes what the layer computes."""
    harmless = {"get_config", "from_config", "get_prunable_weights"}
    for cls in type(operation).__mro__:
        if cls is row:
            return True
        changed = {
            name
            for name, value in vars(cls).items()
            if inspect.isfunction(value) and not name.startswith("__")
        }
        if changed - harmless:
            return False
    return False
