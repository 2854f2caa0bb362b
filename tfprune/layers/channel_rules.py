# SPDX-License-Identifier: Apache-2.0
"""The rule that says what a layer, a nested model or an operation does with channels."""

from __future__ import annotations

from typing import Any, Callable

from tfprune.layers.base import stock_kind_of
from tfprune.layers.call import LayerCall
from tfprune.layers.operation_kinds import operation_kind
from tfprune.layers.symbolic_tensor import SymbolicTensor, Unsupported


def rule_of(operation: Any, step: LayerCall) -> Callable[[LayerCall], Any]:
    """The rule for a layer, a nested model or a raw operation; a layer of which nothing is known,
    or of which a class of the user's changes something, is looked into.

    Raises:
        Unsupported: nothing is known of a raw operation.
    """
    adapter = step.tracer.adapter
    if adapter.is_model(operation):
        return _nested
    name = step.raw_kind
    if name is not None:
        rule = operation_kind(name).propagate
        if rule is None:
            raise Unsupported(f"unknown operation {step.name}")
        return rule
    return stock_kind_of(operation).propagate or step.tracer.look_into


def _nested(step: LayerCall) -> list[SymbolicTensor]:
    graph = step.tracer.adapter.graph(step.operation)
    if graph is None:
        return step.tracer.look_into(step)
    values = step.values
    if len(values) != len(graph.inputs):
        raise Unsupported(
            f"{step.name} is called with {len(values)} tensors for its {len(graph.inputs)} inputs"
        )
    return step.tracer.run(graph, values)
