# SPDX-License-Identifier: Apache-2.0
"""The inputs and outputs of a file, brought into the model's order and the types asked for."""

from __future__ import annotations

import copy

from tflite_export.devices.io_types import IOTypes
from tflite_export.flatbuffer.graph import Graph, read, schema, text
from tflite_export.flatbuffer.signature_io import ports

__all__ = ["check_io_types", "in_order", "integers_outside", "signed", "unsigned"]


def in_order(content: bytes, inputs: tuple[str, ...], outputs: tuple[str, ...]) -> bytes:
    """A file whose inputs and outputs lie at the positions that are asked for.

    Converters sort them as they please; TFLite Micro, C and most programs ask for them by position.

    Args:
        content: bytes of a .tflite file with a signature.
        inputs, outputs: their names in the signature, in the order to be.
    Returns:
        The file; the argument itself if its order is that already.
    Raises:
        RuntimeError: the file has others.
    """
    if _sides(read(content), inputs, outputs)[1]:
        return content
    graph = Graph(content)
    for side, found in _sides(graph, inputs, outputs)[0].items():
        setattr(graph.model.signatureDefs[0], side, found)
        setattr(graph.model.subgraphs[0], side, [entry.tensorIndex for entry in found])
    return graph.content()


def _sides(graph: Graph, inputs, outputs) -> tuple[dict[str, list], bool]:
    """The entries of the signature in order, and whether the file's tensors lie so."""
    found, right = {}, True
    for side, names in (("inputs", inputs), ("outputs", outputs)):
        entries = {text(e.name): e for e in getattr(graph.model.signatureDefs[0], side)}
        if entries.keys() != set(names):
            raise RuntimeError(f"the file has {side} {sorted(entries)}, expected {sorted(names)}")
        found[side] = [entries[name] for name in names]
        lie = [int(index) for index in getattr(graph.model.subgraphs[0], side)]
        right &= lie == [entry.tensorIndex for entry in found[side]]
    return found, right


def signed(kind: str | None) -> str | None:
    """The type that converters make: of uint8, int8, which `unsigned` shifts afterward."""
    return "int8" if kind == "uint8" else kind


def integers_outside(content: bytes, io_types: IOTypes) -> bytes:
    """A file of integers that takes and returns float32, with integers where they are asked for:
    what its inputs are quantized to, and what its outputs are dequantized from.

    Args:
        content: bytes of a .tflite file.
        io_types: the types of both sides; uint8 counts as int8.
    """
    graph = Graph(content)
    operators, subgraph = graph.operators(), graph.model.subgraphs[0]
    if io_types.input_type != "float32":
        inner: dict[int, int] = {}
        for index in map(int, subgraph.inputs):
            readers = [operator for operator, _ in graph.readers(index)]
            if index in subgraph.outputs or {graph.operator_name(o) for o in readers} != {
                "QUANTIZE"
            }:
                continue
            first, *others = readers
            inner[index] = int(first.outputs[0])
            operators.remove(first)
            for other in others:  # into another grid
                other.inputs = [inner[index]]
        _exchange(graph, "inputs", inner)
    if io_types.output_type != "float32":
        inner = {
            int(operator.outputs[0]): int(operator.inputs[0])
            for operator in operators
            if graph.operator_name(operator) == "DEQUANTIZE"
            and operator.outputs[0] in subgraph.outputs
        }
        subgraph.operators = [
            o
            for o in operators
            if not graph.operator_name(o) == "DEQUANTIZE"
            or o.outputs[0] not in inner
            or graph.readers(int(o.outputs[0]))
        ]
        _exchange(graph, "outputs", inner)
    else:
        subgraph.operators = operators
    return graph.content()


def unsigned(content: bytes, io_types: IOTypes) -> bytes:
    """The file with uint8 for int8 where that is asked for: scales stay, zero points rise by 128.

    The int8 tensors stay inside, behind a QUANTIZE, which is exact: it adds or subtracts 128.

    Args:
        content: bytes of a .tflite file of int8 inputs or outputs.
        io_types: the types of both sides; other ones than uint8 change nothing.
    Raises:
        ValueError: an input that is an output as well cannot be integers here and float32 there:
            the converter, and ai-edge-quantizer, write a wrong file then.
    """
    taken, subgraph = ports(content)[0], read(content).model.subgraphs[0]
    pairs = zip(taken, subgraph.inputs, strict=True)
    both = [port for port, index in pairs if index in subgraph.outputs]
    if both and signed(io_types.input_type) != signed(io_types.output_type):
        raise ValueError(
            f"input {both[0].name!r} is an output as well, so it cannot be {io_types.input_type} "
            f"here and {io_types.output_type} there; set input_type= and output_type= alike"
        )
    if "uint8" not in (io_types.input_type, io_types.output_type):
        return content
    graph = Graph(content)
    before, after = [], []
    if io_types.input_type == "uint8":
        for index, twin in _exchanged(graph, "inputs").items():
            before.append(graph.new_operator("QUANTIZE", [twin], [index]))
    if io_types.output_type == "uint8":
        for index, twin in _exchanged(graph, "outputs").items():
            after.append(graph.new_operator("QUANTIZE", [index], [twin]))
    graph.model.subgraphs[0].operators = [*before, *graph.operators(), *after]
    return graph.content()


def check_io_types(content: bytes, io_types: IOTypes) -> list[str]:
    """Remarks on inputs and outputs that are no quantized numbers: indices, or what an operator
    without an integer kernel takes or gives.

    Args:
        content: bytes of a .tflite file.
        io_types: as they were asked for.
    Raises:
        ValueError: none of them has the type that was asked for.
    """
    remarks, sides = [], dict(zip(("input_type", "output_type"), ports(content), strict=True))
    for name, wanted in io_types.chosen().items():
        others = [port for port in sides[name] if port.dtype != wanted]
        if len(others) == len(sides[name]):
            raise ValueError(
                f"{name}={wanted!r}: there is no {name.partition('_')[0]} that the file quantizes; "
                f"it has {'; '.join(map(str, others))}"
            )
        remarks += [f"{p}: not {wanted}, since the file does not quantize it" for p in others]
    return remarks


def _exchanged(graph: Graph, side: str) -> dict[int, int]:
    """{int8 tensor: the new uint8 tensor of the same real values that took its name and place}."""
    kinds, found, subgraph = schema().TensorType, {}, graph.model.subgraphs[0]
    indices = [int(index) for index in getattr(subgraph, side)]
    for index in indices:
        tensor = graph.tensor(0, index)
        if tensor.type != kinds.INT8 or not len(graph.scales(0, index)) or index in found:
            continue
        table = copy.deepcopy(tensor.quantization)
        table.zeroPoint = [int(zero) + 128 for zero in table.zeroPoint]
        found[index] = graph.new_tensor(0, tensor.shape, kinds.UINT8, quantization=table)
        twin = graph.tensor(0, found[index])
        twin.shapeSignature = tensor.shapeSignature
        twin.name, tensor.name = graph.name(0, index), f"{graph.name(0, index)}_int8"
    _exchange(graph, side, found)
    return found


def _exchange(graph: Graph, side: str, found: dict[int, int]) -> None:
    """Other tensors as inputs or outputs."""
    subgraph = graph.model.subgraphs[0]
    setattr(
        subgraph, side, [found.get(int(index), int(index)) for index in getattr(subgraph, side)]
    )
    for entry in getattr(graph.model.signatureDefs[0], side):
        entry.tensorIndex = found.get(entry.tensorIndex, entry.tensorIndex)
