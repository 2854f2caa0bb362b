# SPDX-License-Identifier: Apache-2.0
"""The arena that a C package reserves: measured, derived, or taken from Vela's plan."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from tflite_export.devices import cortex_m_arena
from tflite_export.flatbuffer.graph import ETHOS_U, Graph, number_type, read, text, used
from tflite_export.runtime import tflm_interpreter
from tflite_export.runtime.tflm_interpreter import rounded

__all__ = ["Arena", "reserved_arena"]

_PLAN, _FAST = "OfflineMemoryAllocation", "scratch_fast"
# Version, subgraph and number of tensors stand before the places, one for each tensor.
_HEAD = 3
# Of a tensor in tables and while memory is planned; of an operator and its state; of a channel of
# weights that the CPU reads; the interpreter.
_PER_TENSOR, _PER_OPERATOR, _PER_CHANNEL, _ONCE = 96, 512, 8, 1536

_KIB = 1024


def _planned_bytes(graph: Graph) -> int:
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
        size = _tensor_bytes(tensor)
        end, apart = (max(end, place + size), apart) if place >= 0 else (end, apart + size)
    tables = _PER_TENSOR * len(tensors) + _PER_OPERATOR * len(graph.operators()) + _ONCE
    return rounded(end) + apart + tables + _PER_CHANNEL * channels


def _fast_bytes(graph: Graph) -> int:
    """Bytes of fast memory that the accelerator's driver is given beside the arena, 0 where Vela
    planned none."""
    tensors = graph.model.subgraphs[0].tensors
    return sum(_tensor_bytes(tensor) for tensor in tensors if text(tensor.name) == _FAST)


def _tensor_bytes(tensor) -> int:
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


@dataclass(frozen=True)
class Arena:
    """Bytes that are reserved: `here` on 64 bits, of which `measured` were measured, and `cortex_m`
    on 32 bits; `told` says where they come from."""

    here: int
    cortex_m: int
    measured: int
    told: str


def reserved_arena(content: bytes) -> Arena:
    """The arena for a file: measured, and derived from that; of Vela's files taken from its plan.

    Raises:
        RuntimeError: TFLite Micro cannot load the file; its message is in the error.
    """
    graph = read(content)
    if ETHOS_U in used(graph):
        planned = -(-_planned_bytes(graph) // _KIB) * _KIB
        told = (
            "From the plan that Vela wrote into the file, with room for the interpreter's tables."
        )
        if fast := _fast_bytes(graph):
            told += f" The accelerator's driver needs {fast} bytes of fast memory beside it."
        return Arena(planned, planned, 0, told)
    measured, cortex = tflm_interpreter.arena_bytes(content), cortex_m_arena.arena_bytes(content)
    here = -(-(measured + measured // 10) // _KIB) * _KIB
    told = (
        f"64 bits: {measured} measured, the least that loads and runs with the reference kernels "
        f"on a computer, and a margin of {here - measured} for other versions of the library "
        f"(10 %, rounded up to 1 KiB). 32 bits: {cortex} derived from that for a Cortex-M, rather "
        "too much than too little: narrower pointers, and the buffers of CMSIS-NN's kernels on "
        "cores with DSP instructions. Other optimized kernels, those for Helium too, may ask for "
        "larger buffers."
    )
    return Arena(here, cortex, measured, told)
