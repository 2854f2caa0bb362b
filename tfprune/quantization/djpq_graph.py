# SPDX-License-Identifier: Apache-2.0
"""A model's graph as nodes with their readers, nested models and wrappers looked through."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from tfprune.backend.model_view import ModelView
from tfprune.layers import graph as graphs
from tfprune.layers.base import stock_kind_of
from tfprune.layers.elementwise import NEVER_BELOW_ZERO, ZERO_AT_ZERO
from tfprune.layers.operation_kinds import operation_kind


@dataclass(eq=False)
class Node:
    """One call of a layer or an operation, or an input of the model (no operation).

    Attributes:
        operation: the layer, without its wrapper.
        sources: the nodes whose outputs it is given.
        readers: the nodes that are given its output; None among them: it is the model's output.
    """

    operation: Any = None
    name: str | None = None
    sources: list["Node"] = field(default_factory=list)
    readers: list["Node | None"] = field(default_factory=list)

    @property
    def traits(self) -> frozenset[str]:
        """Of its kind, see `tfprune.layers.base.TRAITS`."""
        if self.name is not None:
            return operation_kind(self.name).traits
        return stock_kind_of(self.operation).traits

    @property
    def reader(self) -> "Node | None":
        """What alone reads it; None: nothing, or more than one."""
        return self.readers[0] if len(self.readers) == 1 else None

    @property
    def activation(self) -> str:
        """The name of the function that it applies; "" if it has none, "?" for an unknown one."""
        layer = self.operation
        if self.name is not None:
            return self.name if self.name in ZERO_AT_ZERO | NEVER_BELOW_ZERO else "?"
        named = stock_kind_of(layer).function
        if named is not None:
            return named(layer)
        function = getattr(layer, "activation", None)
        return "" if function is None else getattr(function, "__name__", "?")

    @property
    def is_raw_input(self) -> bool:
        """Whether it is an input of the model, scaled or in another shape."""
        if self.operation is None:
            return True
        return "raw" in self.traits and all(one.is_raw_input for one in self.sources)

    @property
    def is_positive(self) -> bool:
        """Whether its output is never below zero, as far as that can be told."""
        if self.operation is None:
            return False
        if self.activation in NEVER_BELOW_ZERO:
            return True
        sources = self.sources
        return "positive" in self.traits and bool(sources) and all(x.is_positive for x in sources)


def nodes(view: ModelView) -> list[Node]:
    """All nodes of a functional or Sequential model in an order in which they can be computed.

    Raises:
        ValueError: the model, or one inside it, has no graph.
    """
    found: list[Node] = []
    outputs = _run(view, None, found)
    for node in outputs:
        node.readers.append(None)
    return found


def _run(view: ModelView, given: list[Node] | None, found: list[Node]) -> list[Node]:
    graph, backend = view.graph, view.backend
    if graph is None:
        raise ValueError(
            f"{view.model.name!r} is not built, or a subclassed model: joint pruning and "
            "quantization needs a functional or Sequential model, which shows how its layers "
            "are connected."
        )

    def results(call: graphs.Call, known: dict[int, Node]) -> list[Node]:
        operation = call.operation
        operation = operation.layer if backend.is_wrapper(operation) else operation
        sources = [known[one.key] for one in call.reads]
        if backend.is_model(operation):
            return _run(view.at(operation), sources, found)
        node = Node(operation, backend.operation_name(operation), sources)
        for one in sources:
            one.readers.append(node)
        found.append(node)
        return [node] * len(call.outputs)

    return graph.replayed([Node() for _ in graph.inputs] if given is None else given, results)
