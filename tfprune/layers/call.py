# SPDX-License-Identifier: Apache-2.0
"""Calls of layers as their rules see them, and the channels that are kept of their tensors."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Mapping, Protocol

import numpy as np

from tfprune.layers.channel_graph import ChannelGraph, Entry, Ids, Role
from tfprune.layers.graph import Call, Graph, RawOperation
from tfprune.layers.symbolic_tensor import SymbolicTensor, Unsupported, plain, tensors


class Walk(Protocol):
    """The walk through a model that makes the calls.

    Attributes:
        adapter: of the model's Keras.
        book: the channels.
    """

    adapter: Any
    book: ChannelGraph

    def path(self, layer: Any) -> str:
        """Where a layer stands in the model, as in the names of sites."""

    def run(self, graph: Graph, inputs: list[SymbolicTensor]) -> list[SymbolicTensor]:
        """Walk through the graph of a nested model."""

    def look_into(self, step: "LayerCall") -> list[SymbolicTensor]:
        """Walk through what a layer of unknown kind does itself."""

    def apply(
        self, operation: Any, args: tuple, kwargs: dict, shapes: list
    ) -> list[SymbolicTensor]:
        """Call a layer that stands inside another."""


@dataclass
class LayerCall:
    """One call of one layer or operation, as its rule sees it.

    Attributes:
        tracer: the walk.
        operation: what is called.
        args, kwargs: what it is called with.
        shapes: of what comes out.
        source: the call in its graph; None: a part of another layer, called by that one's rule.
        inside: the graph of what the layer itself does, where it was looked into.
        parts: its calls, with what came out.
    """

    tracer: Walk
    operation: Any
    args: tuple
    kwargs: dict
    shapes: list
    source: Call | None = None
    inside: Graph | None = None
    parts: list[tuple["LayerCall", list[SymbolicTensor]]] = field(default_factory=list)

    @property
    def raw_kind(self) -> str | None:
        """The name of a raw operation in lower case ("add"); None for a layer."""
        if isinstance(self.operation, RawOperation):
            return self.operation.kind
        return self.tracer.adapter.operation_name(self.operation)

    @property
    def book(self) -> ChannelGraph:
        return self.tracer.book

    @property
    def name(self) -> str:
        return self.tracer.path(self.operation)

    @property
    def values(self) -> list[SymbolicTensor]:
        """All tensors of the call, in order."""
        return list(tensors((self.args, self.kwargs)))

    @property
    def value(self) -> SymbolicTensor:
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

    def channels(self, value: SymbolicTensor) -> Ids | None:
        """The channels along the layer's channel axis; those along any other axis must stay."""
        place = self.channel_axis(len(value.shape))
        for axis, ids in enumerate(value.axes):
            if axis != place:
                self.book.pin(ids, f"{self.name} mixes it")
        return value.axes[place]

    def made(self, shape: tuple, ids: Ids | None) -> SymbolicTensor:
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


_MASKS = frozenset("mask attention_mask padding_mask query_mask value_mask key_mask".split())


def without_masks(kwargs: dict[str, Any]) -> dict[str, Any]:
    """Keras' masks choose positions, never channels."""
    return {name: value for name, value in kwargs.items() if name not in _MASKS}


class Walked(Protocol):
    """The finished walk through a model.

    Attributes:
        tracer: the walk.
        adapter: of the model's Keras.
        labels: for every number of the channel graph the channel that it stands for.
        groups: the channel groups, each with its channels.
        by_variable: the entries of each variable, by its id.
        by_operation: every call of each layer or operation with its results, by its id.
    """

    @property
    def tracer(self) -> Any: ...
    @property
    def labels(self) -> Ids: ...
    @property
    def groups(self) -> tuple[tuple[Any, Ids], ...]: ...
    @property
    def adapter(self) -> Any: ...
    @property
    def by_variable(self) -> Mapping[int, list[Entry]]: ...
    @property
    def by_operation(self) -> Mapping[int, list[tuple[LayerCall, list[SymbolicTensor]]]]: ...


@dataclass(frozen=True, eq=False)
class KeptChannels:
    """Which channels stay.

    Args:
        survey: the walk through the model.
        alive: bool, for every channel.
    """

    survey: Walked
    alive: np.ndarray

    def mask(self, ids: Ids) -> np.ndarray:
        """Which of these stay."""
        return self.alive[self.survey.labels[ids]]

    def shape(self, tensor: SymbolicTensor) -> tuple[int | None, ...]:
        """The shape of a tensor without the channels that go."""
        return tuple(
            size if ids is None else int(self.mask(ids).sum())
            for size, ids in zip(tensor.shape, tensor.axes, strict=True)
        )

    def masks(self, variable: Any) -> dict[int, np.ndarray]:
        """For each axis of a variable that loses entries, which stay."""
        found = {
            entry.axis: self.mask(entry.ids)
            for entry in self.survey.by_variable.get(id(variable), ())
        }
        return {axis: mask for axis, mask in found.items() if not mask.all()}

    def size(self, variable: Any) -> tuple[int, ...]:
        """The shape of a variable without the channels that go."""
        shape = [int(size) for size in variable.shape]
        for axis, mask in self.masks(variable).items():
            shape[axis] = int(mask.sum())
        return tuple(shape)

    def sliced(self, variable: Any, value: np.ndarray) -> np.ndarray:
        """An array of a variable's shape without the entries of the channels that go."""
        for axis, mask in self.masks(variable).items():
            value = np.compress(mask, value, axis)
        return value
