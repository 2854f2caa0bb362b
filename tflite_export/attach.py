# SPDX-License-Identifier: Apache-2.0
"""A sparse array -> the flatbuffer objects that describe it to the interpreter."""

from __future__ import annotations

import numpy as np

from tflite_export.formats import Sparse
from tflite_export.graph import Graph, schema

__all__ = ["attach"]

# FULLY_CONNECTED reads sparse weights itself from this operator version on; XNNPACK leaves
# exactly this version to the builtin kernel.
_SPARSE_FULLY_CONNECTED = 8


def attach(graph: Graph, at: tuple[int, int], sparse: Sparse) -> None:
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
    expanded = graph.new_tensor(
        at[0], tensor.shape, tensor.type, quantization=tensor.quantization)
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
