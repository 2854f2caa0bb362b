"""The numbers in which integer LSTMs keep their cell states."""

from __future__ import annotations

from collections.abc import Iterator

from tflite_export.graph import Graph, read, schema

__all__ = ["widened"]

_CELL_STATE = 19  # input of UNIDIRECTIONAL_SEQUENCE_LSTM
_FINEST = 2.0**-15


def widened(content: bytes) -> bytes:
    """A file whose int16 cell states reach at least from -1 to 1.

    The converter takes the next power of two over what it has seen. LiteRT's tanh of a cell state
    has no case for ranges below 1 (scales below 2 ** -15), and leaves what was in memory: wrong
    outputs, without an error, wherever an LSTM's states are small. TFLite Micro computes both.
    """
    if not any(_narrow(read(content))):
        return content
    graph = Graph(content)
    for tensor in _narrow(graph):
        tensor.quantization.scale = [_FINEST]
    return graph.content()


def _narrow(graph: Graph) -> Iterator:
    """The cell states with a scale that is too fine."""
    fb = schema()
    for number in range(len(graph.model.subgraphs)):
        for operator in graph.operators(number):
            if graph.code(operator) != fb.BuiltinOperator.UNIDIRECTIONAL_SEQUENCE_LSTM:
                continue
            tensor = graph.tensor(number, int(operator.inputs[_CELL_STATE]))
            if tensor.type == fb.TensorType.INT16 and tensor.quantization.scale[0] < _FINEST:
                yield tensor
