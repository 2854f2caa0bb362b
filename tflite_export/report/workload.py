# SPDX-License-Identifier: Apache-2.0
"""Operations of a .tflite file for one example, and the largest live set of activations."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from tflite_export.flatbuffer.graph import Graph, number_type

__all__ = ["Workload", "workload"]

# Operators whose weights are used once for each place of the output, and where these weights have
# their output channels; of the transposed convolution it is each place of the input.
_CHANNELS = {"CONV_2D": 0, "CONV_3D": 4, "DEPTHWISE_CONV_2D": 3, "FULLY_CONNECTED": 0}
_TRANSPOSED = "TRANSPOSE_CONV"
_UNCOUNTED = {
    "BIDIRECTIONAL_SEQUENCE_LSTM",
    "BIDIRECTIONAL_SEQUENCE_RNN",
    "CONV_3D_TRANSPOSE",
    "LSTM",
    "RNN",
    "SVDF",
    "UNIDIRECTIONAL_SEQUENCE_LSTM",
    "UNIDIRECTIONAL_SEQUENCE_RNN",
}


@dataclass(frozen=True)
class Workload:
    """Multiply-accumulates of stored weights for one example, `macs`, those of weights that are not
    zero, `effective_macs`, and `activation_bytes`, of all tensors that are alive together at the
    moment with most of them. None where that cannot be told."""

    macs: int | None
    effective_macs: int | None
    activation_bytes: int | None


def workload(graph: Graph) -> Workload:
    """Count what a file does, operator by operator, without running it.

    Args:
        graph: of a file whose weights are dense.
    """
    if len(graph.model.subgraphs) > 1:  # loops and branches
        return Workload(None, None, None)
    total = effective = 0
    for operator in graph.operators(0):
        name = graph.operator_name(operator)
        if name in _UNCOUNTED or graph.custom_name(operator) or _multiplies_stored(graph, operator):
            return Workload(None, None, _peak(graph))
        if name in _CHANNELS or name == _TRANSPOSED:
            counts = _macs(graph, operator, name)
            if counts is None:
                return Workload(None, None, _peak(graph))
            total, effective = total + counts[0], effective + counts[1]
    return Workload(total, effective, _peak(graph))


def _multiplies_stored(graph: Graph, operator) -> bool:
    return graph.operator_name(operator) == "BATCH_MATMUL" and any(
        _stored(graph, int(index)) is not None for index in operator.inputs
    )


def _macs(graph: Graph, operator, name: str) -> tuple[int, int] | None:
    """Of one operator, and of its weights that are not zero; None for weights that are computed."""
    stored = _stored(graph, int(operator.inputs[1]))
    if stored is None:
        return None
    weights = graph.dequantized(0, stored, graph.constant(0, stored))
    if name == _TRANSPOSED:
        places = math.prod(graph.shape(0, operator.inputs[2])[1:-1])
    else:
        channels = weights.shape[_CHANNELS[name]]
        places = math.prod(graph.shape(0, operator.outputs[0])) // channels
    return weights.size * places, int(np.count_nonzero(weights)) * places


def _stored(graph: Graph, index: int) -> int | None:
    """The stored tensor behind an input, also where it is made wider first."""
    if index < 0 or len(graph.bytes_of(0, index)):
        return index if index >= 0 else None
    for operator in graph.operators(0):
        if index in operator.outputs and graph.operator_name(operator) == "DEQUANTIZE":
            return _stored(graph, int(operator.inputs[0]))
    return None


def _peak(graph: Graph) -> int | None:
    """Bytes; inputs are alive from the beginning, outputs to the end."""
    table, operators = graph.model.subgraphs[0], list(graph.operators(0))
    lives: dict[int, list[int]] = {int(index): [0, 0] for index in table.inputs}
    for at, operator in enumerate(operators):
        for index in (*operator.inputs, *operator.outputs):
            if index >= 0 and _stored(graph, int(index)) is None:
                lives.setdefault(int(index), [at, at])[1] = at
    for index in table.outputs:
        lives.setdefault(int(index), [0, 0])[1] = max(len(operators) - 1, 0)
    changes = np.zeros(len(operators) + 2, np.int64)
    for index, (first, last) in lives.items():
        try:
            width = number_type(graph.tensor(0, index).type).itemsize
        except ValueError:
            width = 1  # UINT8 and BOOL
        size = width * math.prod(graph.shape(0, index))
        changes[first] += size
        changes[last + 1] -= size
    return int(np.cumsum(changes).max(initial=0))
