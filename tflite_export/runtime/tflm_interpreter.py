# SPDX-License-Identifier: Apache-2.0
"""Running a .tflite file in TFLite Micro's own interpreter, and the arena it takes there.

The interpreter does not check a file before it runs it, so it is kept in a process of its own.
"""

from __future__ import annotations

import functools
import importlib.util
import math
import re
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from tflite_export.flatbuffer.graph import Graph, read
from tflite_export.flatbuffer.signature_io import dequantized, ports, quantized
from tflite_export.runtime.worker_process import WorkerProcess

__all__ = [
    "Allocations",
    "EVAL_TENSORS",
    "MISSING",
    "RESET",
    "allocations",
    "arena_bytes",
    "execute",
    "fits",
    "installed",
    "predict",
    "rounded",
]

_CHILD = WorkerProcess("micro", name="TFLite Micro")
_MOST = 1 << 32
_STEP, _PER_TENSOR = 16, 64
_SECONDS, _TRIAL_SECONDS, _LATE = 1800, 120, "did not finish"
EVAL_TENSORS = "TfLiteEvalTensor data"

RESET = "MicroInterpreter::Reset()"
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
    stored = execute(content, [quantized(inputs[port.name], port) for port in taken])
    return {port.name: dequantized(array, port) for port, array in zip(given, stored, strict=True)}


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


@dataclass(frozen=True)
class Allocations:
    """The interpreter's own break-down of its arena once a file is loaded.

    Fields: `head` = bytes of the plan in which activations share memory; `tail` = bytes of what
    stays: tables, states of operators; `counts` = {kind of table: how many}. What loading takes in
    between, and gives back, is in neither.
    """

    head: int
    tail: int
    counts: dict[str, int]


def allocations(content: bytes) -> Allocations:
    """The parts of an arena that a file takes where it is large enough.

    Raises:
        RuntimeError: TFLite Micro cannot load the file; its message is in the error.
    """
    told = _asked(content, None)
    head, tail = (
        int(re.findall(rf"Arena allocation {part} (\d+) bytes", told)[-1])
        for part in ("head", "tail")
    )
    kinds = re.findall(r"'([^']+)' used .*?for (\d+) \w+", told)
    return Allocations(head, tail, {kind: int(count) for kind, count in kinds})


@functools.lru_cache(maxsize=64)
def arena_bytes(content: bytes) -> int:
    """The least arena in which TFLite Micro loads and runs a model on this computer, in bytes.

    Found by trying, to 16 bytes: loading takes memory that it gives back, so what is used
    afterward may not be enough. Pointers have 64 bits here; on a microcontroller they have 32 and
    less is needed, see `cortex_m_arena.arena_bytes`.

    Args:
        content: bytes of a .tflite file.
    Raises:
        RuntimeError: TFLite Micro cannot load the file, or does not end within 120 seconds; its
            message is in the error.
    """
    found, most = allocations(content), rounded(_enough(read(content)))
    step = rounded(_PER_TENSOR * found.counts.get(EVAL_TENSORS, 1))
    loading = functools.partial(fits, content)
    sizes = range(rounded(found.head + found.tail), most + 1, _STEP)
    least = _least(loading, sizes, step // _STEP)
    start = time.monotonic()
    try:
        _asked(content, None, room=most, run=True, seconds=_TRIAL_SECONDS)
        runs = True
    except RuntimeError as error:
        if _LATE in str(error):
            raise
        # What no arena makes run fails for another reason, on zeros for example.
        runs = False
    if runs:
        # In an arena that is too small loops may have no end.
        seconds = min(_TRIAL_SECONDS, 1 + 20 * (time.monotonic() - start))
        running = functools.partial(fits, content, run=True, seconds=seconds)
        return _least(running, range(least, most + 1, _STEP), step // _STEP)
    return least


def rounded(size: int) -> int:
    """The next multiple of 16 bytes, to which the interpreter aligns."""
    return -(-size // _STEP) * _STEP


def _least(fitting: Callable[[int], bool], sizes: range, ahead: int) -> int:
    """The first of the sizes that fits; the last one does, and what follows one that does.

    Args:
        fitting: whether a size fits.
        sizes: in ascending order.
        ahead: how many to go ahead at first, since the least is near the beginning.
    """
    low, high = 0, 0
    while high < len(sizes) - 1 and not fitting(sizes[high]):
        low, high, ahead = high + 1, min(high + ahead, len(sizes) - 1), 2 * ahead
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if fitting(sizes[middle]) else (middle + 1, high)
    return sizes[high]


def fits(content: bytes, room: int, *, run: bool = False, seconds: float = _TRIAL_SECONDS) -> bool:
    """Whether a file loads in an arena. Too small ones are not always refused: some end the
    process.

    Args:
        content: bytes of a .tflite file.
        room: bytes of the arena.
        run: whether it also has to run, on zeros.
        seconds: how long that may take.
    """
    try:
        _asked(content, None, room=room, run=run, seconds=seconds)
    except RuntimeError:
        return False
    return True


def _asked(
    content: bytes,
    inputs: list[np.ndarray] | None,
    *,
    room: int | None = None,
    run: bool = False,
    seconds: float = _SECONDS,
):
    """Outputs for inputs; what the interpreter prints of its arena without."""
    graph = read(content)
    main = graph.model.subgraphs[0]
    request = {
        "content": content,
        "room": room or _enough(graph),
        "inputs": inputs,
        "run": run,
        "taken": len(main.inputs),
        "outputs": len(main.outputs),
    }
    return _CHILD.result(request, refusal="TFLite Micro refuses the file: ", seconds=seconds)


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
                # No type is wider than 8 bytes, 16 for complex numbers, which it does not know.
                total += 8 * math.prod(graph.shape(number, index))
    if not 0 < total < _MOST:
        raise RuntimeError(f"its tensors take {total:,} bytes, more than any microcontroller has")
    return total + (1 << 20)
