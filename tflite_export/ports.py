"""Inputs and outputs of a .tflite file, and their values as the file stores them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tflite_export.graph import Graph, number_type, read, schema, text

__all__ = ["Port", "by_name", "dequantised", "ports", "quantised"]


@dataclass(frozen=True)
class Port:
    """An input or output of a file: its name in the signature, shape, stored type, and scale and
    zero point (0.0 and 0 where values are stored as they are)."""

    name: str
    shape: tuple[int, ...]
    dtype: np.dtype
    quantization: tuple[float, int]


def ports(content: bytes) -> tuple[list[Port], list[Port]]:
    """Inputs and outputs of a file, in its order, by the names that its signature gives."""
    graph = read(content)
    subgraph = graph.model.subgraphs[0]
    known = graph.model.signatureDefs or []
    found = []
    for tensors, entries in (
        (subgraph.inputs, known[0].inputs if known else []),
        (subgraph.outputs, known[0].outputs if known else []),
    ):
        names = {entry.tensorIndex: text(entry.name) for entry in entries}
        found.append([_port(graph, int(index), names) for index in tensors])
    return found[0], found[1]


def _port(graph: Graph, index: int, names: dict[int, str]) -> Port:
    tensor = graph.tensor(0, index)
    scales, pair = graph.scales(0, index), (0.0, 0)
    if len(scales):
        pair = float(scales[0]), int(tensor.quantization.zeroPoint[0])
    shape = () if tensor.shape is None else tuple(int(n) for n in tensor.shape)
    return Port(names.get(index) or graph.name(0, index), shape, _type(tensor.type), pair)


def _type(kind: int) -> np.dtype:
    """Of an input or output, which may also hold what no weight is stored as."""
    kinds = schema().TensorType
    more = {kinds.BOOL: np.dtype(bool), kinds.UINT8: np.dtype("u1")}
    return more[kind] if kind in more else number_type(kind)


def by_name(inputs, taken: list[Port]) -> dict[str, np.ndarray]:
    """Examples for each input by its name.

    Args:
        inputs: {input name: array}, or an array for the first input.
        taken: the inputs of the file.
    Raises:
        ValueError: other names than the file's.
    """
    if not isinstance(inputs, dict):
        inputs = {taken[0].name: np.asarray(inputs)}
    if inputs.keys() != {port.name for port in taken}:
        raise ValueError(
            f"inputs are for {sorted(inputs)}, expected {sorted(port.name for port in taken)}"
        )
    return inputs


def quantised(array: np.ndarray, port: Port) -> np.ndarray:
    """Real values as an input takes them: round(x / scale) + zero point, clipped.

    Args:
        array: any shape; one that has the input's type already stays as it is.
        port: the input.
    """
    scale, zero = port.quantization
    if not scale or array.dtype == port.dtype:
        return np.asarray(array, port.dtype)
    limits = np.iinfo(port.dtype)
    rounded = np.round(np.asarray(array, np.float32) / scale) + zero
    return np.clip(rounded, limits.min, limits.max).astype(port.dtype)


def dequantised(array: np.ndarray, port: Port) -> np.ndarray:
    """Real values of what an output gives: (stored - zero point) * scale, as float32."""
    scale, zero = port.quantization
    if not scale or array.dtype.kind == "f":
        return array
    return ((array.astype(np.float64) - zero) * scale).astype(np.float32)
