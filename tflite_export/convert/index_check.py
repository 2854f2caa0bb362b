# SPDX-License-Identifier: Apache-2.0
"""Refuses indices into a table that a quantized file would round."""

from __future__ import annotations

from collections.abc import Iterator

from tflite_export.flatbuffer.graph import Graph, read, schema
from tflite_export.flatbuffer.layer_origins import Origins
from tflite_export.flatbuffer.signature_io import ports

__all__ = ["check_indices"]

# Which operand of an operator that looks up has the indices.
_INDICES = {"EMBEDDING_LOOKUP": 0, "GATHER": 1, "GATHER_ND": 1, "ONE_HOT": 0}
# What gives the numbers that it takes.
_PASSING = {
    "CAST",
    "CONCATENATION",
    "DEQUANTIZE",
    "EXPAND_DIMS",
    "PACK",
    "QUANTIZE",
    "RESHAPE",
    "SLICE",
    "SPLIT",
    "SPLIT_V",
    "SQUEEZE",
    "STRIDED_SLICE",
    "TRANSPOSE",
    "UNPACK",
}


def check_indices(content: bytes, origins: Origins) -> None:
    """Refuse a file that looks up by numbers which its quantization rounds.

    An input without a dtype is one of real numbers in Keras, in front of an Embedding too.

    Args:
        content: bytes of a .tflite file.
        origins: of the model.
    Raises:
        ValueError: it would find wrong rows; the input and the layer are named.
    """
    graph = read(content)
    taken = dict(zip(map(int, graph.model.subgraphs[0].inputs), ports(content)[0], strict=True))
    for operator in graph.operators():
        operand = _INDICES.get(graph.operator_name(operator))
        if operand is None:
            continue
        for index, rounded in _behind(graph, int(operator.inputs[operand])):
            if index in taken and rounded:
                port, layer = taken[index], origins.of(graph, operator)
                whose = f" of layer {layer}" if layer else ""
                do = (
                    "give them an input of their own, of dtype='int32' in Keras"
                    if port.dtype == "float32"
                    else "give it dtype='int32' in Keras, or input_type='float32'"
                )
                raise ValueError(
                    f"input {port.name!r} holds indices{whose}, which the file would round: {do}"
                )


def _behind(graph: Graph, index: int) -> Iterator[tuple[int, bool]]:
    """Tensors that have the numbers of one before it, and whether they were rounded since: stored
    in steps other than 1."""
    kinds = schema().TensorType
    made = {int(given): operator for operator in graph.operators() for given in operator.outputs}
    pending, seen = [(index, False)], set()
    while pending:
        index, rounded = pending.pop()
        rounded = rounded or any(scale != 1 for scale in graph.scales(0, index))
        if (index, rounded) in seen:
            continue
        seen.add((index, rounded))
        yield index, rounded
        if index not in made:
            continue
        passing = graph.operator_name(made[index]) in _PASSING
        # Integers may be counted from the end of a table, or clipped, before they are used.
        pending += [
            (int(before), rounded)
            for before in made[index].inputs
            if before >= 0
            and (passing or graph.tensor(0, int(before)).type in (kinds.INT32, kinds.INT64))
        ]
