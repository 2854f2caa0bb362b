# SPDX-License-Identifier: Apache-2.0
"""The latency of a file in LiteRT on this computer: the median and the spread."""

from __future__ import annotations

import os
import platform
from dataclasses import dataclass

import numpy as np

from tflite_export.devices.target import is_count
from tflite_export.flatbuffer.graph import read
from tflite_export.report.measurements import Measured, Measurement
from tflite_export.runtime.litert import times_ms

__all__ = ["Timing", "cores", "measure", "told"]


@dataclass(frozen=True)
class Timing:
    """Whether LiteRT's latency is measured, and how.

    Fields: `latency` = whether at all; `threads` = of the interpreter, beside one thread, None for
    one for each core; `runs` = measured calls.

    Example:
        >>> Timing(threads=0)
        Traceback (most recent call last):
        ValueError: threads=0: expected a whole number, at least 1, or None
    """

    latency: bool = False
    threads: int | None = None
    runs: int = 50

    def __post_init__(self):
        if not isinstance(self.latency, bool):
            raise ValueError(f"latency={self.latency!r}: expected True or False")
        if self.threads is not None and not is_count(self.threads):
            raise ValueError(
                f"threads={self.threads!r}: expected a whole number, at least 1, or None"
            )
        if not is_count(self.runs):
            raise ValueError(f"runs={self.runs!r}: expected a whole number, at least 1")

    @property
    def counts(self) -> tuple[int, ...]:
        """The numbers of threads to measure with, each once."""
        return tuple(sorted({1, self.threads or cores()}))


def cores() -> int:
    """Cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def measure(content: bytes, options: Timing | None = None) -> Measured:
    """The size of a file, and if asked for LiteRT's latency with 1 thread and with several.

    Args:
        content: bytes of a .tflite file.
        options: without, or with `latency=False`, nothing is run.
    Returns:
        "file" in bytes; for each number of threads "latency, 1 thread" = the median of the calls
        and "latency, 1 thread: interquartile range" = the distance between their quartiles, in
        milliseconds, batch 1.

    Example:
        >>> measure(b"abc").to_dict()
        {'file': (3, 'bytes')}
    """
    file = Measurement("file", len(content), "bytes")
    if options is None or not options.latency:
        return Measured((file,))
    found = []
    try:
        _check_axes(content)
        for threads in options.counts:
            low, median, high = np.percentile(
                times_ms(content, options.runs, threads=threads), (25, 50, 75)
            )
            name = f"latency, {threads} thread{'s' if threads > 1 else ''}"
            found += [
                Measurement(name, float(median), "ms"),
                Measurement(f"{name}: interquartile range", float(high - low), "ms"),
            ]
    except (RuntimeError, ValueError) as error:
        return Measured((file, *found), (f"latency not measured: {error}",))
    return Measured((file, *found))


def _check_axes(content: bytes) -> None:
    """An open axis besides the batch would be measured at a length of 1, which tells nothing."""
    graph = read(content)
    for index in graph.model.subgraphs[0].inputs:
        shape = graph.tensor(0, int(index)).shapeSignature
        if shape is not None and any(size < 0 for size in shape[1:]):
            raise ValueError(
                f"input {graph.name(0, int(index))!r} has an open axis; build the model for one "
                "length"
            )


def told(options: Timing | None) -> tuple[str, ...]:
    """Remarks for the report on the numbers, if there are any."""
    if options is None or not options.latency:
        return ()
    return (
        f"latency is that of this computer ({platform.machine()}, {cores()} cores), not of a "
        f"phone: the median and the interquartile range of {options.runs} calls with batch 1, "
        "after warming up",
    )
