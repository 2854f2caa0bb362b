# SPDX-License-Identifier: Apache-2.0
"""The arena of a file that Vela compiled for an Ethos-U: no interpreter runs it here, but Vela's
plan of the memory is in it."""

from __future__ import annotations

import math

import numpy as np

from tflite_export.graph import Graph, number_type, text
from tflite_export.micro import rounded

__all__ = ["arena_bytes", "fast_bytes"]

_PLAN, _FAST = "OfflineMemoryAllocation", "scratch_fast"
# Version, subgraph and number of tensors stand before the places, one for each tensor.
_HEAD = 3
# Of a tensor in tables and while memory is planned; of an operator and its state; of a channel of
# weights that the CPU reads; the interpreter.
_PER_TENSOR, _PER_OPERATOR, _PER_CHANNEL, _ONCE = 96, 512, 8, 1536


def arena_bytes(graph: Graph) -> int:
    """Bytes of the arena: Vela's plan, and room for the interpreter's tables.

    Args:
        graph: a file with an operator "ethos-u".
    """
    tensors = graph.model.subgraphs[0].tensors
    places = _places(graph) or [-1] * len(tensors)
    end, apart, channels = 0, 0, 0
    for index, (tensor, place) in enumerate(zip(tensors, places, strict=False)):
        if graph.bytes_of(0, index):
            channels += len(graph.scales(0, index))
            continue
        size = _bytes(tensor)
        end, apart = (max(end, place + size), apart) if place >= 0 else (end, apart + size)
    tables = _PER_TENSOR * len(tensors) + _PER_OPERATOR * len(graph.operators()) + _ONCE
    return rounded(end) + apart + tables + _PER_CHANNEL * channels


def fast_bytes(graph: Graph) -> int:
    """Bytes of fast memory that the accelerator's driver is given beside the arena, 0 where Vela
    planned none."""
    tensors = graph.model.subgraphs[0].tensors
    return sum(_bytes(tensor) for tensor in tensors if text(tensor.name) == _FAST)


def _bytes(tensor) -> int:
    shape = () if tensor.shape is None else tuple(int(n) for n in tensor.shape)
    try:
        width = number_type(tensor.type).itemsize
    except ValueError:
        width = 1  # UINT8 and BOOL, which no weight is stored as
    return rounded(width * math.prod(shape))


def _places(graph: Graph) -> list[int]:
    for entry in graph.model.metadata or []:
        if text(entry.name) == _PLAN:
            data = bytes(graph.model.buffers[entry.buffer].data)
            return np.frombuffer(data, np.int32)[_HEAD:].tolist()
    return []
