# SPDX-License-Identifier: Apache-2.0
"""Grids of integers that kernels cannot compute with, replaced by others."""

from __future__ import annotations

import numpy as np

from tflite_export.flatbuffer.graph import Graph, read, schema

__all__ = ["widened"]

_HIDDEN_STATE, _CELL_STATE = 18, 19  # inputs of UNIDIRECTIONAL_SEQUENCE_LSTM
_FINEST_STATE = 2.0**-15
# The softmax of such values is even: the largest of them, 127 * 2 ** -24, is 1.00001 after exp().
# Below 2 ** -26 a check in TFLite Micro's ends the process.
_FINEST_LOGIT = 2.0**-24
# Sums are computed with so many bits below the larger step of the two. Steps beyond those end the
# process, in LiteRT and in TFLite Micro; rounding has left nothing of the sum there.
_BITS = {1: 20, 2: 15}  # {bytes of a number: bits}


def widened(content: bytes) -> bytes:
    """A file whose grids are all such that kernels compute with them.

    - int16 cell states of LSTMs reach at least from -1 to 1. The converter takes the next power of
      two over what it has seen. LiteRT's tanh of a cell state has no case for ranges below 1
      (scales below 2 ** -15), and leaves what was in memory: wrong outputs, without an error,
      wherever an LSTM's states are small. TFLite Micro computes both.
    - The results of an LSTM, and its hidden state, are in the grid in which it computes them, since
      kernels copy the numbers. The converter gives them others, most where the results are joined
      with others, as in Bidirectional: wrong outputs, without an error.
    - The int8 values of a softmax, and the sums of other integers, pass through a coarser grid
      where they are next to nothing, as in networks that are not trained.
    """
    rules = _rules()
    graph = read(content)
    if not any(
        rules[graph.code(operator)](graph, number, operator)
        for number, operator in graph.all_operators()
        if graph.code(operator) in rules
    ):
        return content
    graph = Graph(content)
    for number, subgraph in enumerate(graph.model.subgraphs):
        ordered = []
        for operator in graph.operators(number):
            rule = rules.get(graph.code(operator))
            found = rule(graph, number, operator) if rule else None
            ordered += _widened(graph, number, operator, found) if found else [operator]
        subgraph.operators = ordered
    return graph.content()


def _rules() -> dict:
    """{operator: function of (graph, subgraph, operator) -> (which of its tensors, the scale that
    it should have), or None}; inputs count from 0, the output is -1."""
    ops = schema().BuiltinOperator
    return {
        ops.UNIDIRECTIONAL_SEQUENCE_LSTM: _cell_state,
        ops.SOFTMAX: _logits,
        ops.LOG_SOFTMAX: _logits,
        ops.ADD: _sum,
        ops.SUB: _sum,
    }


def _cell_state(graph: Graph, number: int, operator):
    found = _finer(graph, number, operator, _CELL_STATE, _FINEST_STATE, (2,))
    if found or not _copied(graph, number, operator):
        return found
    return _HIDDEN_STATE, 0.0


def _copied(graph: Graph, number: int, operator) -> bool:
    """Whether an LSTM of integers has other grids for its results or its hidden state than for
    the values that it computes."""
    state, result = int(operator.inputs[_HIDDEN_STATE]), int(operator.outputs[0])
    if not _size(graph, number, result) or not len(graph.scales(number, state)):
        return False
    want = _computed(graph, number, operator)
    return not all(
        _equal(graph.tensor(number, index).quantization, want) for index in (state, result)
    )


def _computed(graph: Graph, number: int, operator):
    """The grid of an LSTM's values: of its last intermediate tensor, else of its hidden state."""
    last = operator.intermediates
    index = operator.inputs[_HIDDEN_STATE] if last is None or not len(last) else last[-1]
    grid = graph.tensor(number, int(index)).quantization
    known = grid is not None and grid.scale is not None and len(grid.scale)
    return grid if known else graph.tensor(number, int(operator.inputs[_HIDDEN_STATE])).quantization


def _equal(one, other) -> bool:
    return one.scale[0] == other.scale[0] and int(one.zeroPoint[0]) == int(other.zeroPoint[0])


def _logits(graph: Graph, number: int, operator):
    beta = getattr(operator.builtinOptions, "beta", 1.0) or 1.0
    return _finer(graph, number, operator, 0, _FINEST_LOGIT / beta, (1,))


def _sum(graph: Graph, number: int, operator):
    steps = [graph.scales(number, int(index)) for index in operator.inputs]
    size = _size(graph, number, operator.inputs[0])
    if not all(map(len, steps)) or size not in _BITS:
        return None
    finest = 2.0 * float(np.max(steps)) / 2.0 ** _BITS[size]
    return _finer(graph, number, operator, -1, 1.01 * finest, (size,))


def _finer(graph: Graph, number: int, operator, place: int, finest: float, sizes: tuple):
    index = int(operator.outputs[0] if place < 0 else operator.inputs[place])
    scales = graph.scales(number, index)
    if len(scales) != 1 or scales[0] >= finest or _size(graph, number, index) not in sizes:
        return None
    return place, finest


def _size(graph: Graph, number: int, index: int) -> int:
    kinds = schema().TensorType
    return {kinds.INT8: 1, kinds.INT16: 2}.get(graph.tensor(number, int(index)).type, 0)


def _widened(graph: Graph, number: int, operator, found: tuple[int, float]) -> list:
    """The operators instead: what others read keeps its grid."""
    place, scale = found
    if place == _CELL_STATE:
        graph.tensor(number, int(operator.inputs[place])).quantization.scale = [scale]
    index = int(operator.inputs[place] if place == 0 else operator.outputs[0])
    tensor, grid = graph.tensor(number, index), schema().QuantizationParametersT()
    if place > 0:
        grid = _computed(graph, number, operator)
        graph.tensor(number, int(operator.inputs[_HIDDEN_STATE])).quantization = grid
        if _equal(grid, tensor.quantization):
            return [operator]
    else:
        grid.scale, grid.zeroPoint = [scale], list(tensor.quantization.zeroPoint)
    coarse = graph.new_tensor(number, tensor.shape, tensor.type, quantization=grid)
    graph.tensor(number, coarse).name = graph.tensor(number, int(operator.outputs[0])).name
    if place != 0:
        operator.outputs = [coarse]
        return [operator, graph.new_operator("QUANTIZE", [coarse], [index], version=2)]
    operator.inputs = [coarse if int(i) == index else int(i) for i in operator.inputs]
    return [graph.new_operator("QUANTIZE", [index], [coarse], version=2), operator]
