# SPDX-License-Identifier: Apache-2.0
"""The record of a target: how a file is packed for a device, run as there, and measured."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, field
from numbers import Integral
from typing import Any

import numpy as np

from tflite_export.devices.io_types import IOTypes
from tflite_export.flatbuffer.graph import Graph
from tflite_export.flatbuffer.layer_origins import Origins
from tflite_export.report.measurements import Compatibility, Measured, Packed

__all__ = ["ExportContext", "FileSummary", "QUANTIZE", "Target", "is_count"]

QUANTIZE = ("none", "float16", "dynamic", "int8", "int16x8", "int4")


@dataclass(frozen=True)
class ExportContext:
    """The settings and inputs of an export, beside the dense file.

    Fields: `quantize` = its number format; `names` = {(subgraph, tensor): name of the Keras
    weight}; `inputs` = {input name: array [examples, ...]}; `sparse` = whether weights may be
    encoded at all; `options` = the target's own options, or None; `origins` = the layers that the
    file's operators come from.
    """

    quantize: str
    names: dict[tuple[int, int], str]
    inputs: dict[str, np.ndarray]
    sparse: bool = True
    options: Any = None
    origins: Origins = field(default_factory=Origins)


@dataclass(frozen=True)
class FileSummary:
    """A finished file: its `graph` with every weight dense again, the number format
    `quantize`, and `encoded` = {(subgraph, tensor): label} of the weights that are not dense."""

    graph: Graph
    quantize: str
    encoded: dict[tuple[int, int], str]


def _accepts(found: FileSummary) -> Compatibility:
    return Compatibility()


@dataclass(frozen=True, kw_only=True)
class Target:
    """A kind of device: what it accepts, and what the exporter does for it.

    Fields: `runtime` = who executes the file; `quantize` = number formats it executes;
    `integer_io` = files of integers take and return integers, and compute in nothing else;
    `io_types` = the types that are asked for instead; `dynamic_batch` = the batch may stay open;
    `loops` = it executes loops of integers as it does other operators;
    `four_bits` = operators whose weights it reads in 4 bits; `why_not` = {number format: why it
    does not execute it}, where there is more to say than that;
    `no_sparse` = why weights are never encoded for it, or ""; `options` = a frozen dataclass of
    its settings, or None; `examples` = how many inputs a file is verified with at most; `reset` =
    what clears the state that a file keeps between calls, as the runtime calls it. The functions:

    - `pack(dense, context) -> Packed` encodes the dense file; a ValueError refuses the model and
      says what to do.
    - `run(content, inputs, batch=1) -> {output name: array}` executes a file for verification.
    - `measure(content, options) -> Measured` measures a file; what cannot be measured is named.
    - `judge(found) -> Compatibility` says what stands against running a finished file, whoever
      wrote it.
    """

    name: str
    runtime: str
    quantize: tuple[str, ...]
    pack: Callable[[bytes, ExportContext], Packed]
    run: Callable[..., dict[str, np.ndarray]]
    measure: Callable[[bytes, Any], Measured]
    judge: Callable[[FileSummary], Compatibility] = _accepts
    integer_io: bool = False
    io_types: IOTypes = IOTypes()
    dynamic_batch: bool = False
    loops: bool = True
    four_bits: tuple[str, ...] = ()
    why_not: dict[str, str] = field(default_factory=dict)
    no_sparse: str = ""
    options: Any = None
    examples: int = 1000
    reset: str = "Interpreter.reset_all_variables"

    @property
    def dense_per_channel(self) -> bool:
        """Whether integer weights of dense layers may have a scale for each channel: an option of
        targets for which that is dear."""
        return getattr(self.options, "dense_per_channel", True)

    @property
    def compiled(self) -> str | os.PathLike[str] | None:
        """The path for the file of the device's own compiler, where the target has one."""
        return getattr(self.options, "compiled", None)


def is_count(value: Any) -> bool:
    """Whether an option is a whole number of at least 1, of Python or NumPy.

    Example:
        >>> is_count(np.int64(2)), is_count(True), is_count(2.0)
        (True, False, False)
    """
    return isinstance(value, Integral) and not isinstance(value, bool) and int(value) >= 1
