# SPDX-License-Identifier: Apache-2.0
"""Grids of integers that are finer than kernels can compute with, made coarser."""

from __future__ import annotations

import numpy as np

from tflite_export.graph import Graph, read, schema

__all__ = ["widened"]

_CELL_STATE = 19  # input of UNIDIRECTIONAL_SEQUENCE_LSTM
_FINEST_STATE = 2.0**-15
# The softmax of such values is even: the largest of them, 127 * 2 ** -24, is 1.00001 after exp().
# Below 2 ** -26 a check in TFLite Micro's ends the process.
_FINEST_LOGIT = 2.0**-24
# Sums are computed with so many bits below the larger step of the two. Steps beyond those end the
# process, in LiteRT and in TFLite Micro; rounding has left nothing of the sum there.
_BITS = {1: 20, 2: 15}  # {bytes of a number: bits}


def widened(content: bytes) -> bytes:
    """A file whose grids are all coarse enough; where values have vanished, they stay zeros.

    - int16 cell states of LSTMs reach at least from -1 to 1. The converter takes the next power of
      two over what it has seen. LiteRT's tanh of a cell state has no case for ranges below 1
      (scales below 2 ** -15), and leaves what was in memory: wrong outputs, without an error,
      wherever an LSTM's states are small. TFLite Micro computes both.
    - The int8 values of a softmax, and the sums of other integers, pass through a coarser grid
      where they are next to nothing, as in networks that are not trained.
    """
    rules = _rules()
    graph = read(content)
    if not any(rules[code](graph, number, operator)
               for code, number, operator in _operators(graph, rules)):
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


def _operators(graph: Graph, codes):
    for number in range(len(graph.model.subgraphs)):
        for operator in graph.operators(number):
            if graph.code(operator) in codes:
                yield graph.code(operator), number, operator


def _rules() -> dict:
    """{operator: function of (graph, subgraph, operator) -> (which of its tensors, the scale that
    it should have), or None}; inputs count from 0, the output is -1."""
    ops = schema().BuiltinOperator
    return {ops.UNIDIRECTIONAL_SEQUENCE_LSTM: _cell_state, ops.SOFTMAX: _logits,
            ops.LOG_SOFTMAX: _logits, ops.ADD: _sum, ops.SUB: _sum}


def _cell_state(graph: Graph, number: int, operator):
    return _finer(graph, number, operator, _CELL_STATE, _FINEST_STATE, (2,))


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
        return [operator]
    index = int(operator.outputs[0] if place < 0 else operator.inputs[place])
    tensor, grid = graph.tensor(number, index), schema().QuantizationParametersT()
    grid.scale, grid.zeroPoint = [scale], list(tensor.quantization.zeroPoint)
    coarse = graph.new_tensor(number, tensor.shape, tensor.type, quantization=grid)
    graph.tensor(number, coarse).name = graph.tensor(number, int(operator.outputs[0])).name
    between = schema().OperatorT()
    between.opcodeIndex = graph.operator_code(schema().BuiltinOperator.QUANTIZE, 2)
    if place < 0:
        operator.outputs, between.inputs, between.outputs = [coarse], [coarse], [index]
        return [operator, between]
    between.inputs, between.outputs = [index], [coarse]
    operator.inputs = [coarse if int(i) == index else int(i) for i in operator.inputs]
    return [between, operator]
