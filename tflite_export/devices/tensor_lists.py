# SPDX-License-Identifier: Apache-2.0
"""Parts of tensors whose size is known only when a file runs: TFLite Micro has memory for those of
known sizes, and writes beyond it where a SLICE gives more."""

from __future__ import annotations

import copy

import numpy as np

from tflite_export.flatbuffer.graph import Graph, schema

__all__ = ["items_written", "unsized"]

_NEEDLESS = ("SLICE", "CONCATENATION", "RESHAPE")


def items_written(graph: Graph, number: int) -> bool:
    """Let loops write the item of a step into their results by DYNAMIC_UPDATE_SLICE.

    The converter joins what is before the item, the item, and what is after it, by two SLICEs
    whose sizes change from step to step.

    Args:
        graph: edited in place.
        number: of the subgraph.
    Returns:
        Whether there was something to change.
    """
    makers = _makers(graph, number)
    ordered, changed = [], False
    for operator in graph.operators(number):
        found = _item(graph, number, operator, makers)
        ordered += found or [operator]
        changed |= found is not None
    graph.model.subgraphs[number].operators = ordered
    if changed:
        _drop_unread(graph, number)
    return changed


def unsized(graph: Graph):
    """The SLICEs with results of no known size: (subgraph, operator) of each."""
    for number, operator in graph.all_operators():
        if graph.operator_name(operator) != "SLICE":
            continue
        begin, size = (graph.numbers(number, int(i)) for i in operator.inputs[1:])
        signature = graph.tensor(number, int(operator.outputs[0])).shapeSignature
        fixed = size is not None and (begin is not None or -1 not in size)
        if not fixed and signature is not None and -1 in signature:
            yield number, operator


def _item(graph: Graph, number: int, operator, makers: dict) -> list | None:
    """The operators instead of a CONCATENATION of before, item and after."""
    if graph.operator_name(operator) != "CONCATENATION" or len(operator.inputs) != 3:
        return None
    before, after = (_maker(graph, makers, operator.inputs[n], "SLICE") for n in (0, 2))
    if (
        not before
        or not after
        or operator.builtinOptions.axis != 0
        or (before.inputs[0] != after.inputs[0])
    ):
        return None
    whole, item = int(before.inputs[0]), int(operator.inputs[1])
    shape, given = (list(graph.tensor(number, index).shape) for index in (whole, item))
    length = _maker(graph, makers, before.inputs[2], "CONCATENATION")
    start = _maker(graph, makers, after.inputs[1], "CONCATENATION")
    if given != [1, *shape[1:]] or not length or not start:
        return None
    constants = (before.inputs[1], after.inputs[2], length.inputs[1], start.inputs[1])
    if any(
        not _all(graph, number, index, value)
        for index, value in zip(constants, (0, -1, -1, 0), strict=True)
    ):
        return None
    if not _follows(graph, number, makers, length.inputs[0], start.inputs[0]):
        return None
    place = graph.new_tensor(number, [len(shape)], schema().TensorType.INT32)
    # `start` is where the part after the item begins, `length` where the item does.
    joined = copy.copy(start)
    joined.inputs, joined.outputs = [length.inputs[0], start.inputs[1]], [place]
    write = graph.new_operator("DYNAMIC_UPDATE_SLICE", [whole, item, place], operator.outputs)
    graph.tensor(number, place).name = graph.tensor(number, int(operator.outputs[0])).name
    return [joined, write]


def _follows(graph: Graph, number: int, makers: dict, one, other) -> bool:
    """Whether a number [1] is another plus 1."""
    before, after = (_maker(graph, makers, index, "RESHAPE") for index in (one, other))
    added = after and _maker(graph, makers, after.inputs[0], "ADD")
    return (
        bool(before and added)
        and added.inputs[0] == before.inputs[0]
        and _all(graph, number, added.inputs[1], 1)
    )


def _makers(graph: Graph, number: int) -> dict:
    return {
        int(index): operator for operator in graph.operators(number) for index in operator.outputs
    }


def _maker(graph: Graph, makers: dict, index, name: str):
    """The operator that gives a tensor, if it has this name."""
    operator = makers.get(int(index))
    return operator if operator and graph.operator_name(operator) == name else None


def _all(graph: Graph, number: int, index, value: int) -> bool:
    numbers = graph.numbers(number, int(index))
    return numbers is not None and bool(np.all(numbers == value))


def _drop_unread(graph: Graph, number: int) -> None:
    subgraph, before = graph.model.subgraphs[number], -1
    while before != len(subgraph.operators):
        before = len(subgraph.operators)
        read = {int(index) for operator in subgraph.operators for index in operator.inputs}
        read |= {int(index) for index in subgraph.outputs}
        subgraph.operators = [
            operator
            for operator in subgraph.operators
            if graph.operator_name(operator) not in _NEEDLESS or int(operator.outputs[0]) in read
        ]
