# SPDX-License-Identifier: Apache-2.0
"""Files that Vela has compiled: their operator, and the accelerator that it was compiled for."""

from __future__ import annotations

import struct

from tflite_export.graph import Graph

__all__ = ["NPU", "UNKNOWN", "compiled_for"]

NPU = "ethos-u"
UNKNOWN = "an Ethos-U that its commands do not name"
# The commands begin with words for the driver: a mark, then a tag and the configuration.
_MARK, _CONFIGURATION = 0x31504F43, 1
_PRODUCTS = {0: "ethos-u55", 1: "ethos-u65", 2: "ethos-u85"}


def compiled_for(graph: Graph) -> tuple[str, ...]:
    """The accelerators that the compiled operators of a file are for, as Vela names them; none
    where there is no such operator."""
    return tuple(sorted({
        _accelerator(graph.bytes_of(number, int(operator.inputs[0])))
        for number in range(len(graph.model.subgraphs)) for operator in graph.operators(number)
        if graph.custom_name(operator) == NPU
    }))


def _accelerator(commands: bytes) -> str:
    """The name in a configuration word: product in its highest 4 bits, log2 of the multiplications
    per cycle in its lowest."""
    if len(commands) < 12:
        return UNKNOWN
    mark, tag, word = struct.unpack_from("<3I", commands)
    if mark != _MARK or tag & 0xFF != _CONFIGURATION or word >> 28 not in _PRODUCTS:
        return UNKNOWN
    return f"{_PRODUCTS[word >> 28]}-{1 << (word & 0xF)}"
