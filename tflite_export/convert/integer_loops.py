# SPDX-License-Identifier: Apache-2.0
"""Loops of integers: a WHILE in a file around one step of a recurrent layer."""

from __future__ import annotations

import copy

import numpy as np

from tflite_export.flatbuffer.graph import Graph, schema, text

__all__ = ["joined"]

_SAME = 1e-3


def joined(main: bytes, steps: list[bytes], names: list[str]) -> bytes:
    """A file whose recurrent layers are loops.

    Args:
        main: the file of the model without them, as `recurrent_steps.cut_out` makes it.
        steps: the file of one step of each, of integers from end to end.
        names: of the layers' results.
    """
    graph = Graph(main)
    for number, (step, name) in enumerate(zip(steps, names, strict=True)):
        _Loop(graph, Graph(step), name).write(
            _port(graph, "outputs", f"taken_{number}"), _port(graph, "inputs", f"given_{number}")
        )
    extra = {f"{side}_{n}" for side in ("taken", "given") for n in range(len(steps))}
    subgraph, signature = graph.model.subgraphs[0], graph.model.signatureDefs[0]
    for side in ("inputs", "outputs"):
        kept = [port for port in getattr(signature, side) if text(port.name) not in extra]
        dropped = [
            _port(graph, side, text(port.name))
            for port in getattr(signature, side)
            if port not in kept
        ]
        ends = [int(index) for index in getattr(subgraph, side)]
        for index in dropped:
            ends.remove(index)
        setattr(signature, side, kept)
        setattr(subgraph, side, ends)
    _sort(graph)
    return graph.content()


def _port(graph: Graph, side: str, name: str) -> int:
    ports = getattr(graph.model.signatureDefs[0], side)
    return next(int(port.tensorIndex) for port in ports if text(port.name) == name)


class _Loop:
    """Writes one loop: its variables are the step's number, the sequence, the states, and the
    results of all steps where the layer returns them."""

    def __init__(self, graph: Graph, step: Graph, name: str):
        self.graph, self.step, self.name = graph, step, name
        self.states = sorted(text(port.name) for port in step.model.signatureDefs[0].outputs)

    def write(self, taken: int, given: int) -> None:
        """Put the loop between the tensor that it reads and the one that it gives."""
        graph, every = self.graph, len(self.graph.tensor(0, given).shape) == 3
        taken = self._as_integers(taken)
        sequence, result = graph.tensor(0, taken), graph.tensor(0, given)
        kinds = [self.step.tensor(0, _port(self.step, "inputs", name)) for name in self.states]
        self.variables = [
            ([1], schema().TensorType.INT32, None),
            (list(sequence.shape), sequence.type, sequence.quantization),
            *((list(kind.shape), kind.type, kind.quantization) for kind in kinds),
        ]
        if every:
            self.variables.append((list(result.shape), kinds[0].type, kinds[0].quantization))
        before = [_integers(graph, 0, [0]), taken, *(self._zeros(0, kind) for kind in kinds)]
        operators = []
        if every:
            before.append(self._tensor(0, self.variables[-1]))
            point = _zero_point(kinds[0])
            value = graph.new_tensor(
                0,
                [],
                kinds[0].type,
                quantization=kinds[0].quantization,
                content=np.array(point, _dtype(kinds[0])).tobytes(),
            )
            operators.append(
                self.graph.new_operator(
                    "FILL", [_integers(graph, 0, list(result.shape)), value], before[-1:], version=3
                )
            )
        after = [self._tensor(0, variable) for variable in self.variables]
        for index in after:
            graph.tensor(0, index).name = self.name
        options = schema().WhileOptionsT()
        options.condSubgraphIndex = self._condition(int(sequence.shape[1]))
        options.bodySubgraphIndex = self._body(every)
        loop = self.graph.new_operator("WHILE", before, after)
        loop.builtinOptionsType, loop.builtinOptions = (
            schema().BuiltinOptions.WhileOptions,
            options,
        )
        made = after[-1] if every else after[2]
        graph.model.subgraphs[0].operators += [*operators, loop]
        self._given(made, given)

    def _as_integers(self, taken: int) -> int:
        """The sequence before it is made float32, or after it is made integers, here or there."""
        graph = self.graph
        if len(graph.scales(0, taken)) and _is_integer(graph.tensor(0, taken)):
            return taken
        for operator in graph.operators():
            if taken in operator.outputs and graph.operator_name(operator) == "DEQUANTIZE":
                return int(operator.inputs[0])
            if taken in operator.inputs and graph.operator_name(operator) == "QUANTIZE":
                return int(operator.outputs[0])
        x = self.step.tensor(0, _port(self.step, "inputs", "x"))
        stored = graph.new_tensor(
            0, graph.tensor(0, taken).shape, x.type, quantization=x.quantization
        )
        graph.model.subgraphs[0].operators.append(
            self.graph.new_operator("QUANTIZE", [taken], [stored])
        )
        return stored

    def _given(self, made: int, given: int) -> None:
        graph, tensor = self.graph, self.graph.tensor(0, given)
        if _is_integer(tensor) and len(graph.scales(0, given)):
            graph.model.subgraphs[0].operators.append(
                self.graph.new_operator("QUANTIZE", [made], [given], version=2)
            )
            return
        readers = graph.readers(given)
        whole = given in [int(index) for index in graph.model.subgraphs[0].outputs]
        for reader, position in readers:
            if graph.operator_name(reader) == "QUANTIZE":
                reader.inputs[position] = made
            else:
                whole = True
        if whole:
            graph.model.subgraphs[0].operators.append(
                self.graph.new_operator("DEQUANTIZE", [made], [given], version=2)
            )

    def _condition(self, count: int) -> int:
        number = self._subgraph()
        answer = self.graph.new_tensor(number, [1], schema().TensorType.BOOL)
        subgraph = self.graph.model.subgraphs[number]
        subgraph.operators.append(
            self.graph.new_operator("LESS", [0, _integers(self.graph, number, [count])], [answer])
        )
        subgraph.outputs = [answer]
        return number

    def _body(self, every: bool) -> int:
        number = self._subgraph()
        graph, fb = self.graph, schema()
        subgraph = graph.model.subgraphs[number]
        add = subgraph.operators.append
        shape, kind, grid = self.variables[1]
        x = self.step.tensor(0, _port(self.step, "inputs", "x"))
        read = graph.new_tensor(number, [1, 1, shape[2]], kind, quantization=grid)
        options = fb.GatherOptionsT()
        options.axis = 1
        gather = self.graph.new_operator("GATHER", [1, 0], [read], version=3)
        gather.builtinOptionsType, gather.builtinOptions = fb.BuiltinOptions.GatherOptions, options
        add(gather)
        row = graph.new_tensor(number, [1, shape[2]], kind, quantization=grid)
        add(self._reshape(number, read, row))
        row = self._regridded(number, row, x)
        inputs = {"x": row, **{name: 2 + n for n, name in enumerate(self.states)}}
        results = self._inlined(number, inputs)
        after = [
            self._regridded(number, results[name], graph.tensor(number, inputs[name]))
            for name in self.states
        ]
        following = self._tensor(number, self.variables[0])
        add(self._with_options("ADD", [0, _integers(graph, number, [1])], [following], "Add"))
        outputs = [following, 1, *after]
        if every:
            shape = self.variables[-1][0]
            one = graph.new_tensor(
                number, [1, 1, shape[2]], self.variables[-1][1], quantization=self.variables[-1][2]
            )
            add(self._reshape(number, after[0], one))
            place = graph.new_tensor(number, [3], fb.TensorType.INT32)
            edge = _integers(graph, number, [0])
            add(self._with_options("CONCATENATION", [edge, 0, edge], [place], "Concatenation"))
            outputs.append(self._tensor(number, self.variables[-1]))
            add(
                self.graph.new_operator(
                    "DYNAMIC_UPDATE_SLICE", [2 + len(self.states), one, place], outputs[-1:]
                )
            )
        subgraph.outputs = outputs
        return number

    def _subgraph(self) -> int:
        made = schema().SubGraphT()
        made.tensors, made.operators, made.outputs = [], [], []
        self.graph.model.subgraphs.append(made)
        number = len(self.graph.model.subgraphs) - 1
        made.inputs = [self._tensor(number, variable) for variable in self.variables]
        return number

    def _inlined(self, number: int, inputs: dict[str, int]) -> dict[str, int]:
        """The step's operators in a subgraph; {state: the tensor of its next value}."""
        graph, step = self.graph, self.step
        places = {_port(step, "inputs", name): index for name, index in inputs.items()}
        for index, tensor in enumerate(step.model.subgraphs[0].tensors):
            if index in places:
                continue
            content = step.bytes_of(0, index)
            places[index] = graph.new_tensor(
                number,
                step.shape(0, index),
                tensor.type,
                quantization=tensor.quantization,
                content=content or None,
            )
            graph.tensor(number, places[index]).name = tensor.name
        for operator in step.operators():
            entry, made = step.model.operatorCodes[operator.opcodeIndex], copy.copy(operator)
            made.opcodeIndex = graph.operator_code(step.code(operator), entry.version)
            made.inputs = [places.get(int(index), -1) for index in operator.inputs]
            made.outputs = [places[int(index)] for index in operator.outputs]
            graph.model.subgraphs[number].operators.append(made)
        return {name: places[_port(step, "outputs", name)] for name in self.states}

    def _regridded(self, number: int, index: int, like) -> int:
        """The same numbers in another tensor's grid."""
        graph = self.graph
        have, want = graph.tensor(number, index).quantization, like.quantization
        close = abs(have.scale[0] / want.scale[0] - 1) < _SAME
        if close and list(have.zeroPoint) == list(want.zeroPoint):
            return index
        made = graph.new_tensor(
            number, graph.tensor(number, index).shape, like.type, quantization=like.quantization
        )
        graph.model.subgraphs[number].operators.append(
            self.graph.new_operator("QUANTIZE", [index], [made], version=2)
        )
        return made

    def _tensor(self, number: int, variable: tuple) -> int:
        shape, kind, grid = variable
        return self.graph.new_tensor(number, shape, kind, quantization=grid)

    def _zeros(self, number: int, like) -> int:
        content = np.full(like.shape, _zero_point(like), _dtype(like)).tobytes()
        return self.graph.new_tensor(
            number, like.shape, like.type, quantization=like.quantization, content=content
        )

    def _reshape(self, number: int, taken: int, given: int):
        shape = _integers(self.graph, number, list(self.graph.tensor(number, given).shape))
        return self.graph.new_operator("RESHAPE", [taken, shape], [given])

    def _with_options(self, name: str, inputs, outputs, kind: str):
        made = self.graph.new_operator(name, inputs, outputs)
        made.builtinOptionsType = getattr(schema().BuiltinOptions, f"{kind}Options")
        made.builtinOptions = getattr(schema(), f"{kind}OptionsT")()
        return made


def _sort(graph: Graph) -> None:
    """Put the operators of the first graph in an order in which each finds what it reads."""
    waiting = list(graph.operators())
    missing = {int(index) for operator in waiting for index in operator.outputs}
    ordered: list = []
    while waiting:
        ready = [o for o in waiting if not missing & {int(index) for index in o.inputs}]
        if not ready:
            raise ValueError("the model's recurrent layers read what comes after them")
        first = ready[0]
        waiting.remove(first)
        missing -= {int(index) for index in first.outputs}
        ordered.append(first)
    graph.model.subgraphs[0].operators = ordered


def _integers(graph: Graph, number: int, values: list[int]) -> int:
    return graph.new_tensor(
        number,
        [len(values)],
        schema().TensorType.INT32,
        content=np.array(values, np.int32).tobytes(),
    )


def _is_integer(tensor) -> bool:
    return tensor.type in (schema().TensorType.INT8, schema().TensorType.INT16)


def _dtype(tensor) -> type:
    return np.int8 if tensor.type == schema().TensorType.INT8 else np.int16


def _zero_point(tensor) -> int:
    points = tensor.quantization.zeroPoint
    return 0 if points is None or not len(points) else int(points[0])
