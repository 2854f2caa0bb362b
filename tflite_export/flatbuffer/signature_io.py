# SPDX-License-Identifier: Apache-2.0
"""Inputs and outputs of a .tflite file, and their values as the file stores them."""

from __future__ import annotations

import functools
import re
from dataclasses import dataclass, replace

import numpy as np

from tflite_export.flatbuffer.graph import Graph, read, text, type_name

__all__ = ["Port", "by_name", "dequantized", "identifier", "ports", "quantized"]


@dataclass(frozen=True)
class Port:
    """An input or output of a file.

    Fields: `kind` = "input" or "output"; `position` = its index among those, by which TFLite Micro
    and C code ask for it; `name` in the signature; `shape`, None = an open axis; `dtype` = the type
    of its numbers, e.g. "int8"; `scale` and `zero_point`: the real value of a stored number is
    (stored - zero_point) * scale, or the number itself where scale is 0.0.

    Example:
        >>> print(Port("input", 0, "image", (1, 96, 96, 3), "uint8", 1 / 255, 0))
        input 0 'image': uint8 [1, 96, 96, 3], scale 0.00392156863, zero point 0
        >>> print(Port("output", 1, "scores", (None, 10), "float32"))
        output 1 'scores': float32 [?, 10]
    """

    kind: str
    position: int
    name: str
    shape: tuple[int | None, ...]
    dtype: str
    scale: float = 0.0
    zero_point: int = 0

    @property
    def single(self) -> tuple[int, ...]:
        """The shape of one example: open axes have length 1."""
        return tuple(1 if size is None else size for size in self.shape)

    def cells(self) -> tuple[str, ...]:
        """The row of a table: kind and position, name, shape, type, scale, zero point."""
        scales = (f"{self.scale:.9g}", str(self.zero_point)) if self.scale else ("", "")
        return f"{self.kind} {self.position}", self.name, _sizes(self, "x"), self.dtype, *scales

    def __str__(self) -> str:
        text = f"{self.kind} {self.position} {self.name!r}: {self.dtype} [{_sizes(self, ', ')}]"
        if self.scale:
            text += f", scale {self.scale:.9g}, zero point {self.zero_point}"
        return text


def _sizes(port: Port, between: str) -> str:
    return between.join("?" if size is None else str(size) for size in port.shape)


@functools.lru_cache(maxsize=4)
def ports(content: bytes) -> tuple[tuple[Port, ...], tuple[Port, ...]]:
    """Inputs and outputs of a file, by position, with the names that its signature gives; with
    those of their tensors where it has none."""
    graph = read(content)
    subgraph, known = graph.model.subgraphs[0], graph.model.signatureDefs
    signature = known[0] if known else None
    return (
        _side("input", graph, subgraph.inputs, signature and signature.inputs),
        _side("output", graph, subgraph.outputs, signature and signature.outputs),
    )


def _side(kind: str, graph: Graph, tensors, entries) -> tuple[Port, ...]:
    names: dict[int, list[str]] = {}
    for entry in entries or []:
        names.setdefault(entry.tensorIndex, []).append(text(entry.name))
    found = []
    for position, index in enumerate([] if tensors is None else map(int, tensors)):
        # One tensor may be several outputs, with a name each.
        name = names[index].pop(0) if names.get(index) else graph.name(0, index)
        found.append(_port(graph, index, Port(kind, position, name, (), "")))
    return tuple(found)


def _port(graph: Graph, index: int, named: Port) -> Port:
    tensor, scales = graph.tensor(0, index), graph.scales(0, index)
    sizes = tensor.shape if tensor.shapeSignature is None else tensor.shapeSignature
    shape = () if sizes is None else tuple(None if size < 0 else int(size) for size in sizes)
    known = replace(named, shape=shape, dtype=type_name(tensor.type))
    if not len(scales):
        return known
    zero = np.ravel(graph.zero_points(0, index, len(shape)))[0]
    return replace(known, scale=float(scales[0]), zero_point=int(zero))


def identifier(name: str) -> str:
    """The name that an input of Keras has in a file.

    Example:
        >>> identifier("mid-dle"), identifier("a b:0")
        ('mid_dle', 'a_b')
    """
    return re.sub(r"\W", "_", name.split(":")[0])


def by_name(inputs, taken: tuple[Port, ...]) -> dict[str, np.ndarray]:
    """Examples for each input by its name.

    Args:
        inputs: {input name, of the file or of Keras: array}; a list or tuple of arrays, one for
            each input, by position; or an array for the only input.
        taken: the inputs of the file.
    Raises:
        ValueError: other names than the file's, or another number of arrays.
    """
    names = [port.name for port in taken]
    if not isinstance(inputs, dict):
        several = isinstance(inputs, (list, tuple)) and (
            len(names) > 1 or len(inputs) == 1 and np.ndim(inputs[0]) == len(taken[0].shape)
        )
        given = inputs if several else [inputs]
        if len(given) != len(names):
            raise ValueError(
                f"inputs has {len(given)} array(s), expected a list, tuple or dict of "
                f"{len(names)}, one for each input: {', '.join(names)}"
            )
        inputs = dict(zip(names, given, strict=True))
    if inputs.keys() == set(names):
        return inputs
    cleaned = {identifier(str(key)): array for key, array in inputs.items()}
    if cleaned.keys() != set(names) or len(cleaned) < len(inputs):
        given = sorted(map(str, inputs))
        raise ValueError(f"inputs are for {given}, expected {sorted(names)}")
    return cleaned


def quantized(array: np.ndarray, port: Port) -> np.ndarray:
    """Real values as an input takes them: round(x / scale) + zero point, clipped.

    Args:
        array: any shape; one that has the input's type already stays as it is.
        port: the input.
    """
    if not port.scale or array.dtype == port.dtype:
        return np.asarray(array, port.dtype)
    limits = np.iinfo(port.dtype)
    rounded = np.round(np.asarray(array, np.float32) / port.scale) + port.zero_point
    return np.clip(rounded, limits.min, limits.max).astype(port.dtype)


def dequantized(array: np.ndarray, port: Port) -> np.ndarray:
    """Real values of what an output gives: (stored - zero point) * scale, as float32."""
    if not port.scale or array.dtype.kind == "f":
        return array
    return ((array.astype(np.float64) - port.zero_point) * port.scale).astype(np.float32)
