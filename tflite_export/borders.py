# SPDX-License-Identifier: Apache-2.0
"""The types of the numbers that a quantised file takes and returns."""

from __future__ import annotations

import copy
from dataclasses import dataclass, fields

from tflite_export.graph import Graph, read, schema
from tflite_export.ports import ports

__all__ = ["BORDER_TYPES", "Borders", "check_borders", "integers_outside", "signed", "unsigned"]

BORDER_TYPES = ("float32", "int8", "uint8", "int16")
_EIGHT = ("float32", "int8", "uint8")
# By number format; the others leave inputs and outputs in float32.
_POSSIBLE = {"int8": _EIGHT, "int4": _EIGHT, "int16x8": ("float32", "int16")}


@dataclass(frozen=True)
class Borders:
    """What the inputs and outputs of a file are, where the Keras model has real numbers.

    Fields: `input_type`, `output_type` = "float32", "int8", "uint8" (what cameras give) or "int16",
    or None for what the target takes by default: float32 on phones, the integers of the number
    format on the others. Integers are converted exactly: uint8 is int8 plus 128.

    Example:
        >>> Borders(input_type="uint8").resolved("int8", integer=True)
        Borders(input_type='uint8', output_type='int8')
        >>> Borders("uint8").resolved("int16x8", integer=True)
        Traceback (most recent call last):
        ValueError: input_type='uint8' needs quantize='int8' or 'int4'; 'int16x8' has float32, int16
    """

    input_type: str | None = None
    output_type: str | None = None

    def __post_init__(self):
        for name, value in self.chosen().items():
            # TensorFlow's and NumPy's types are equal to their names, but no text.
            if not isinstance(value, str) or value not in BORDER_TYPES:
                raise ValueError(
                    f"{name}={value!r}: expected one of {', '.join(map(repr, BORDER_TYPES))}, or "
                    "None"
                )

    def chosen(self) -> dict[str, str]:
        """{"input_type" or "output_type": type} of what is not left to the target."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        return {name: value for name, value in values.items() if value is not None}

    def resolved(self, quantize: str, *, integer: bool) -> Borders:
        """With the types of a number format where they were left to the target.

        Args:
            quantize: the number format.
            integer: whether the target takes and returns integers by default.
        Raises:
            ValueError: a type that files of this format cannot have.
        """
        possible = _POSSIBLE.get(quantize, ("float32",))
        for name, value in self.chosen().items():
            if value not in possible:
                others = [repr(form) for form, types in _POSSIBLE.items() if value in types]
                raise ValueError(
                    f"{name}={value!r} needs quantize={' or '.join(others)}; {quantize!r} has "
                    f"{', '.join(possible)}"
                )
        usual = "float32"
        if integer and quantize in _POSSIBLE:
            usual = "int16" if quantize == "int16x8" else "int8"
        return Borders(self.input_type or usual, self.output_type or usual)


def signed(kind: str) -> str:
    """The type that converters make: of uint8, int8, which `unsigned` shifts afterwards."""
    return "int8" if kind == "uint8" else kind


def integers_outside(content: bytes, borders: Borders) -> bytes:
    """A file of integers that takes and returns float32, with integers where they are asked for:
    what its inputs are quantized to, and what its outputs are dequantized from.

    Args:
        content: bytes of a .tflite file.
        borders: the types of both sides; uint8 counts as int8.
    """
    graph = Graph(content)
    operators, subgraph = graph.operators(), graph.model.subgraphs[0]
    if borders.input_type != "float32":
        inner: dict[int, int] = {}
        for index in map(int, subgraph.inputs):
            readers = [operator for operator, _ in graph.readers(index)]
            if index in subgraph.outputs or {graph.operator_name(o) for o in readers} != {
                    "QUANTIZE"}:
                continue
            first, *others = readers
            inner[index] = int(first.outputs[0])
            operators.remove(first)
            for other in others:  # into another grid
                other.inputs = [inner[index]]
        _exchange(graph, "inputs", inner)
    if borders.output_type != "float32":
        inner = {int(operator.outputs[0]): int(operator.inputs[0]) for operator in operators
                 if graph.operator_name(operator) == "DEQUANTIZE"
                 and operator.outputs[0] in subgraph.outputs}
        subgraph.operators = [o for o in operators if not graph.operator_name(o) == "DEQUANTIZE"
                              or o.outputs[0] not in inner or graph.readers(int(o.outputs[0]))]
        _exchange(graph, "outputs", inner)
    else:
        subgraph.operators = operators
    return graph.content()


def unsigned(content: bytes, borders: Borders) -> bytes:
    """The file with uint8 for int8 where that is asked for: scales stay, zero points rise by 128.

    The int8 tensors stay inside, behind a QUANTIZE, which is exact: it adds or subtracts 128.

    Args:
        content: bytes of a .tflite file of int8 inputs or outputs.
        borders: the types of both sides; other ones than uint8 change nothing.
    Raises:
        ValueError: an input that is an output as well cannot be integers here and float32 there:
            the converter, and ai-edge-quantizer, write a wrong file then.
    """
    taken, subgraph = ports(content)[0], read(content).model.subgraphs[0]
    both = [port for port, index in zip(taken, subgraph.inputs) if index in subgraph.outputs]
    if both and signed(borders.input_type) != signed(borders.output_type):
        raise ValueError(
            f"input {both[0].name!r} is an output as well, so it cannot be {borders.input_type} "
            f"here and {borders.output_type} there; set input_type= and output_type= alike"
        )
    if "uint8" not in (borders.input_type, borders.output_type):
        return content
    graph = Graph(content)
    before, after = [], []
    if borders.input_type == "uint8":
        for index, twin in _exchanged(graph, "inputs").items():
            before.append(_quantize(graph, twin, index))
    if borders.output_type == "uint8":
        for index, twin in _exchanged(graph, "outputs").items():
            after.append(_quantize(graph, index, twin))
    graph.model.subgraphs[0].operators = [*before, *graph.operators(), *after]
    return graph.content()


def check_borders(content: bytes, borders: Borders) -> list[str]:
    """Remarks on inputs and outputs that are no quantised numbers: indices, or what an operator
    without an integer kernel takes or gives.

    Args:
        content: bytes of a .tflite file.
        borders: as they were asked for.
    Raises:
        ValueError: none of them has the type that was asked for.
    """
    remarks, sides = [], dict(zip(("input_type", "output_type"), ports(content), strict=True))
    for name, wanted in borders.chosen().items():
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
    setattr(subgraph, side, [found.get(int(index), int(index))
                             for index in getattr(subgraph, side)])
    for entry in getattr(graph.model.signatureDefs[0], side):
        entry.tensorIndex = found.get(entry.tensorIndex, entry.tensorIndex)


def _quantize(graph: Graph, taken: int, given: int):
    fb = schema()
    operator = fb.OperatorT()
    operator.opcodeIndex = graph.operator_code(fb.BuiltinOperator.QUANTIZE, 1)
    operator.inputs, operator.outputs = [taken], [given]
    return operator
