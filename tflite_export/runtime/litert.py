# SPDX-License-Identifier: Apache-2.0
"""Running a .tflite file in LiteRT's interpreter.

The interpreter ends the whole process over some files, so it is kept in one of its own.
"""

from __future__ import annotations

import os

import numpy as np

from tflite_export.flatbuffer.signature_io import by_name, dequantized, ports, quantized
from tflite_export.runtime.worker_process import WorkerProcess

__all__ = ["latency_ms", "predict", "times_ms"]

_CHILD = WorkerProcess("litert", name="LiteRT")


def predict(
    model: str | os.PathLike[str] | bytes,
    inputs: dict[str, np.ndarray] | np.ndarray,
    *,
    batch: int = 1,
    child: WorkerProcess | None = None,
) -> dict[str, np.ndarray]:
    """Run examples through a .tflite file with an interpreter's usual settings, one thread.

    Integer inputs and outputs are quantized and dequantized here, so values are real on both
    sides.

    Args:
        model: a path, or the file's bytes.
        inputs: {input name: array [examples, ...]}, or one array for a model with one input.
        batch: examples per call; more than 1 needs a file with a dynamic batch.
        child: a process of the kind "litert", so that several may work side by side; None: the one
            that all share.
    Returns:
        {output name: array [examples, ...]}, in the order of their positions.
    Raises:
        RuntimeError, ValueError: the interpreter cannot load the file or run the inputs.
    """
    content = _content(model)
    taken, given = ports(content)
    inputs = by_name(inputs, taken)
    # Pixels that become floats do so in the other process: they are a quarter of the bytes.
    arrays = [np.asarray(inputs[port.name]) for port in taken]
    ready = [
        one if port.dtype == "float32" and one.dtype == np.uint8 else quantized(one, port)
        for one, port in zip(arrays, taken, strict=True)
    ]
    request = {"content": content, "inputs": ready, "batch": batch, "threads": 1}
    outputs = (child or _CHILD).result(request)
    return {port.name: dequantized(array, port) for port, array in zip(given, outputs, strict=True)}


def latency_ms(model: str | os.PathLike[str] | bytes, runs: int = 50, *, threads: int = 1) -> float:
    """Milliseconds per inference: the median of `runs` calls after warming up, batch 1.

    The time belongs to the computer this runs on, and says little about a phone.

    Args:
        model: a path, or the file's bytes.
        runs: measured calls, at least 1.
        threads: of the interpreter, at least 1.
    Raises:
        ValueError: runs or threads < 1.
        RuntimeError: the interpreter cannot load or run the file.
    """
    return float(np.median(times_ms(model, runs, threads=threads)))


def times_ms(
    model: str | os.PathLike[str] | bytes, runs: int = 50, *, threads: int = 1
) -> np.ndarray:
    """Milliseconds of each of `runs` inferences after warming up, batch 1, as in `latency_ms`."""
    if runs < 1 or threads < 1:
        raise ValueError(f"got runs={runs}, threads={threads}, expected at least 1")
    times = _CHILD.result(
        {"content": _content(model), "inputs": None, "runs": runs, "threads": threads}
    )
    return np.asarray(times) * 1e3


def _content(model: str | os.PathLike[str] | bytes) -> bytes:
    if isinstance(model, (bytes, bytearray)):
        return bytes(model)
    with open(model, "rb") as file:
        return file.read()
