# SPDX-License-Identifier: Apache-2.0
"""The arena of a file on a microcontroller of 32 bits, a Cortex-M with CMSIS-NN: derived from what
TFLite Micro's interpreter takes on this computer, whose pointers are twice as wide."""

from __future__ import annotations

import math

from tflite_export.flatbuffer.graph import TFLM_DECODE, Graph, read, schema
from tflite_export.runtime.tflm_interpreter import EVAL_TENSORS, allocations, rounded
from tflite_export.runtime.tflm_interpreter import arena_bytes as on_64_bits

__all__ = ["arena_bytes"]

# Bytes that half of the pointers' width saves in each table, by the runtime's structures. What
# operators hold of their own is mostly numbers: four pointers or sizes where there are weights.
_SAVED = {EVAL_TENSORS: 12, "NodeAndRegistration struct": 32, "Persistent TfLiteTensor data": 24}
_SAVED_IN_STATES = 16
# The interpreter's own objects: 80 pointers and sizes.
_SAVED_ONCE = 320
_PLANNED = 8  # saved of each tensor while memory is planned
_WEIGHTED = {"CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED", TFLM_DECODE}
_LSTM = "UNIDIRECTIONAL_SEQUENCE_LSTM"
_GATE_SUMS, _LSTM_PARAMETERS = 8, 256


def arena_bytes(content: bytes) -> int:
    """The arena that a file takes on a Cortex-M with CMSIS-NN's kernels, in bytes; rather too much
    than too little.

    From the interpreter's break-down of the arena here, each table scaled by the width of its
    pointers, and the buffers that CMSIS-NN's kernels ask for on cores with DSP instructions
    (Cortex-M4, M7, M33). Within 10 % of the least arena on a Cortex-M4 where that was measured.

    Args:
        content: bytes of a .tflite file.
    Raises:
        RuntimeError: TFLite Micro cannot load the file; its message is in the error.
    """
    graph, found = read(content), allocations(content)
    operators = list(graph.all_operators())
    names = [graph.operator_name(operator) for _, operator in operators]
    saved = _SAVED_ONCE + _SAVED_IN_STATES * sum(name in _WEIGHTED for name in names)
    saved += sum(_SAVED[kind] * count for kind, count in found.counts.items() if kind in _SAVED)
    kept = found.tail - saved + sum(_sums(graph, *at) for at in operators)
    # Planning and running do not overlap; the larger one counts.
    planning = on_64_bits(content) - found.tail - _PLANNED * found.counts.get(EVAL_TENSORS, 0)
    running = found.head + max((_columns(graph, *at) for at in operators), default=0)
    return rounded(kept + max(planning, running))


def _columns(graph: Graph, subgraph: int, operator) -> int:
    """Bytes of the buffer in which a kernel of CMSIS-NN unfolds its input, in int16: two columns of
    the filter, or all of it where it is depthwise."""
    ops, code = schema().BuiltinOperator, graph.code(operator)
    if code not in (ops.CONV_2D, ops.DEPTHWISE_CONV_2D, ops.TRANSPOSE_CONV):
        return 0
    weights = graph.tensor(subgraph, int(operator.inputs[1]))
    if weights.type == schema().TensorType.FLOAT32:
        return 0
    columns = 1 if code == ops.DEPTHWISE_CONV_2D else 2
    return 2 * columns * math.prod(int(n) for n in weights.shape[1:])


def _sums(graph: Graph, subgraph: int, operator) -> int:
    """Bytes that CMSIS-NN's LSTM keeps beside the reference kernel's: sums of the weights of each
    gate, for inputs and states."""
    if graph.operator_name(operator) != _LSTM:
        return 0
    bias, kinds = graph.tensor(subgraph, int(operator.inputs[12])), schema().TensorType
    if bias.type == kinds.FLOAT32:
        return 0
    size = 8 if bias.type == kinds.INT64 else 4
    return _LSTM_PARAMETERS + _GATE_SUMS * rounded(size * int(bias.shape[0]))
