# SPDX-License-Identifier: Apache-2.0
"""Sparse encoding of the weights in a .tflite file, tensor by tensor, where it pays."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from tflite_export.flatbuffer.graph import Graph, read, schema
from tflite_export.report.measurements import Packed
from tflite_export.report.messages import listed
from tflite_export.sparsity import sparse_formats
from tflite_export.sparsity.sparse_formats import Sparse
from tflite_export.sparsity.xnnpack.verdict import Verdict, verdict

if TYPE_CHECKING:
    from ai_edge_litert.schema_py_generated import OperatorT

__all__ = ["attach_sparsity", "encode"]

# FULLY_CONNECTED reads sparse weights itself from this operator version on; XNNPACK leaves
# exactly this version to the builtin kernel.
_SPARSE_FULLY_CONNECTED = 8

# What the file grows by besides the arrays: the sparsity table, and for DENSIFY one operator and
# one tensor with its name. Measured on small files, rounded up.
_TABLE, _DENSIFY = 160, 200
# Width of the only float block that a kernel reads; below this share of zero blocks the sparse
# kernel is slower than the dense one (measured on x86 with 512x512: even at 0.75), so there a
# weight may only get smaller.
_BLOCK, _FAST_FROM = 4, 0.75
_REFUSED = {
    "dynamic": (
        "sparse encoding refused: LiteRT mis-executes sparse weights under dynamic range "
        "quantization (convolutions fail to prepare, block-sparse dense layers return wrong "
        "values)"
    ),
    "int16x8": (
        "sparse encoding refused: sparse weights beside 16-bit activations are not known to run "
        "correctly"
    ),
    "int4": "sparse encoding refused: no runtime is known to read sparse weights of 4 bits",
}
_EXPANDED = (
    "weights encoded as csr are expanded when the file is loaded: the file is smaller, inference "
    "is not faster and loading is slower"
)


def attach_sparsity(graph: Graph, at: tuple[int, int], sparse: Sparse) -> None:
    """Replace a tensor's bytes, describe them, and put DENSIFY before its readers if needed."""
    fb, tensor = schema(), graph.tensor(*at)
    readers = graph.readers(at[1], at[0])
    graph.model.buffers[tensor.buffer].data = np.frombuffer(sparse.values.tobytes(), np.uint8)
    tensor.sparsity = _parameters(sparse)
    if sparse.width > 1:
        for operator, _ in readers:
            operator.opcodeIndex = graph.operator_code(
                fb.BuiltinOperator.FULLY_CONNECTED, _SPARSE_FULLY_CONNECTED
            )
        return
    subgraph = graph.model.subgraphs[at[0]]
    expanded = graph.new_tensor(at[0], tensor.shape, tensor.type, quantization=tensor.quantization)
    dense = subgraph.tensors[expanded]
    dense.name, dense.hasRank = f"dense{at[1]}", tensor.hasRank
    for operator, position in readers:
        operator.inputs[position] = expanded
    densify = fb.OperatorT()
    densify.opcodeIndex = graph.operator_code(fb.BuiltinOperator.DENSIFY, 1)
    densify.builtinOptionsType = fb.BuiltinOptions.DensifyOptions
    densify.builtinOptions = fb.DensifyOptionsT()
    densify.inputs, densify.outputs = [at[1]], [expanded]
    subgraph.operators.insert(0, densify)


def _parameters(sparse: Sparse):
    fb = schema()
    sizes = [sparse.shape[axis] for axis in sparse.order[: len(sparse.shape)]]
    parameters = fb.SparsityParametersT()
    parameters.traversalOrder = list(sparse.order)
    parameters.blockMap = [len(sparse.shape) - 1] if sparse.width > 1 else []
    parameters.dimMetadata = [_dense(size) for size in sizes[:-1]] + [_compressed(sparse)]
    if sparse.width > 1:
        parameters.dimMetadata.append(_dense(sparse.width))
    return parameters


def _dense(size: int):
    dimension = schema().DimensionMetadataT()
    dimension.format, dimension.denseSize = schema().DimensionType.DENSE, int(size)
    return dimension


def _compressed(sparse: Sparse):
    dimension = schema().DimensionMetadataT()
    dimension.format, dimension.denseSize = schema().DimensionType.SPARSE_CSR, 0
    dimension.arraySegmentsType, dimension.arraySegments = _vector(sparse.segments)
    dimension.arrayIndicesType, dimension.arrayIndices = _vector(sparse.indices)
    return dimension


def _vector(numbers: np.ndarray):
    fb = schema()
    kind, vector = {
        "uint8": (fb.SparseIndexVector.Uint8Vector, fb.Uint8VectorT()),
        "uint16": (fb.SparseIndexVector.Uint16Vector, fb.Uint16VectorT()),
        "int32": (fb.SparseIndexVector.Int32Vector, fb.Int32VectorT()),
    }[numbers.dtype.name]
    vector.values = numbers
    return kind, vector


def encode(
    content: bytes,
    quantize: str,
    *,
    names: dict[tuple[int, int], str] | None = None,
    judged: Verdict | None = None,
) -> Packed:
    """Encode weights sparsely where the tensor and the whole file get smaller, and never else.

    Convolutions (and float dense layers with scattered zeros): TFLite CSR behind DENSIFY, which
    is expanded at load. Float dense layers whose zeros fill blocks of 1x4 along the inputs: read
    directly by the kernel, so they are smaller and faster. A DENSIFY may switch XNNPACK to sparse
    inference on Arm, so where that would be wrong nothing is put behind one.

    Args:
        content: bytes of a dense .tflite file.
        quantize: its number format, one of "none", "float16", "dynamic", "int8", "int16x8", "int4".
        names: the weights to mention in remarks and their names; else all, by the file's names.
        judged: what `xnnpack.verdict` said of the file, if it was asked already.
    Returns:
        `Packed`; its content is the argument itself when nothing was gained.
    """
    graph = read(content)
    weights = {at: a for at, a in graph.constants().items() if _prunable(graph, at, a)}
    if not any(np.any(array == 0) for array in weights.values()):
        return Packed(content, {}, ("sparse encoding not used: no weight is zero",))
    if quantize in _REFUSED:
        return Packed(content, {}, (_REFUSED[quantize],))
    judged = judged or verdict(graph)
    unsafe = f"dense, since with zeros encoded {judged.fault}"
    chosen: dict[tuple[int, int], Sparse] = {}
    dense: dict[str, list[str]] = {}
    for at, array in weights.items():
        sparse, why_not = _choose(graph, at, array, "" if judged.state != "unsafe" else unsafe)
        if sparse is not None:
            chosen[at] = sparse
        elif why_not and (names is None or at in names):
            dense.setdefault(why_not, []).append(names[at] if names else graph.name(*at))
    remarks = [f"{listed(kept)}: {why_not}" for why_not, kept in dense.items()]
    if not chosen:
        return Packed(content, {}, tuple(remarks))
    edited = Graph(content)
    for at, sparse in chosen.items():
        attach_sparsity(edited, at, sparse)
    smaller = edited.content()
    if len(smaller) >= len(content):
        remarks.append("sparse encoding not used: the whole file would not be smaller")
        return Packed(content, {}, tuple(remarks))
    if quantize == "int8":
        remarks.append("sparse-encoded int8 convolutions make the file smaller, not faster")
    elif judged.state != "engages" and any(sparse.width == 1 for sparse in chosen.values()):
        remarks.append(_EXPANDED)
    return Packed(smaller, {at: s.label for at, s in chosen.items()}, tuple(remarks))


def _prunable(graph: Graph, at: tuple[int, int], array: np.ndarray) -> bool:
    kinds = schema().TensorType
    known = (kinds.FLOAT32, kinds.FLOAT16, kinds.INT8, kinds.INT4)
    return array.ndim >= 2 and graph.tensor(*at).type in known


def _choose(
    graph: Graph, at: tuple[int, int], array: np.ndarray, unsafe: str
) -> tuple[Sparse | None, str]:
    """The smallest correct encoding of one tensor, or the reason to leave it dense; `unsafe` says
    why nothing may be put behind a DENSIFY, or is empty."""
    ops, kinds = schema().BuiltinOperator, schema().TensorType
    if np.all(array):
        return None, ""
    uses = _uses(graph, at)
    codes = {graph.code(operator) for operator, position in uses if position == 1}
    if any(position != 1 for _, position in uses) or len(codes) != 1 or at[0] != 0:
        return None, "dense, its operator cannot read a sparse weight"
    if graph.shared(at):
        return None, "dense, its bytes are shared with another tensor"
    code, kind = codes.pop(), graph.tensor(*at).type
    if kind == kinds.INT8 and code == ops.FULLY_CONNECTED:
        return None, "dense, LiteRT fails to prepare a sparse int8 dense layer"
    if code not in (ops.CONV_2D, ops.FULLY_CONNECTED):
        return None, "dense, only convolutions and dense layers are encoded sparsely"
    options = [] if unsafe else [(sparse_formats.smallest_csr(array), _TABLE + _DENSIFY)]
    if code == ops.FULLY_CONNECTED and kind == kinds.FLOAT32 and array.shape[1] % _BLOCK == 0:
        blocks = sparse_formats.block(array, _BLOCK)
        if blocks.values.size <= (1 - _FAST_FROM) * array.size:
            options.insert(0, (blocks, _TABLE))
    if not options:
        return None, unsafe
    sparse, overhead = min(options, key=lambda option: option[0].nbytes + option[1])
    if sparse.nbytes + overhead >= array.nbytes:
        return None, "dense, too few zeros for a sparse encoding to be smaller"
    if not np.array_equal(sparse_formats.decode(sparse), array):
        raise AssertionError("sparse encoding does not decode to the weight it was made from")
    return sparse, ""


def _uses(graph: Graph, at: tuple[int, int]) -> list[tuple[OperatorT, int]]:
    """The operators that compute with a weight, seen through the DEQUANTIZE of float16 files."""
    found = []
    for operator, position in graph.readers(at[1], at[0]):
        if graph.code(operator) == schema().BuiltinOperator.DEQUANTIZE:
            found += graph.readers(operator.outputs[0], at[0])
        else:
            found.append((operator, position))
    return found
