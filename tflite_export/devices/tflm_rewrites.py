# SPDX-License-Identifier: Apache-2.0
"""Operators that TFLite Micro lacks, written with those that it has: the same values."""

from __future__ import annotations

import copy
from collections.abc import Callable

import numpy as np

from tflite_export.devices.tensor_lists import items_written
from tflite_export.flatbuffer.graph import Graph, schema

__all__ = ["rewritten"]

# CONCATENATION takes no more tensors in TFLite Micro.
_MOST_JOINED = 10


def rewritten(content: bytes) -> bytes:
    """A dense file with SELECT, TILE, REDUCE_ANY, long CONCATENATIONs, SPLIT_Vs with empty parts,
    and results of loops as TFLite Micro computes them; the argument itself where there is none."""
    graph, changed = Graph(content), False
    rules = {_code(name): rule for name, rule in _RULES.items()}
    for number, subgraph in enumerate(graph.model.subgraphs):
        changed |= items_written(graph, number)
        ordered = []
        for operator in graph.operators(number):
            rule = rules.get(graph.code(operator))
            instead = rule(graph, number, operator) if rule else None
            changed |= instead is not None
            ordered += [operator] if instead is None else instead
        subgraph.operators = ordered
    return graph.content() if changed else content


def _select(graph: Graph, number: int, operator) -> list | None:
    """SELECT_V2 does the same and broadcasts beside; SELECT's condition may be one for each row."""
    shapes = [graph.shape(number, index) for index in operator.inputs]
    if shapes[0] not in ((), shapes[1]):
        return None
    return [graph.new_operator("SELECT_V2", operator.inputs, operator.outputs)]


def _tile(graph: Graph, number: int, operator) -> list | None:
    """BROADCAST_TO along an axis of 1 put before each that is repeated."""
    taken, given = int(operator.inputs[0]), int(operator.outputs[0])
    times = graph.numbers(number, int(operator.inputs[1]))
    if times is None or any(size < 1 for size in graph.shape(number, taken)):
        return None
    before: list[int] = []
    after: list[int] = []
    for size, count in zip(graph.shape(number, taken), times.reshape(-1), strict=True):
        if count > 1:
            before, after = [*before, 1], [*after, int(count)]
        if count == 1 and before and before[-1] == after[-1]:
            # Axes that stay are one: BROADCAST_TO takes no more than five.
            before[-1], after[-1] = before[-1] * size, after[-1] * size
        elif count == 1 or size > 1:
            before, after = [*before, size], [*after, size]
    tensors = [
        graph.new_tensor(
            number,
            shape,
            graph.tensor(number, given).type,
            quantization=graph.tensor(number, given).quantization,
        )
        for shape in (before, after)
    ]
    _name(graph, number, tensors, like=given)
    return [
        _reshape(graph, number, taken, tensors[0]),
        graph.new_operator(
            "BROADCAST_TO", [tensors[0], _constant(graph, number, after)], [tensors[1]], version=2
        ),
        _reshape(graph, number, tensors[1], given),
    ]


def _any(graph: Graph, number: int, operator) -> list:
    """Not all of them are not."""
    fb = schema()
    taken, given = int(operator.inputs[0]), int(operator.outputs[0])
    sides = [
        graph.new_tensor(number, graph.shape(number, index), fb.TensorType.BOOL)
        for index in (taken, given)
    ]
    _name(graph, number, sides, like=given)
    every = graph.new_operator(
        "REDUCE_ALL", [sides[0], operator.inputs[1]], [sides[1]], like=operator
    )
    return [
        graph.new_operator("LOGICAL_NOT", [taken], [sides[0]]),
        every,
        graph.new_operator("LOGICAL_NOT", [sides[1]], [given]),
    ]


def _joined(graph: Graph, number: int, operator) -> list | None:
    """Ten at a time, then what became of them."""
    indices = [int(index) for index in operator.inputs]
    if len(indices) <= _MOST_JOINED:
        return None
    given, axis = int(operator.outputs[0]), operator.builtinOptions.axis
    steps = []
    while len(indices) > _MOST_JOINED:
        parts = [indices[at : at + _MOST_JOINED] for at in range(0, len(indices), _MOST_JOINED)]
        indices = []
        for part in parts:
            if len(part) == 1:
                indices += part
                continue
            shape = list(graph.shape(number, part[0]))
            shape[axis] = sum(graph.shape(number, index)[axis] for index in part)
            tensor = graph.tensor(number, given)
            indices.append(
                graph.new_tensor(number, shape, tensor.type, quantization=tensor.quantization)
            )
            _name(graph, number, indices[-1:], like=given)
            steps.append((part, indices[-1]))
    made = []
    for part, result in (*steps, (indices, given)):
        made.append(copy.copy(operator))
        made[-1].inputs, made[-1].outputs = list(part), [result]
    return made


def _split(graph: Graph, number: int, operator) -> list | None:
    """SPLIT where the parts that are read are alike: TFLite Micro has no tensors of size zero."""
    given = [
        int(index)
        for index in operator.outputs
        if 0 not in graph.shape(number, index) or graph.readers(index, number)
    ]
    if len(given) == len(operator.outputs) or len({graph.shape(number, i) for i in given}) != 1:
        return None
    made = graph.new_operator("SPLIT", [operator.inputs[2], operator.inputs[0]], given)
    made.builtinOptionsType = schema().BuiltinOptions.SplitOptions
    made.builtinOptions = schema().SplitOptionsT()
    made.builtinOptions.numSplits = len(given)
    return [made]


_RULES: dict[str, Callable[..., list | None]] = {
    "SELECT": _select,
    "TILE": _tile,
    "REDUCE_ANY": _any,
    "CONCATENATION": _joined,
    "SPLIT_V": _split,
}


def _code(name: str) -> int:
    return getattr(schema().BuiltinOperator, name)


def _reshape(graph: Graph, number: int, taken: int, given: int):
    shape = _constant(graph, number, graph.shape(number, given))
    return graph.new_operator("RESHAPE", [taken, shape], [given])


def _constant(graph: Graph, number: int, numbers) -> int:
    stored = np.asarray(numbers, np.int32)
    return graph.new_tensor(
        number, stored.shape, schema().TensorType.INT32, content=stored.tobytes()
    )


def _name(graph: Graph, number: int, indices: list[int], *, like: int) -> None:
    """New tensors have the name of an old one, by which its layer is found."""
    for index in indices:
        graph.tensor(number, index).name = graph.tensor(number, like).name
