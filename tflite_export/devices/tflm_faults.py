# SPDX-License-Identifier: Apache-2.0
"""The operator of a file at which TFLite Micro fails, where it does not say so itself."""

from __future__ import annotations

import numpy as np

from tflite_export.flatbuffer.graph import Graph, read
from tflite_export.flatbuffer.layer_origins import Origins
from tflite_export.runtime import tflm_interpreter

__all__ = ["explained"]

_ENDED = "it ended the process"


def explained(message: str, content: bytes, named: bytes, origins: Origins) -> str:
    """An error of `tflm_interpreter`, with the operator and the layer that it is about.

    Args:
        message: the error.
        content: the file that was refused.
        named: the same file with the names of its tensors.
        origins: of the model.
    """
    graph = read(named)
    if _ENDED not in message:
        return origins.explained(message, graph)
    position = _fatal(content)
    if position is None:
        return message
    operator = graph.operators()[position]
    layer = origins.of(graph, operator)
    return (
        f"{message} over operator {position}, {graph.operator_name(operator)}"
        f"{f' of layer {layer}' if layer else ''}: a check fails there on its numbers, which are "
        f"stored in steps of {_steps(graph, operator.inputs)} and give steps of "
        f"{_steps(graph, operator.outputs)}"
    )


def _fatal(content: bytes) -> int | None:
    """Position of the first operator that ends the process, by bisection over where to stop."""
    least, most = 0, len(read(content).operators()) - 1
    if not _ends(content, most):
        return None
    while least < most:
        middle = (least + most) // 2
        least, most = (least, middle) if _ends(content, middle) else (middle + 1, most)
    return least


def _ends(content: bytes, position: int) -> bool:
    graph = Graph(content)
    subgraph = graph.model.subgraphs[0]
    subgraph.operators = subgraph.operators[: position + 1]
    subgraph.outputs = [int(index) for index in subgraph.operators[-1].outputs]
    try:
        tflm_interpreter.arena_bytes(graph.content())
    except RuntimeError as error:
        return _ENDED in str(error)
    return False


def _steps(graph: Graph, indices) -> str:
    """Scales of tensors, the smallest of each."""
    found = [graph.scales(0, int(index)) for index in indices if index >= 0]
    return ", ".join(f"{np.min(scales):.2g}" for scales in found if len(scales)) or "float32"
