"""Running a .tflite file in LiteRT's interpreter."""

from __future__ import annotations

import os
import time

import numpy as np

from tflite_export.quiet import quiet

__all__ = ["dequantised", "latency_ms", "predict", "quantised"]


def predict(
    model: str | os.PathLike | bytes, inputs: dict[str, np.ndarray] | np.ndarray, *, batch: int = 1
) -> dict[str, np.ndarray]:
    """Run examples through a .tflite file with an interpreter's usual settings, one thread.

    Integer inputs and outputs are quantised and dequantised here, so values are real on both
    sides.

    Args:
        model: a path, or the file's bytes.
        inputs: {input name: array [examples, ...]}, or one array for a model with one input.
        batch: examples per call; more than 1 needs a file with a dynamic batch.
    Returns:
        {output name: array [examples, ...]}.
    Raises:
        RuntimeError, ValueError: the interpreter cannot load the file or run the inputs.
    """
    with quiet():
        interpreter = _interpreter(model)
        runner = interpreter.get_signature_runner()
        taken, given = runner.get_input_details(), runner.get_output_details()
        if not isinstance(inputs, dict):
            inputs = {next(iter(taken)): np.asarray(inputs)}
        ready = {name: quantised(array, taken[name]) for name, array in inputs.items()}
        parts = []
        for rows in _batches(ready, batch):
            if parts:
                # Fused recurrent operators keep their state from call to call.
                interpreter.reset_all_variables()
            # The interpreter reuses its output memory in the next call: copy.
            parts.append({name: np.array(value) for name, value in runner(**rows).items()})
    return {
        name: dequantised(np.concatenate([part[name] for part in parts]), given[name])
        for name in parts[0]
    }


def latency_ms(model: str | os.PathLike | bytes, runs: int = 50, *, threads: int = 1) -> float:
    """Milliseconds per inference: the median of `runs` calls after warming up, batch 1.

    The time belongs to the computer this runs on, and says little about a phone.

    Args:
        model: a path, or the file's bytes.
        runs: measured calls, at least 1.
        threads: of the interpreter, at least 1.
    Raises:
        ValueError: runs or threads < 1, or a file the interpreter cannot load.
    """
    if runs < 1 or threads < 1:
        raise ValueError(f"got runs={runs}, threads={threads}, expected at least 1")
    with quiet():
        interpreter = _interpreter(model, threads)
        interpreter.allocate_tensors()
        for detail in interpreter.get_input_details():
            interpreter.set_tensor(detail["index"], np.zeros(detail["shape"], detail["dtype"]))
        times = []
        for run in range(runs + 5):
            start = time.perf_counter()
            interpreter.invoke()
            if run >= 5:
                times.append(time.perf_counter() - start)
    return float(np.median(times) * 1e3)


def _interpreter(model, threads: int = 1):
    from ai_edge_litert.interpreter import Interpreter

    if isinstance(model, (bytes, bytearray)):
        return Interpreter(model_content=bytes(model), num_threads=threads)
    return Interpreter(model_path=os.fspath(model), num_threads=threads)


def _batches(arrays: dict[str, np.ndarray], size: int):
    count = len(next(iter(arrays.values())))
    for start in range(0, count, size):
        yield {name: array[start : start + size] for name, array in arrays.items()}


def quantised(array: np.ndarray, detail: dict) -> np.ndarray:
    """Real values as an input takes them: round(x / scale) + zero point, clipped.

    Args:
        array: any shape; one that has the input's type already stays as it is.
        detail: "dtype", and "quantization" (scale, zero point), scale 0 for none.
    """
    scale, zero = detail["quantization"]
    if not scale or array.dtype == detail["dtype"]:
        return np.asarray(array, detail["dtype"])
    limits = np.iinfo(detail["dtype"])
    rounded = np.round(np.asarray(array, np.float32) / scale) + zero
    return np.clip(rounded, limits.min, limits.max).astype(detail["dtype"])


def dequantised(array: np.ndarray, detail: dict) -> np.ndarray:
    """Real values of what an output gives: (stored - zero point) * scale, as float32."""
    scale, zero = detail["quantization"]
    if not scale or array.dtype.kind == "f":
        return array
    return ((array.astype(np.float64) - zero) * scale).astype(np.float32)
