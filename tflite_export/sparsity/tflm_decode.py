# SPDX-License-Identifier: Apache-2.0
"""Pruned weights in a file as TFLite Micro's operator TFLM_DECODE reads them.

The runtime's own documentation of the operator, its 16-byte header and its types:
https://github.com/tensorflow/tflite-micro/tree/main/tensorflow/lite/micro/compression
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tflite_export.flatbuffer.graph import TFLM_DECODE, Graph, number_type, read, schema
from tflite_export.sparsity.bitmap_encoding import Bitmap, bitmap, unpacked

__all__ = ["Candidate", "attach", "candidates", "decodable", "expanded"]

_PRUNED, _VERSION, _BITMAP = 2, 1, 1
_HEADER = bytes([_PRUNED, _VERSION, 0, 0, _BITMAP, *[0] * 11])
# What a file grows by besides bitmap and values: an operator, two tensors and a buffer, with their
# tables and offsets. Measured at 130 to 175 bytes; the first one in a file takes 75 more.
_OVERHEAD = 176
_SCALE = 12


@dataclass(frozen=True)
class Candidate:
    """A weight that may be packed: `saved` bytes of the file, in which `decoded` bytes of RAM
    are needed while an operator reads it."""

    packed: Bitmap
    saved: int
    decoded: int


def decodable(graph: Graph) -> dict[tuple[int, int], np.ndarray]:
    """Weights that an operator reads at each inference, and not when the model is loaded, before
    the first DECODE has run; in order of the graph.

    Args:
        graph: a dense file, not yet edited.
    """
    ops, kinds = schema().BuiltinOperator, schema().TensorType
    computing = (ops.CONV_2D, ops.DEPTHWISE_CONV_2D, ops.FULLY_CONNECTED, ops.TRANSPOSE_CONV)
    # Per-channel zero points: the runtime reads them for int8 only.
    types = (kinds.INT8, kinds.INT16, kinds.FLOAT32)
    found = {}
    for at, array in graph.constants().items():
        uses = graph.readers(at[1], at[0])
        fits = all(position == 1 and graph.code(o) in computing for o, position in uses)
        if uses and fits and not graph.shared(at) and graph.tensor(*at).type in types:
            found[at] = array
    return found


def candidates(graph: Graph) -> dict[tuple[int, int], Candidate]:
    """Weights that can be decoded and take fewer bytes so, in order of the graph.

    Args:
        graph: a dense file, not yet edited.
    """
    found = {}
    for at, array in decodable(graph).items():
        packed = bitmap(array, graph.zero_points(*at, array.ndim))
        readers = len({id(operator) for operator, _ in graph.readers(at[1], at[0])})
        scales = len(graph.scales(*at))
        # Every decoded tensor has a copy of the scales and zero points; one moves there.
        copies = (readers - 1) * scales * _SCALE
        saved = array.nbytes - packed.nbytes - _OVERHEAD * readers - copies
        if saved > 0:
            found[at] = Candidate(packed, saved, array.nbytes)
    return found


def attach(graph: Graph, chosen: dict[tuple[int, int], Bitmap]) -> None:
    """Replace weights by their bitmaps and put a TFLM_DECODE before each operator that reads one.

    Each reader has a DECODE of its own, and one only: what a DECODE writes lives until the next
    operator has run.
    """
    fb = schema()
    for number in sorted({at[0] for at in chosen}):
        subgraph = graph.model.subgraphs[number]
        headers = {}
        for (of, index), packed in chosen.items():
            if of == number:
                header = _HEADER + packed.values.tobytes()
                headers[index] = graph.new_tensor(
                    number, [len(header)], fb.TensorType.UINT8, content=header
                )
        ordered = []
        for operator in graph.operators(number):
            decoded = [int(i) for i in operator.inputs if int(i) in headers]
            if decoded:
                decode = fb.OperatorT()
                decode.opcodeIndex = graph.custom_code(TFLM_DECODE)
                decode.inputs = [i for index in decoded for i in (index, headers[index])]
                weights = [subgraph.tensors[index] for index in decoded]
                decode.outputs = [
                    graph.new_tensor(
                        number, weight.shape, weight.type, quantization=weight.quantization
                    )
                    for weight in weights
                ]
                renamed = dict(zip(decoded, decode.outputs, strict=True))
                operator.inputs = [renamed.get(int(i), int(i)) for i in operator.inputs]
                ordered.append(decode)
            ordered.append(operator)
        subgraph.operators = ordered
    for at, packed in chosen.items():
        tensor = graph.tensor(*at)
        tensor.shape, tensor.type = [len(packed.bits)], fb.TensorType.UINT8
        tensor.quantization = None
        graph.model.buffers[tensor.buffer].data = np.frombuffer(packed.bits, np.uint8)


def expanded(content: bytes) -> bytes:
    """The file with every pruned weight dense again and no TFLM_DECODE, as other runtimes run it.

    Args:
        content: bytes of a .tflite file; returned as it is if it has no TFLM_DECODE.
    Raises:
        ValueError: a TFLM_DECODE of another type than pruning.
    """
    if not _decodes(read(content)):
        return content
    graph = Graph(content)
    for number, subgraph in enumerate(graph.model.subgraphs):
        kept = []
        for operator in graph.operators(number):
            if graph.custom_name(operator) != TFLM_DECODE:
                kept.append(operator)
                continue
            pairs = np.asarray(operator.inputs).reshape(-1, 2)
            for (encoded, header), output in zip(pairs, operator.outputs, strict=True):
                _expand(graph, number, encoded=encoded, header=header, output=output)
        subgraph.operators = kept
    return graph.content()


def _decodes(graph: Graph) -> bool:
    return any(graph.custom_name(operator) == TFLM_DECODE for _, operator in graph.all_operators())


def _expand(graph: Graph, subgraph: int, *, encoded: int, header: int, output: int) -> None:
    bits, values = (graph.bytes_of(subgraph, int(index)) for index in (encoded, header))
    if values[:2] != _HEADER[:2]:
        raise ValueError(
            f"{TFLM_DECODE} with the header {values[:2].hex() or 'missing'}: only type {_PRUNED} "
            f"(pruning), version {_VERSION}, is understood"
        )
    tensor = graph.tensor(subgraph, int(output))
    packed = Bitmap(bits, np.frombuffer(values[len(_HEADER) :], number_type(tensor.type)))
    shape = tuple(int(n) for n in tensor.shape)
    array = unpacked(packed, shape, graph.zero_points(subgraph, int(output), len(shape)))
    tensor.buffer = graph.new_buffer(array.tobytes())
