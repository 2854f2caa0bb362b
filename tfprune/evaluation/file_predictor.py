# SPDX-License-Identifier: Apache-2.0
"""Predictions of .tflite files: LiteRT in a process for each core, or TFLite Micro."""

from __future__ import annotations

import collections
import queue
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np

from tflite_export.devices.litert_latency import cores
from tflite_export.flatbuffer.graph import TFLM_DECODE, read
from tflite_export.flatbuffer.signature_io import by_name, ports
from tflite_export.runtime import predict, tflm_interpreter
from tflite_export.runtime.worker_process import WorkerProcess
from tfprune.evaluation.examples import Examples
from tfprune.evaluation.keras_calls import fitting

_CALL = 16  # examples in one call: with more, activations leave a core's cache
_MOST = 1 << 24  # bytes of inputs on their way to a process
_AHEAD = 2  # blocks that wait for each process
_CHILDREN = [WorkerProcess("litert", name="LiteRT") for _ in range(cores())]


def close() -> None:
    """End the processes; they start again when they are needed."""
    for child in _CHILDREN:
        child.close()


class FilePredictor:
    """A .tflite file.

    Args:
        content: its bytes.
        name: for errors.
        fingerprint: of the network.
        first: some examples.
        batch: the most examples in one call, where the file's own batch is open.

    Raises:
        ValueError: other inputs than the file takes; a file that only an accelerator runs.
        RuntimeError: TFLite Micro's interpreter is needed, and not installed.
    """

    def __init__(self, content: bytes, name: str, fingerprint: str, *, first: Examples, batch: int):
        self._content, self._name, self.fingerprint = content, name, fingerprint
        self._ports = ports(content)[0]
        graph = read(content)
        custom = {
            graph.custom_name(operator)
            for number in range(len(graph.model.subgraphs))
            for operator in graph.operators(number)
        }
        if "ethos-u" in custom:
            raise ValueError(
                f"{name!r} is compiled for an Ethos-U, which nothing on this computer "
                "runs; compare the file that it was made of."
            )
        self.runtime = "TFLite Micro" if TFLM_DECODE in custom else "LiteRT"
        if self.runtime == "TFLite Micro" and not tflm_interpreter.installed():
            raise RuntimeError(
                f"{name!r} has weights that TFLite Micro alone reads ({TFLM_DECODE}). "
                f"{tflm_interpreter.MISSING}"
            )
        sizes = {port.shape[0] for port in self._ports if port.shape}
        self._fixed = sizes.pop() if len(sizes) == 1 else 1
        self._call = self._fixed or min(_CALL, batch)
        arrays = self._arrays(first.inputs)
        # Numbers of the file's own type are not scaled: nor is what becomes of them with noise.
        self._stored = {
            port.name: port.dtype
            for port in self._ports
            if port.scale and arrays[port.name].dtype == port.dtype
        }
        self.notes = tuple(
            f"{name}: its input {at!r} takes {dtype}: the data's numbers go in as they are"
            for at, dtype in self._stored.items()
        )

    def blocks(self, inputs: Any) -> Iterator[tuple[np.ndarray, ...]]:
        arrays = self._arrays(inputs)
        for at, dtype in self._stored.items():
            arrays[at] = fitting(arrays[at], (None, *arrays[at].shape[1:]), dtype, self._name)
        total, block = len(next(iter(arrays.values()))), self._block(arrays)
        rows = [
            {at: array[start : start + block] for at, array in arrays.items()}
            for start in range(0, total, block)
        ]
        if self.runtime == "TFLite Micro":
            yield from (
                self._rows(lambda full: tflm_interpreter.predict(self._content, full), one)
                for one in rows
            )
        else:
            yield from _side_by_side(self._litert, rows)

    def _block(self, arrays: dict[str, np.ndarray]) -> int:
        """How many examples a process gets at a time: whole calls, so that neither this number nor
        that of the cores changes a bit of the result."""
        total = len(next(iter(arrays.values())))
        size = sum(array[:1].nbytes for array in arrays.values())
        rows = min(-(-total // len(_CHILDREN)), max(_MOST // max(size, 1), 1))
        return -(-rows // self._call) * self._call

    def _litert(self, rows: dict, child: WorkerProcess) -> tuple[np.ndarray, ...]:
        return self._rows(
            lambda full: predict(self._content, full, batch=self._call, child=child), rows
        )

    def _rows(self, run: Callable[[dict], dict], rows: dict) -> tuple[np.ndarray, ...]:
        """Outputs of some examples; what a fixed batch lacks is filled up."""
        count = len(next(iter(rows.values())))
        lacking = -count % self._fixed if self._fixed else 0
        if lacking:
            rows = {
                at: np.concatenate([array, np.repeat(array[-1:], lacking, 0)])
                for at, array in rows.items()
            }
        try:
            found = run(rows)
        except (RuntimeError, ValueError) as error:
            raise RuntimeError(f"{self._name!r}: {error}") from error
        return tuple(np.asarray(array[:count], np.float32) for array in found.values())

    def _arrays(self, inputs: Any) -> dict[str, np.ndarray]:
        """{input name: array}, of the shapes that the file takes."""
        given = inputs if isinstance(inputs, (dict, list)) else [inputs]
        try:
            arrays = by_name(given, self._ports)
        except ValueError as error:
            raise ValueError(f"{self._name!r}: {error}") from error
        for port in self._ports:
            array = arrays[port.name]
            fitting(array[:0], port.shape, array.dtype.name, self._name)
        return dict(arrays)


def _side_by_side(run: Callable[[Any, WorkerProcess], Any], tasks: list) -> Iterator[Any]:
    """Results in the order of the tasks, a process each; few wait, so that memory is bounded."""
    idle: queue.SimpleQueue = queue.SimpleQueue()
    for child in _CHILDREN:
        idle.put(child)

    def one(task: Any) -> Any:
        child = idle.get()
        try:
            return run(task, child)
        finally:
            idle.put(child)

    waiting: collections.deque = collections.deque()
    with ThreadPoolExecutor(len(_CHILDREN)) as pool:
        try:
            for task in tasks:
                waiting.append(pool.submit(one, task))
                if len(waiting) >= _AHEAD * len(_CHILDREN):
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()
