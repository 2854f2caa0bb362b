# SPDX-License-Identifier: Apache-2.0
"""Bitmaps of pruned arrays, and sparse-encoded files made dense again, without any runtime."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tflite_export.flatbuffer.aligned_buffers import ALIGNMENT, aligned
from tflite_export.flatbuffer.graph import Graph, schema
from tflite_export.sparsity import sparse_formats
from tflite_export.sparsity.bitmap_encoding import bitmap, unpacked
from tflite_export.sparsity.densify import densified
from tflite_export.sparsity.encode import attach_sparsity


@given(
    st.lists(st.integers(1, 9), min_size=1, max_size=4).map(tuple),
    st.integers(0, 99),
    st.sampled_from(["int8", "int16", "float32"]),
    st.sampled_from([0, 0.3, 1]),
)
def test_bitmap_and_back(shape, seed, dtype, density):
    draw = np.random.default_rng(seed)
    kept = draw.random(shape) < density
    array = np.where(kept, draw.integers(1, 100, shape), 0).astype(dtype)
    packed = bitmap(array)
    np.testing.assert_array_equal(unpacked(packed, shape), array)
    assert len(packed.bits) == -(-array.size // 8) and packed.values.size == kept.sum()
    assert packed.nbytes == len(packed.bits) + packed.values.nbytes


def test_a_zero_point_for_each_channel():
    array = np.array([[3, 0, 3], [-5, 3, 0]], np.int8)
    zero = np.array([[3], [-5]])
    packed = bitmap(array, zero)
    assert packed.values.tolist() == [0, 3, 0] and packed.bits == bytes([0b01001100])
    np.testing.assert_array_equal(unpacked(packed, (2, 3), zero), array)


def test_negative_zero_is_a_zero():
    packed = bitmap(np.array([-0.0, 0.0, 1.0, -2.0], np.float32))
    assert packed.values.tolist() == [1, -2] and packed.bits == bytes([0b00110000])
    assert not np.signbit(unpacked(packed, (4,)))[0]


def _file(array, sparse=None):
    """One dense layer with the weight, and the same encoded."""
    fb = schema()
    model, subgraph = fb.ModelT(), fb.SubGraphT()
    model.version, model.operatorCodes, model.subgraphs = 3, [], [subgraph]
    model.buffers = [fb.BufferT()]
    graph = Graph.__new__(Graph)
    graph.model = model
    shapes = ([1, array.shape[-1]], list(array.shape), [1, len(array)])
    subgraph.tensors = []
    for number, shape in enumerate(shapes):
        tensor = fb.TensorT()
        tensor.shape, tensor.name, tensor.type = shape, f"t{number}", fb.TensorType.FLOAT32
        tensor.buffer = graph.new_buffer(array.tobytes()) if number == 1 else 0
        subgraph.tensors.append(tensor)
    operator = fb.OperatorT()
    operator.opcodeIndex = graph.operator_code(fb.BuiltinOperator.FULLY_CONNECTED, 1)
    operator.inputs, operator.outputs = [0, 1], [2]
    subgraph.operators, subgraph.inputs, subgraph.outputs = [operator], [0], [2]
    if sparse is not None:
        attach_sparsity(graph, (0, 1), sparse)
    return graph


@pytest.mark.parametrize(
    "pack",
    [sparse_formats.csr, lambda a: sparse_formats.csr(a, 0), lambda a: sparse_formats.block(a, 4)],
)
def test_sparse_files_are_made_dense(pack):
    draw = np.random.default_rng(0)
    array = (draw.normal(size=(12, 8)) * (draw.random((12, 8)) < 0.2)).astype(np.float32)
    content = _file(array, pack(array)).content()
    dense, names = densified(content)
    assert names == ("t1",)
    graph = Graph(dense)
    np.testing.assert_array_equal(graph.constants()[0, 1], array)
    (operator,) = graph.operators()
    assert graph.code(operator) == schema().BuiltinOperator.FULLY_CONNECTED
    assert list(operator.inputs) == [0, 1]
    assert densified(dense) == (dense, ())


@pytest.mark.parametrize(
    "damage",
    [
        lambda table: setattr(table, "traversalOrder", [0, 0]),
        lambda table: setattr(table.dimMetadata[0], "denseSize", 10**6),
        lambda table: table.dimMetadata[1].arrayIndices.values.__setitem__(0, 200),
        lambda table: table.dimMetadata[1].arraySegments.values.__setitem__(-1, 1),
        lambda table: setattr(table.dimMetadata[1], "arraySegments", None),
    ],
)
def test_a_damaged_sparsity_table_is_an_error(damage):
    array = np.eye(6, 8, dtype=np.float32)
    graph = Graph(_file(array, sparse_formats.csr(array)).content())
    table = graph.tensor(0, 1).sparsity
    for dimension in table.dimMetadata[1:]:
        for vector in (dimension.arrayIndices, dimension.arraySegments):
            vector.values = np.array(vector.values)
    damage(table)
    content = graph.content()
    with pytest.raises(ValueError, match="'t1' is damaged .* sparse=False"):
        densified(content)


def test_buffers_are_aligned():
    graph = _file(np.ones((3, 5), np.float32))
    for odd in (9, 17, 33):
        graph.new_buffer(bytes([odd]) * odd)
    content = aligned(graph)
    for buffer in Graph(content).model.buffers:
        if buffer.data is not None:
            assert content.find(bytes(buffer.data)) % ALIGNMENT == 0
