# SPDX-License-Identifier: Apache-2.0
"""The Keras layer that an operator of a file comes from, read from the names of its tensors."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field

from tflite_export.flatbuffer.graph import Graph, operands, text

__all__ = ["Origins", "failed", "origins", "with_layers"]

# "Node CONCATENATION (number 4) failed" of TFLite Micro, "Node number 9 (DIV) failed" of LiteRT.
_MICRO = re.compile(r"Node (?P<name>\w+) \(number (?P<number>\d+)\w? ?\)")
_LITERT = re.compile(r"Node number (?P<number>\d+) \((?P<name>\w+)\)")


@dataclass(frozen=True)
class Origins:
    """The layers of a model, as the names in its file speak of them.

    Fields: `layers` = {layer name: class name}; `ends` = {output name: name that TensorFlow gives
    what computes it}, since a file calls its last tensors otherwise; `numbered` = the Keras
    appends a number to every name, as Keras 3 does.
    """

    layers: dict[str, str] = field(default_factory=dict)
    ends: dict[str, str] = field(default_factory=dict)
    numbered: bool = False

    def layer(self, name: str) -> str | None:
        """The innermost layer in a name such as "model/block/conv_1/Relu;model/block/bn/add".

        Example:
            >>> Origins({"conv": "Conv2D"}, numbered=True).layer("functional_1/conv_1/Relu")
            'conv'
        """
        for path in name.split(";"):
            for part in reversed(path.split("/")):
                bare = re.sub(r"_\d+$", "", part)
                for layer in (bare, part) if self.numbered else (part, bare):
                    if layer in self.layers:
                        return layer
        return None

    def named(self, name: str) -> str | None:
        """The same as it is printed: "'conv' (Conv2D)"."""
        layer = self.layer(name)
        return layer and f"{layer!r} ({self.layers[layer]})"

    def of(self, graph: Graph, operator, number: int = 0) -> str | None:
        """The layer of an operator: by its results, else by what it reads, last what is before."""
        given = [int(index) for index in operator.outputs]
        given += [
            int(reader.outputs[0])
            for index in given
            for reader, _ in graph.readers(index, number)
            if graph.operator_name(reader) in ("DEQUANTIZE", "QUANTIZE")
        ]
        taken = [index for index in operands(operator) if index >= 0]
        stored = [index for index in taken if graph.bytes_of(number, index)]
        ends = [self.ends[name] for name in _output_names(graph, given) if name in self.ends]
        names = [*ends, *(graph.name(number, index) for index in (*given, *stored, *taken))]
        return next(filter(None, map(self.named, names)), None)

    def blamed(self, graph: Graph, operators: Iterable[str]) -> str:
        """Names of operators, each with the layers that need it.

        Args:
            graph: the file, with the names of its tensors.
            operators: e.g. ("TOPK_V2",).
        """
        return ", ".join(
            with_layers(
                name,
                (
                    self.of(graph, operator, number)
                    for number, operator in graph.all_operators()
                    if graph.operator_name(operator) == name
                ),
            )
            for name in operators
        )

    def explained(self, message: str, graph: Graph) -> str:
        """An interpreter's message, with the layer of the operator that it names."""
        if (found := failed(message)) is None:
            return message
        name, position = found
        # Loops have graphs of their own, and some runtimes number anew what they have rewritten.
        layers = [
            self.of(graph, graph.operators(number)[position], number)
            for number in range(len(graph.model.subgraphs))
            if position < len(graph.operators(number))
            and graph.operator_name(graph.operators(number)[position]) == name
        ]
        told = with_layers(name, layers)
        if told == name:
            told = self.blamed(graph, (name,))
        return message if told == name else f"{message} [{told}]"


def origins(layers: Iterable, ends: dict[str, str], *, numbered: bool) -> Origins:
    """The `Origins` of a model.

    Args:
        layers: all of its layers, at any depth, itself included.
        ends, numbered: as the fields.
    """
    # A cell is known to whoever wrote the layer around it; a model is not what a reader looks for.
    kinds = {layer.name: type(layer) for layer in layers}
    return Origins(
        {
            name: kind.__name__
            for name, kind in kinds.items()
            if not kind.__name__.endswith("Cell") and not hasattr(kind, "train_step")
        },
        ends,
        numbered,
    )


def failed(message: str) -> tuple[str, int] | None:
    """Name and position of the operator that an interpreter's message is about, if it says so.

    Example:
        >>> failed("Node ARG_MAX (number 4) failed to invoke"), failed("out of memory")
        (('ARG_MAX', 4), None)
    """
    found = _MICRO.search(message) or _LITERT.search(message)
    return found and (found["name"], int(found["number"]))


def with_layers(name: str, layers: Iterable[str | None]) -> str:
    """The name of an operator, and of the layers that need it, as far as they are known.

    Example:
        >>> with_layers("TILE", ["'up' (UpSampling3D)", None]), with_layers("TILE", [])
        ("TILE (layer 'up' (UpSampling3D))", 'TILE')
    """
    found = list(dict.fromkeys(filter(None, layers)))
    if not found:
        return name
    more = f" and {len(found) - 3} more" if len(found) > 3 else ""
    return f"{name} (layer{'s' if len(found) > 1 else ''} {', '.join(found[:3])}{more})"


def _output_names(graph: Graph, indices: list[int]) -> list[str]:
    """The signature's names of the tensors that are outputs of the file."""
    return [
        text(port.name)
        for signature in graph.model.signatureDefs or []
        for port in signature.outputs or []
        if int(port.tensorIndex) in indices
    ]
