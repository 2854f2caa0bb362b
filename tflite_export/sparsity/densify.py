# SPDX-License-Identifier: Apache-2.0
"""A sparse-encoded .tflite file -> the same model with every weight dense again."""

from __future__ import annotations

import math

import numpy as np

from tflite_export.flatbuffer.graph import Graph, number_type, read, schema
from tflite_export.sparsity.tflm_decode import expanded

__all__ = ["densified", "plain"]


def densified(content: bytes) -> tuple[bytes, tuple[str, ...]]:
    """Expand every sparse-encoded tensor of a file and take its DENSIFY operators out.

    Some runtimes know no sparse encoding, and one of them computes with the packed bytes as if
    they were the dense weights, without an error: what goes there must be dense.

    Args:
        content: bytes of a .tflite file, sparse-encoded by whatever writer.
    Returns:
        The dense file (the argument itself if nothing was sparse), and the names of the tensors
        that were expanded.
    Raises:
        ValueError: a sparsity table that contradicts its tensor.
    """
    found = [
        (number, index)
        for number, subgraph in enumerate(read(content).model.subgraphs)
        for index, tensor in enumerate(subgraph.tensors)
        if tensor.sparsity is not None
    ]
    if not found:
        return content, ()
    graph, names = Graph(content), []
    for at in found:
        names.append(graph.name(*at) or f"tensor {at[1]}")
        tensor = graph.tensor(*at)
        try:
            array = _expanded(graph, at)
        except (AttributeError, IndexError, TypeError, ValueError) as error:
            raise ValueError(
                f"the sparse encoding of {names[-1]!r} is damaged ({error}); export the model "
                "again, with sparse=False"
            ) from error
        if graph.shared(at):
            tensor.buffer = graph.new_buffer(array.tobytes())
        else:
            data = np.frombuffer(array.tobytes(), np.uint8)
            graph.model.buffers[tensor.buffer].data = data
        tensor.sparsity = None
    _without_densify(graph)
    return graph.content(), tuple(names)


def plain(content: bytes) -> bytes:
    """The file with every weight dense, however it was encoded: by sparsity tables or bitmaps.

    Raises:
        ValueError: no .tflite file, or an encoding that is damaged or not known.
    """
    return densified(expanded(content))[0]


def _without_densify(graph: Graph) -> None:
    densify = schema().BuiltinOperator.DENSIFY
    for number, subgraph in enumerate(graph.model.subgraphs):
        dropped = [o for o in graph.operators(number) if graph.code(o) == densify]
        for operator in dropped:
            packed, expanded = int(operator.inputs[0]), int(operator.outputs[0])
            for reader, position in graph.readers(expanded, number):
                reader.inputs[position] = packed
            subgraph.outputs = [packed if o == expanded else o for o in subgraph.outputs]
        subgraph.operators = [o for o in graph.operators(number) if graph.code(o) != densify]


def _expanded(graph: Graph, at: tuple[int, int]) -> np.ndarray:
    """The dense array of a tensor: walk the levels of its traversal order, all nodes at once."""
    tensor = graph.tensor(*at)
    shape, table = tuple(int(n) for n in tensor.shape), tensor.sparsity
    order = [int(axis) for axis in table.traversalOrder]
    blocks = [] if table.blockMap is None else [int(axis) for axis in table.blockMap]
    if sorted(order) != list(range(len(shape) + len(blocks))):
        raise ValueError(f"traversal order {order} for {len(shape)} axes, {len(blocks)} of blocks")
    columns: list[np.ndarray] = []
    nodes = 1
    for metadata in table.dimMetadata:
        if metadata.format == schema().DimensionType.DENSE:
            counts = np.full(nodes, metadata.denseSize)
            if nodes * metadata.denseSize > math.prod(shape):
                raise ValueError("more entries than the tensor has")
            children = np.tile(np.arange(metadata.denseSize), nodes)
        else:
            segments = np.asarray(metadata.arraySegments.values, np.int64)
            counts = np.diff(segments)
            children = np.asarray(metadata.arrayIndices.values, np.int64)
            if len(counts) != nodes or len(children) != segments[-1] or np.any(counts < 0):
                raise ValueError("segments and indices do not fit")
        columns = [np.repeat(column, counts) for column in columns] + [children]
        nodes = len(children)
    values = np.frombuffer(graph.bytes_of(*at), number_type(tensor.type))
    if len(values) != nodes:
        raise ValueError(f"{len(values)} values for {nodes} places")
    # Level k of the walk runs along axis order[k]; axes past the shape are inside blocks.
    levels = {axis: columns[level] for level, axis in enumerate(order)}
    sizes = {axis: int(table.dimMetadata[level].denseSize) for level, axis in enumerate(order)}
    places = [levels[axis] for axis in range(len(shape))]
    for number, axis in enumerate(blocks):
        inner = len(shape) + number
        places[axis] = places[axis] * sizes[inner] + levels[inner]
    if any(np.any(place < 0) for place in places):
        raise ValueError("an index below zero")
    result = np.zeros(shape, values.dtype)
    result[tuple(places)] = values
    return result
