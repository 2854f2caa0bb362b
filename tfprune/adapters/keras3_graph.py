"""The graph of a Keras 3 model, and the names of raw operations in it."""

from __future__ import annotations

from typing import Any

import keras

from tfprune.adapters.graphs import Call, Graph, Ref, calls_its_graph, mapped

KerasTensor = keras.src.backend.KerasTensor


def _ref(tensor: Any) -> Ref:
    return Ref(id(tensor), tuple(tensor.shape), keras.backend.standardize_dtype(tensor.dtype))


def graph(model: Any) -> Graph | None:
    """The graph of a functional or built Sequential model; None for any other."""
    inside = getattr(model, "_functional", None) or model
    if not isinstance(inside, keras.src.models.functional.Functional) or not calls_its_graph(model):
        return None
    calls, names = [], {}
    for depth in sorted(inside._nodes_by_depth, reverse=True):
        for node in inside._nodes_by_depth[depth]:
            if node.is_input:
                names[id(node.outputs[0])] = node.operation.name
                continue
            args, kwargs = (mapped(one, KerasTensor, _ref)
                            for one in (node.arguments.args, node.arguments.kwargs))
            calls.append(Call(node.operation, args, kwargs, tuple(map(_ref, node.outputs))))
    inputs = tuple(map(_ref, inside.inputs))
    return Graph(inputs, tuple(map(_ref, inside.outputs)), tuple(calls),
                 tuple(names.get(one.key, "input") for one in inputs))


def operation_name(operation: Any) -> str | None:
    """The name of one of Keras' own raw operations in lower case ("add"); None for a layer."""
    if isinstance(operation, keras.layers.Layer):
        return None
    kind = type(operation)
    return kind.__name__.lower() if kind.__module__.startswith("keras.") else None
