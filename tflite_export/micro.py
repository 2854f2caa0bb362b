"""Running a .tflite file in TFLite Micro's own interpreter, and the arena it takes there."""

from __future__ import annotations

import importlib.util
import re

import numpy as np

from tflite_export.graph import Graph, number_type
from tflite_export.quiet import quiet
from tflite_export.runtime import dequantised, quantised

__all__ = ["MISSING", "arena_bytes", "installed", "predict"]

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
        {output name: array [examples, ...]}, real values.
    Raises:
        RuntimeError: TFLite Micro cannot load or execute the file; its message is in the error.
        ValueError: batch is not 1.
    """
    if batch != 1:
        raise ValueError(f"got batch={batch}, expected 1: TFLite Micro has no open batch")
    taken, given = _signature(content)
    with quiet() as errors:
        interpreter = _loaded(content, errors)
        details = {n: _detail(interpreter.get_input_details(i)) for n, i in taken.items()}
        ready = {name: quantised(array, details[name]) for name, array in inputs.items()}
        rows: dict[str, list[np.ndarray]] = {name: [] for name in given}
        for row in range(len(next(iter(ready.values())))):
            if row:
                interpreter.reset()
            for name, array in ready.items():
                interpreter.set_input(np.ascontiguousarray(array[row : row + 1]), taken[name])
            _invoke(interpreter, errors)
            for name, position in given.items():
                rows[name].append(np.array(interpreter.get_output(position)))
        results = {n: _detail(interpreter.get_output_details(i)) for n, i in given.items()}
    return {name: dequantised(np.concatenate(rows[name]), results[name]) for name in given}


def arena_bytes(content: bytes) -> int:
    """Bytes of RAM that TFLite Micro takes for a model: activations, decoded weights and tables.

    Measured on this computer, whose pointers are twice as wide as a microcontroller's; there the
    tables take less, and optimised kernels may ask for buffers of their own.

    Args:
        content: bytes of a .tflite file.
    Raises:
        RuntimeError: TFLite Micro cannot load the file; its message is in the error.
    """
    with quiet() as errors:
        interpreter = _loaded(content, errors)
        errors.seek(0, 2)
        interpreter.print_allocations()
        printed = _printed(errors)
    found = re.findall(r"Arena allocation total (\d+) bytes", printed)
    if not found:
        raise RuntimeError(f"TFLite Micro printed no arena size, but {printed[-200:]!r}")
    return int(found[-1])


def _loaded(content: bytes, errors):
    from tflite_micro import runtime

    try:
        return runtime.Interpreter.from_bytes(content, arena_size=_enough(content))
    except RuntimeError as error:
        raise RuntimeError(f"TFLite Micro refuses the file: {_reason(errors, error)}") from error


def _invoke(interpreter, errors) -> None:
    try:
        interpreter.invoke()
    except RuntimeError as error:
        raise RuntimeError(f"TFLite Micro cannot run it: {_reason(errors, error)}") from error


def _reason(errors, error: RuntimeError) -> str:
    lines = [line for line in _printed(errors).splitlines() if line.strip()]
    return " ".join(lines[-4:])[-400:] or str(error)


def _printed(errors) -> str:
    errors.seek(0)
    return errors.read().decode("utf-8", "replace")


def _enough(content: bytes) -> int:
    """An arena that holds all tensors at once, and their tables."""
    graph = Graph(content)
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
                total += 2 * int(np.prod(shape, dtype=np.int64)) * number_type(tensor.type).itemsize
    return total + (1 << 20)


def _signature(content: bytes) -> tuple[dict[str, int], dict[str, int]]:
    """{name: position} of inputs and outputs, by the names that the file's signature gives."""
    graph = Graph(content)
    subgraph = graph.model.subgraphs[0]
    known = graph.model.signatureDefs or []
    found = []
    for tensors, names in (
        (subgraph.inputs, known[0].inputs if known else []),
        (subgraph.outputs, known[0].outputs if known else []),
    ):
        places = {int(tensor): position for position, tensor in enumerate(tensors)}
        named = {
            entry.name.decode() if isinstance(entry.name, bytes) else entry.name:
            places[entry.tensorIndex] for entry in names
        }
        found.append(named or {graph.name(0, tensor): at for tensor, at in places.items()})
    return found[0], found[1]


def _detail(details: dict) -> dict:
    scales = details["quantization_parameters"]["scales"]
    zeros = details["quantization_parameters"]["zero_points"]
    pair = (float(scales[0]), int(zeros[0])) if len(scales) else (0.0, 0)
    return {"dtype": np.dtype(details["dtype"]), "quantization": pair}
