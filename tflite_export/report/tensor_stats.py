# SPDX-License-Identifier: Apache-2.0
"""Stored tensors of a .tflite file: their zeros, and the bytes they take as they are encoded."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from tflite_export.flatbuffer.graph import TFLM_DECODE, Graph, operands, read, schema, type_name
from tflite_export.report.export_report import TensorReport
from tflite_export.report.inspection_report import Stored

__all__ = ["number_format", "real_numbers", "stored_tensors", "weights"]


def number_format(graph: Graph) -> str:
    """The number format, by the types of weights and of what they meet.

    All that is computed would not tell: an int8 LSTM has a cell state of 16 bits, and a network of
    floats may take bytes.
    """
    kinds = schema().TensorType
    weights, met, ends = set(), set(), set()
    for number, subgraph in enumerate(graph.model.subgraphs):
        stored = {n for n in range(len(subgraph.tensors)) if len(graph.bytes_of(number, n))}
        wide = {
            n
            for n in stored
            if subgraph.tensors[n].type not in (kinds.INT32, kinds.INT64)
            and len(graph.shape(number, n)) > 1
        }
        weights |= {subgraph.tensors[n].type for n in wide}
        ends |= {subgraph.tensors[int(n)].type for n in (*subgraph.inputs, *subgraph.outputs)}
        for operator in graph.operators(number):
            used = [n for n in operands(operator) if n >= 0]
            read = [subgraph.tensors[n].type for n in used if n not in stored]
            if wide.intersection(used):
                met |= {*read[:1]} - {kinds.INT32, kinds.INT64}
            if graph.operator_name(operator) == "QUANTIZE":
                ends |= {subgraph.tensors[int(n)].type for n in operator.outputs}
    computed = met or ends
    if kinds.INT4 in weights:
        return "int4"
    if kinds.INT16 in computed:
        return "int16x8"
    if computed & {kinds.INT8, kinds.UINT8}:
        return "int8"
    if kinds.INT8 in weights:
        return "dynamic"
    return "float16" if kinds.FLOAT16 in weights else "none"


def stored_tensors(
    graph: Graph, dense: Graph, encoded: dict[tuple[int, int], str]
) -> tuple[Stored, ...]:
    """Constants that an operator reads, in the file's order."""
    found = []
    for at, shape in _constants(dense):
        found.append(
            Stored(
                dense.name(*at) or f"tensor {at[1]}",
                shape,
                type_name(dense.tensor(*at).type),
                _zeros(dense, at, shape),
                int(np.prod(shape, dtype=np.int64)),
                encoded.get(at, "dense"),
                _stored_bytes(graph, at),
            )
        )
    return tuple(found)


def _constants(dense: Graph) -> Iterator[tuple[tuple[int, int], tuple[int, ...]]]:
    """(subgraph, tensor) and shape of each constant that an operator reads."""
    taken = {(number, n) for number, operator in dense.all_operators() for n in operands(operator)}
    for at in sorted(taken):
        if at[1] >= 0 and len(dense.bytes_of(*at)):
            yield at, dense.shape(*at)


def real_numbers(dense: Graph) -> tuple[int, int | None]:
    """(real numbers that a file stores for its operators, those of them that are not zero); sizes
    and indices are not counted.

    Args:
        dense: without encoded weights.
    """
    kinds = schema().TensorType
    whole = (kinds.INT8, kinds.UINT8, kinds.INT16, kinds.INT32, kinds.INT64, kinds.BOOL)
    size = 0
    nonzeros: int | None = 0
    for at, shape in _constants(dense):
        if dense.tensor(*at).type in whole and not len(dense.scales(*at)):
            continue
        count, zeros = int(np.prod(shape, dtype=np.int64)), _zeros(dense, at, shape)
        size += count
        nonzeros = None if zeros is None or nonzeros is None else nonzeros + count - zeros
    return size, nonzeros


def weights(
    dense: bytes, encodings: dict[tuple[int, int], str], names: dict[tuple[int, int], str]
) -> tuple[TensorReport, ...]:
    """The named weights of a dense file, in the order of the names.

    Args:
        dense: the file.
        encodings: {(subgraph, tensor): label} of those that are not dense in the encoded one.
        names: {(subgraph, tensor): name of the Keras weight}.
    """
    graph, found = read(dense), []
    for at, name in names.items():
        array = graph.constant(*at)
        found.append(
            TensorReport(
                name,
                array.shape,
                type_name(graph.tensor(*at).type),
                int(np.count_nonzero(graph.dequantized(*at, array) == 0)),
                array.size,
                encodings.get(at, "dense"),
            )
        )
    return tuple(found)


def _zeros(graph: Graph, at: tuple[int, int], shape: tuple[int, ...]) -> int | None:
    """Entries whose real value is 0; None for types without zeros, such as text."""
    array = graph.numbers(*at)
    if graph.tensor(*at).type == schema().TensorType.UINT8:
        array = np.frombuffer(graph.bytes_of(*at), np.uint8).reshape(shape)
    return None if array is None else int(np.sum(graph.dequantized(*at, array) == 0))


def _stored_bytes(graph: Graph, at: tuple[int, int]) -> int:
    """Bytes in the file: values and index arrays, or what a decoding operator reads."""
    for operator in graph.operators(at[0]):
        if graph.custom_name(operator) == TFLM_DECODE and at[1] in operator.outputs:
            place = 2 * [int(index) for index in operator.outputs].index(at[1])
            pair = operator.inputs[place : place + 2]
            return sum(len(graph.bytes_of(at[0], int(index))) for index in pair)
    table = graph.tensor(*at).sparsity
    arrays = (
        []
        if table is None
        else [
            array
            for m in table.dimMetadata
            for array in (m.arraySegments, m.arrayIndices)
            if array is not None
        ]
    )
    return len(graph.bytes_of(*at)) + sum(np.asarray(a.values).nbytes for a in arrays)
