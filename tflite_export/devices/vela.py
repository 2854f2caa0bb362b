# SPDX-License-Identifier: Apache-2.0
"""Vela, Arm's compiler for the Ethos-U: running it, what it says of a network, and its files."""

from __future__ import annotations

import csv
import functools
import importlib.util
import math
import os
import re
import struct
import subprocess
import sys
import tempfile
from dataclasses import dataclass, field, replace
from numbers import Real
from pathlib import Path

from tflite_export.flatbuffer.graph import ETHOS_U, Graph
from tflite_export.report.measurements import Measurement

__all__ = ["Compiled", "MISSING", "Memory", "UNKNOWN", "compiled", "compiled_for", "installed"]

UNKNOWN = "an Ethos-U that its commands do not name"
# The commands begin with words for the driver: a mark, then a tag and the configuration.
_MARK, _CONFIGURATION = 0x31504F43, 1
_PRODUCTS = {0: "ethos-u55", 1: "ethos-u65", 2: "ethos-u85"}

MISSING = "Vela is not installed; pip install 'tfprune[ethos-u]'"

# Where Vela falls back to when nothing is asked for, said here so that numbers stay comparable.
_DEFAULTS = {
    "ethos-u55": ("Ethos_U55_High_End_Embedded", "Shared_Sram"),
    "ethos-u65": ("Ethos_U65_Client_Server", "Dedicated_Sram_384KB"),
    "ethos-u85": ("Ethos_U85_SYS_DRAM_Mid", "Dedicated_Sram_384KB"),
}
_KIB = 1024
# Column of the summary -> name, unit and factor. Vela's own estimates, from its model of the NPU.
_COLUMNS = {
    "off_chip_flash_memory_used": ("flash", "bytes", _KIB),
    "on_chip_flash_memory_used": ("on-chip flash", "bytes", _KIB),
    "sram_memory_used": ("SRAM", "bytes", _KIB),
    "dram_memory_used": ("DRAM", "bytes", _KIB),
    "total_npu_encoded_weights": ("packed weights", "bytes", 1),
    "cycles_npu": ("NPU cycles", "cycles", 1),
    "cycles_total": ("cycles", "cycles", 1),
    "inference_time": ("time", "ms", 1e3),
}


def compiled_for(graph: Graph) -> tuple[str, ...]:
    """The accelerators that the compiled operators of a file are for, as Vela names them; none
    where there is no such operator."""
    return tuple(
        sorted(
            {
                _accelerator(graph.bytes_of(number, int(operator.inputs[0])))
                for number, operator in graph.all_operators()
                if graph.custom_name(operator) == ETHOS_U
            }
        )
    )


def _accelerator(commands: bytes) -> str:
    """The name in a configuration word: product in its highest 4 bits, log2 of the multiplications
    per cycle in its lowest."""
    if len(commands) < 12:
        return UNKNOWN
    mark, tag, word = struct.unpack_from("<3I", commands)
    if mark != _MARK or tag & 0xFF != _CONFIGURATION or word >> 28 not in _PRODUCTS:
        return UNKNOWN
    return f"{_PRODUCTS[word >> 28]}-{1 << (word & 0xF)}"


@dataclass(frozen=True)
class Memory:
    """The system around the accelerator, as Vela's configuration file describes it.

    Fields: `system` and `memory` = its system configuration and memory mode, None for what Vela
    takes by default; `config` = the configuration file; `seconds` = how long Vela may take;
    `compiled` = the path to write the file to that Vela makes, for firmware, or None.

    Example:
        >>> Memory(system="Ethos_U55_Deep_Embedded", memory="Sram_Only").config
        'Arm/vela.ini'
    """

    system: str | None = None
    memory: str | None = None
    config: str = "Arm/vela.ini"
    seconds: float = 600
    compiled: str | os.PathLike[str] | None = None

    def __post_init__(self):
        if (
            isinstance(self.seconds, bool)
            or not isinstance(self.seconds, Real)
            or not 0 < self.seconds < math.inf
        ):
            raise ValueError(f"seconds={self.seconds!r}: expected a number above 0")
        for name in ("system", "memory", "config"):
            value = getattr(self, name)
            if not (value and isinstance(value, str)) and (value is not None or name == "config"):
                raise ValueError(f"{name}={value!r}: expected a text as in Vela's configuration")
            if value is not None and name != "config" and not re.fullmatch(r"\w+", value):
                raise ValueError(
                    f"{name}={value!r}: expected the name of a section of Vela's "
                    "configuration, letters, digits and _"
                )
        if (
            not self.compiled
            and self.compiled is not None
            or not isinstance(self.compiled, (str, os.PathLike, type(None)))
        ):
            raise ValueError(f"compiled={self.compiled!r}: expected the path of a file, or None")

    def chosen(self, accelerator: str) -> tuple[str, str]:
        """System configuration and memory mode for an accelerator, e.g. "ethos-u55-128"."""
        system, memory = _DEFAULTS[accelerator.rpartition("-")[0]]
        return self.system or system, self.memory or memory


@dataclass(frozen=True)
class Compiled:
    """The answer of Vela.

    Fields: `values` = flash, SRAM, cycles and so on, its estimates; `on_cpu` = {operator: (reason,
    names of the tensors that it gives)} of what the accelerator does not execute; `on_npu` = how
    many operators it does; `content` = the file that TFLite Micro executes with the accelerator's
    driver.
    """

    values: tuple[Measurement, ...]
    content: bytes
    on_cpu: dict[str, tuple[str, tuple[str, ...]]] = field(default_factory=dict)
    on_npu: int = 0


def installed() -> bool:
    """Whether the package ethos-u-vela is there."""
    return importlib.util.find_spec("ethosu") is not None


def compiled(content: bytes, accelerator: str, memory: Memory = Memory()) -> Compiled:
    """Compile a dense int8 file for an accelerator and read the summary.

    In a process of its own: Vela dies of some files.

    Args:
        content: bytes of a .tflite file without any sparse encoding.
        accelerator: a configuration, e.g. "ethos-u55-128".
        memory: the system around it.
    Raises:
        RuntimeError: Vela failed or took too long; its message is in the error.
    """
    found = _tried(content, accelerator, replace(memory, compiled=None))
    if isinstance(found, str):
        raise RuntimeError(found)
    return found


@functools.lru_cache(maxsize=8)
def _tried(content: bytes, accelerator: str, memory: Memory) -> Compiled | str:
    """Vela's file, or its error: that takes as long each time."""
    system, mode = memory.chosen(accelerator)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.tflite"
        path.write_bytes(content)
        command = [
            sys.executable,
            "-m",
            "ethosu.vela",
            str(path),
            "--output-dir",
            folder,
            "--accelerator-config",
            accelerator,
            "--config",
            memory.config,
            "--system-config",
            system,
            "--memory-mode",
            mode,
        ]
        try:
            done = subprocess.run(
                command,
                capture_output=True,
                text=True,
                errors="replace",
                check=False,
                timeout=memory.seconds,
                stdin=subprocess.DEVNULL,
            )
        except subprocess.TimeoutExpired:
            return f"Vela did not finish within {memory.seconds:g} seconds; allow more (seconds=)"
        found, made = sorted(Path(folder).glob("*_summary_*.csv")), path.with_stem("model_vela")
        if done.returncode or not found or not made.exists():
            return f"Vela failed: {_message(done)}"
        with found[0].open(newline="") as file:
            row = next(csv.DictReader(file))
        compiled = made.read_bytes()
    npu = re.search(r"NPU operators = (\d+)", done.stdout)
    return Compiled(_quantities(row), compiled, _fallbacks(done.stdout), int(npu[1]) if npu else 0)


def _quantities(row: dict[str, str]) -> tuple[Measurement, ...]:
    values = []
    for column, (name, unit, factor) in _COLUMNS.items():
        value = float(row.get(column) or math.nan) * factor
        if not math.isfinite(value) or (value == 0 and unit == "bytes"):
            continue
        values.append(Measurement(name, value if unit == "ms" else round(value), unit))
    return tuple(values)


def _fallbacks(printed: str) -> dict[str, tuple[str, tuple[str, ...]]]:
    """Operators that Vela leaves to the CPU, the first reason it gives for each kind, and what
    they give."""
    found: dict[str, tuple[str, tuple[str, ...]]] = {}
    for name, tensor, reason in re.findall(
        r"Warning \(supported operators\) operator: ([^,\n]+)(?:, ofm: '([^'\n]*)')?.*?\n"
        r"Reason: ([^\n]+)",
        printed,
    ):
        first, tensors = found.get(name.strip(), (reason.strip(), ()))
        found[name.strip()] = first, (*tensors, tensor)
    return found


def _message(done: subprocess.CompletedProcess) -> str:
    lines = [line.strip() for line in (done.stderr + "\n" + done.stdout).splitlines()]
    telling = [line for line in lines if re.match(r"[\w.]*(Error|Exception)\b", line)]
    if telling:
        return " ".join(telling[:3])[:600]
    if done.returncode < 0:
        return f"it was ended by signal {-done.returncode}"
    return f"exit code {done.returncode}: " + " ".join(filter(None, lines))[-300:]
