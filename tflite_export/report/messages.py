# SPDX-License-Identifier: Apache-2.0
"""Sentences for the report: why something was not gained."""

from __future__ import annotations

import gzip

import numpy as np

from tflite_export.flatbuffer.graph import Graph, read, schema

__all__ = ["NO_FASTER_INT8", "NO_FASTER_ZEROS", "gzip_bytes", "listed", "of_the_file"]

NO_FASTER_INT8 = "zeros do not speed up int8 on a CPU: no kernel skips them; they only compress"
NO_FASTER_ZEROS = (
    "zeros do not speed up this file: densely encoded, they are multiplied like other weights"
)


def of_the_file(
    content: bytes,
    names: dict[tuple[int, int], str],
    *,
    quantized: bool,
    fixed: bool,
    unrolled: bool,
    reset: str,
) -> list[str]:
    """Sentences on a dense file that hold whatever it is for.

    Args:
        content: the file.
        names: the weights in it, and their names.
        quantized: its activations were to be integers.
        fixed: its batch is 1 although the target would take an open one.
        unrolled: its recurrent loops were unrolled.
        reset: what clears its state, as its runtime calls it.
    """
    remarks, graph = [], read(content)
    if fixed:
        remarks.append(
            "the batch is fixed at 1: the converter cannot keep it open for this model (usually "
            "because of recurrent layers)"
        )
    if unrolled:
        remarks.append(
            "recurrent loops were unrolled, one copy of the operators for each step: the converter "
            "cannot calibrate a loop"
        )
    if graph.keeps_state():
        remarks.append(
            f"the file keeps recurrent state between calls: reset it before each sequence ({reset})"
        )
    remarks += _four_bits(graph, names)
    left = graph.constants().values() if quantized else ()
    if any(array.ndim >= 2 and array.dtype == np.float32 for array in left):
        remarks.append("some weights stayed in float32: their operators have no integer kernel")
    floats = _in_float32(graph) if quantized else []
    if floats:
        remarks.append(f"computed in float32, between integers: {listed(floats)}")
    return remarks


def _in_float32(graph: Graph) -> list[str]:
    """Names of the operators with a float32 result, but for those that only convert numbers."""
    kind = schema().TensorType.FLOAT32
    found = {
        graph.operator_name(operator)
        for number, operator in graph.all_operators()
        if any(graph.tensor(number, index).type == kind for index in operator.outputs)
    }
    return sorted(found - {"QUANTIZE", "DEQUANTIZE"})


def _four_bits(graph: Graph, names: dict[tuple[int, int], str]) -> list[str]:
    """The weights that take 4 bits, and those that do not where others do."""
    kinds = schema().TensorType
    found: dict[int, list[tuple[int, int]]] = {}
    for at in sorted(names):
        found.setdefault(graph.tensor(*at).type, []).append(at)
    if kinds.INT4 not in found:
        return []
    size = sum(len(graph.bytes_of(*at)) for at in found[kinds.INT4])
    remarks = [f"int4, together {size:,} bytes: {listed([names[at] for at in found[kinds.INT4]])}"]
    if kinds.INT8 in found:
        left = listed([names[at] for at in found[kinds.INT8]])
        remarks.append(f"int8, since the operator reads no int4 there: {left}")
    return remarks


def gzip_bytes(content: bytes) -> int:
    """Size after gzip at its usual level, as the file would be downloaded."""
    return len(gzip.compress(content, compresslevel=6, mtime=0))


def listed(names: list[str]) -> str:
    """The first four names, and how many more there are.

    Example:
        >>> listed(["a", "b", "c", "d", "e"])
        'a, b, c, d and 1 more'
    """
    more = f" and {len(names) - 4} more" if len(names) > 4 else ""
    return ", ".join(names[:4]) + more
