# SPDX-License-Identifier: Apache-2.0
"""A subgraph the way XNNPACK gets it: constants resolved, zero padding merged."""

from __future__ import annotations

import numpy as np

from tflite_export.flatbuffer.graph import Graph, operands, schema

__all__ = ["Subgraph"]

# Executed by LiteRT itself in all releases that were looked at. What is not listed is taken as
# executed by XNNPACK: then less is cut, and more can go wrong.
_NOT_EXECUTED = ("POW", "RESIZE_NEAREST_NEIGHBOR", "TILE")


class Subgraph:
    """Reads one subgraph of a dense file, or a part of it.

    Args:
        graph: the file.
        subgraph: number of the subgraph.
        part: positions of the operators to look at; all by default.
    """

    def __init__(self, graph: Graph, subgraph: int = 0, part: set[int] | None = None):
        self.graph, self.subgraph = graph, subgraph
        self._tensors = graph.model.subgraphs[subgraph].tensors
        self._constants = {
            index: array
            for (number, index), array in graph.constants().items()
            if number == subgraph
        }
        self._stored: dict[int, int] = {}
        every = graph.operators(subgraph)
        operators = [o for n, o in enumerate(every) if part is None or n in part]
        # A float16 weight reaches its reader through DEQUANTIZE, and is constant nevertheless.
        for operator in operators:
            if self.kind(operator) == "DEQUANTIZE":
                stored = self._constants.get(int(operator.inputs[0]))
                if stored is not None and stored.dtype == np.float16:
                    self._constants[int(operator.outputs[0])] = stored
                    self._stored[int(operator.outputs[0])] = int(operator.inputs[0])
        resting = [o for o in operators if int(o.outputs[0]) in self._constants]
        self.outputs = {int(index) for index in graph.model.subgraphs[subgraph].outputs}
        self.outputs |= {
            index
            for n, o in enumerate(every)
            if part is not None and n not in part
            for index in self.inputs(o)
        }
        self._read = [
            index
            for operator in operators
            if not any(operator is o for o in resting)
            for index in self.inputs(operator)
        ]
        self._producers = {int(t): o for o in operators for t in o.outputs}
        merged = [self.padding_before(o) for o in operators]
        self.operators = [
            o for o in operators if not any(o is gone for gone in (*resting, *merged))
        ]

    @classmethod
    def parts(cls, graph: Graph, subgraph: int) -> list[Subgraph]:
        """The parts of a subgraph that XNNPACK gets one by one, cut by what it does not execute.

        Operators are taken as the interpreter does: all that can run, then all others that can.
        """
        whole = cls(graph, subgraph)
        operators = graph.operators(subgraph)
        apart = {n for n, o in enumerate(operators) if whole.kind(o) in _NOT_EXECUTED}
        if not apart:
            return [whole]
        waiting, parts = set(range(len(operators))), []
        made = {int(t) for o in operators for t in o.outputs}
        while waiting:
            side: bool | None = None
            part: set[int] = set()
            for n, operator in enumerate(operators):
                ready = not made.intersection(whole.inputs(operator))
                if n in waiting and ready and side in (None, n in apart):
                    side = n in apart
                    part.add(n)
                    made.difference_update(int(t) for t in operator.outputs)
            if not part:
                break  # A cycle: no runtime executes what is left.
            waiting -= part
            parts += [] if side else [cls(graph, subgraph, part)]
        return parts or [whole]

    def kind(self, operator) -> str:
        """The operator's name in the schema, such as "CONV_2D"."""
        return self.graph.operator_name(operator)

    def label(self, operator) -> str:
        """Kind and name of an operator, as messages show it: the name is its first output's."""
        name = self.graph.name(self.subgraph, int(operator.outputs[0])).split(";")[0]
        return f"{self.kind(operator)} {name!r}"

    def shape(self, index: int) -> tuple[int, ...]:
        """Shape of a tensor, 1 for an open batch."""
        return self.graph.shape(self.subgraph, index)

    def constant(self, index: int) -> np.ndarray | None:
        """The stored values of a tensor, or None if it is computed."""
        return self._constants.get(int(index))

    def stored(self, index: int) -> int:
        """The tensor that stores a constant: another one where it reaches its reader converted."""
        return self._stored.get(index, index)

    def is_float(self, index: int) -> bool:
        """Whether a tensor holds float values, for a constant as they are stored."""
        kinds = schema().TensorType
        constant = self.constant(index)
        if constant is not None:
            return constant.dtype.kind == "f"
        return self._tensors[index].type in (kinds.FLOAT32, kinds.FLOAT16)

    def inputs(self, operator) -> list[int]:
        """Tensors that an operator reads, absent ones left out."""
        return [index for index in operands(operator) if index >= 0]

    def padding_before(self, operator):
        """The zero PAD that is merged into a convolution without padding of its own, or None."""
        if self.kind(operator) not in ("CONV_2D", "DEPTHWISE_CONV_2D"):
            return None
        source = int(operator.inputs[0])
        pad = self._producers.get(source)
        if pad is None or self.kind(pad) != "PAD" or self._read.count(source) != 1:
            return None
        sizes = self.constant(pad.inputs[1])
        options = operator.builtinOptions
        strided = (options.strideH, options.strideW) != (1, 1)
        keeps_same = options.padding == schema().Padding.SAME and strided
        if source in self.outputs or sizes is None or sizes.shape != (4, 2) or keeps_same:
            return None
        return None if np.any(sizes[[0, 3]]) else pad
