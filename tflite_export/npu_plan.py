# SPDX-License-Identifier: Apache-2.0
"""The arena of a file that Vela compiled for an Ethos-U: no interpreter runs it here, but Vela's
plan of the memory is in it."""

from __future__ import annotations

import math

import numpy as np

from tflite_export.graph import Graph, number_type, text
from tflite_export.micro import rounded

__all__ = ["NPU", "arena_bytes"]

NPU = "ethos-u"

_PLAN = "OfflineMemoryAllocation"
# Version, subgraph and number of tensors stand before the places, one for each tensor.
_HEAD = 3
# Of a tensor in tables and while memory is planned; of an operator and its state; the interpreter.
_PER_TENSOR, _PER_OPERATOR, _ONCE = 96, 512, 1536


def arena_bytes(graph: Graph) -> int:
    """Bytes of the arena: Vela's plan, and room for the interpreter's tables.

    Args:
        graph: a file with an operator `NPU`.
    """
    tensors = graph.model.subgraphs[0].tensors
    places = _places(graph) or [-1] * len(tensors)
    end, apart = 0, 0
    for index, (tensor, place) in enumerate(zip(tensors, places, strict=False)):
        if graph.bytes_of(0, index):
            continue
        shape = () if tensor.shape is None else tuple(int(n) for n in tensor.shape)
        size = rounded(math.prod(shape) * _width(tensor.type))
        end, apart = (max(end, place + size), apart) if place >= 0 else (end, apart + size)
    tables = _PER_TENSOR * len(tensors) + _PER_OPERATOR * len(graph.operators()) + _ONCE
    return rounded(end) + apart + tables


def _width(kind: int) -> int:
    try:
        return number_type(kind).itemsize
    except ValueError:
        return 1  # UINT8 and BOOL, which no weight is stored as


def _places(graph: Graph) -> list[int]:
    for entry in graph.model.metadata or []:
        if text(entry.name) == _PLAN:
            data = bytes(graph.model.buffers[entry.buffer].data)
            return np.frombuffer(data, np.int32)[_HEAD:].tolist()
    return []
