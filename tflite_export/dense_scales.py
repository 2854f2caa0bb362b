# SPDX-License-Identifier: Apache-2.0
"""Dense layers of a file whose integer weights have a scale for each channel."""

from __future__ import annotations

import numpy as np

from tflite_export.aligned import aligned
from tflite_export.graph import Graph, schema

__all__ = ["scaled_by_channel", "with_one_scale"]


def scaled_by_channel(graph: Graph) -> list[tuple[int, int]]:
    """(subgraph, tensor) of the weights of dense layers with more than one scale."""
    dense = schema().BuiltinOperator.FULLY_CONNECTED
    weights = [
        (number, int(operator.inputs[1]))
        for number in range(len(graph.model.subgraphs)) for operator in graph.operators(number)
        if graph.code(operator) == dense
    ]
    return [at for at in weights if len(graph.scales(*at)) > 1]


def with_one_scale(content: bytes) -> bytes:
    """A file of the size that one scale for each dense layer would give; what it computes is
    wrong."""
    graph = Graph(content)
    for number, index in scaled_by_channel(graph):
        readers = [operator for operator, _ in graph.readers(index, number)]
        biases = [int(operator.inputs[2]) for operator in readers if len(operator.inputs) > 2]
        for used in {index, *biases} - {-1}:
            table = graph.tensor(number, used).quantization
            table.scale = np.array([max(table.scale)], np.float32)
            table.zeroPoint = np.array(table.zeroPoint[:1])
    return aligned(graph)
