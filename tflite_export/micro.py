"""Running a .tflite file in TFLite Micro's own interpreter, and the arena it takes there.

The interpreter does not check a file before it runs it, so it is kept in a process of its own.
"""

from __future__ import annotations

import importlib.util
import math

import numpy as np

from tflite_export.child import Child
from tflite_export.graph import Graph, read
from tflite_export.ports import dequantised, ports, quantised

__all__ = ["MISSING", "arena_bytes", "execute", "installed", "predict"]

_CHILD = Child("micro", name="TFLite Micro")
_MOST = 1 << 32

MISSING = "TFLite Micro's interpreter is not installed; pip install 'tfprune[micro]'"


def installed() -> bool:
    """Whether the package tflite-micro is there (Linux on x86-64 only)."""
    return importlib.util.find_spec("tflite_micro") is not None


def predict(
    content: bytes, inputs: dict[str, np.ndarray], *, batch: int = 1
) -> dict[str, np.ndarray]:
    """Run examples through a file as a microcontroller would, by the reference kernels.

    Args:
        content: bytes of a .tflite file.
        inputs: {input name: array [examples, ...]}, real values.
        batch: 1; there is no other in TFLite Micro.
    Returns:
        {output name: array [examples, ...]}, real values, in the order of their positions.
    Raises:
        RuntimeError: TFLite Micro cannot load or execute the file; its message is in the error.
        ValueError: batch is not 1.
    """
    if batch != 1:
        raise ValueError(f"got batch={batch}, expected 1: TFLite Micro has no open batch")
    taken, given = ports(content)
    stored = execute(content, [quantised(inputs[port.name], port) for port in taken])
    return {
        port.name: dequantised(array, port)
        for port, array in zip(given, stored, strict=True)
    }


def execute(content: bytes, inputs: list[np.ndarray]) -> list[np.ndarray]:
    """Run examples through a file, in the numbers that it stores.

    Args:
        content: bytes of a .tflite file.
        inputs: an array [examples, ...] for each input, in the file's order and types.
    Returns:
        An array [examples, ...] for each output, in the file's order and types.
    Raises:
        RuntimeError: TFLite Micro cannot load or execute the file; its message is in the error.
    """
    return _asked(content, inputs)


def arena_bytes(content: bytes) -> int:
    """Bytes of RAM that TFLite Micro takes for a model: activations, decoded weights and tables.

    Measured on this computer, whose pointers are twice as wide as a microcontroller's; there the
    tables take less, and optimised kernels may ask for buffers of their own.

    Args:
        content: bytes of a .tflite file.
    Raises:
        RuntimeError: TFLite Micro cannot load the file; its message is in the error.
    """
    return _asked(content, None)


def _asked(content: bytes, inputs: list[np.ndarray] | None):
    """Outputs for inputs; the arena without."""
    graph = read(content)
    request = {"content": content, "room": _enough(graph), "inputs": inputs,
               "outputs": len(graph.model.subgraphs[0].outputs)}
    return _CHILD.result(request, refusal="TFLite Micro refuses the file: ")


def _enough(graph: Graph) -> int:
    """An arena that holds all tensors at once, and their tables."""
    total = 0
    for number, subgraph in enumerate(graph.model.subgraphs):
        for index, tensor in enumerate(subgraph.tensors):
            if tensor.sparsity is not None:
                # It would compute with the packed bytes as if they were the weights.
                raise RuntimeError(
                    f"TFLite Micro reads no sparse encoding, and {graph.name(number, index)!r} "
                    "has one; export the model for target='tflm'"
                )
            total += 1024
            if not graph.bytes_of(number, index):
                shape = () if tensor.shape is None else tuple(int(n) for n in tensor.shape)
                # No type is wider than 8 bytes, 16 for complex numbers, which it does not know.
                total += 8 * math.prod(shape)
    if not 0 < total < _MOST:
        raise RuntimeError(f"its tensors take {total:,} bytes, more than any microcontroller has")
    return total + (1 << 20)
