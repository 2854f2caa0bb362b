"""The graph of a tf_keras model, and the names of TensorFlow functions in it."""

from __future__ import annotations

from typing import Any

from tf_keras.src.engine import keras_tensor

from tfprune.adapters.graphs import Call, Graph, Ref, calls_its_graph, leaves, mapped


def _ref(tensor: Any) -> Ref:
    shape = () if tensor.shape.rank is None else tuple(tensor.shape)
    return Ref(id(tensor), shape, tensor.dtype.name)


def graph(model: Any) -> Graph | None:
    """The graph of a functional or built Sequential model; None for any other."""
    if not getattr(model, "_is_graph_network", False) or not calls_its_graph(model):
        return None
    calls, names = [], {}
    for depth in sorted(model._nodes_by_depth, reverse=True):
        for node in model._nodes_by_depth[depth]:
            outputs = tuple(_ref(one) for one in leaves(node.outputs))
            if node.is_input:
                names[outputs[0].key] = node.layer.name
                continue
            args, kwargs = (mapped(one, keras_tensor.KerasTensor, _ref)
                            for one in (node.call_args, node.call_kwargs))
            calls.append(Call(node.layer, args, kwargs, outputs))
    inputs = tuple(map(_ref, model.inputs))
    return Graph(inputs, tuple(map(_ref, model.outputs)), tuple(calls),
                 tuple(names.get(one.key, "input") for one in inputs))


def operation_name(operation: Any) -> str | None:
    """The name of a TensorFlow function in lower case ("add"); None for a layer."""
    if type(operation).__name__ not in ("TFOpLambda", "SlicingOpLambda"):
        return None
    return (operation.symbol or "").split(".")[-1].lower()
