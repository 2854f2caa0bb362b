# SPDX-License-Identifier: Apache-2.0
"""The table of targets: one line each."""

from __future__ import annotations

import dataclasses
import importlib
from collections import UserDict

from tflite_export.devices.target import QUANTIZE, Target

__all__ = ["ACCELERATORS", "TARGETS", "executing", "target", "targets"]

ACCELERATORS = (
    "ethos-u55-32",
    "ethos-u55-64",
    "ethos-u55-128",
    "ethos-u55-256",
    "ethos-u65-256",
    "ethos-u65-512",
    "ethos-u85-128",
    "ethos-u85-256",
    "ethos-u85-512",
    "ethos-u85-1024",
    "ethos-u85-2048",
)


class _Targets(UserDict):
    """Targets by name, given as "module:object", which is imported when it is asked for; a
    function makes the target of the name."""

    def __getitem__(self, name: str) -> Target:
        module, _, held = self.data[name].partition(":")
        found = getattr(importlib.import_module(f"tflite_export.devices.{module}"), held)
        return found if isinstance(found, Target) else found(name)


TARGETS = _Targets(
    {
        "mobile": "mobile:MOBILE",
        "mobile-sparse-f32": "sparse_inference:SPARSE_F32",
        "tflm": "tflm:TFLM",
        **dict.fromkeys(ACCELERATORS, "ethos_u:ethos_u"),
    }
)


def targets() -> tuple[str, ...]:
    """Names of the devices that a file can be made for.

    Example:
        >>> targets()[:3]
        ('mobile', 'mobile-sparse-f32', 'tflm')
    """
    return tuple(TARGETS)


def target(name: str, **options) -> Target:
    """Look a device up, and set its options.

    Args:
        name: one of `targets()`.
        options: fields of the target's options, e.g. a RAM budget; `input_type` and `output_type`
            of quantized files, each "float32", "int8", "uint8" or "int16". The rest keep their
            defaults.
    Returns:
        The `Target`, which `export` takes in place of a name.
    Raises:
        ValueError: unknown name or option, or a value the option does not take.

    Example:
        >>> target("tflm", input_type="uint8", ram_bytes=65536).io_types.input_type
        'uint8'
    """
    if not isinstance(name, str) or name not in TARGETS:
        raise ValueError(f"unknown target {name!r}; possible are {_quoted(TARGETS)}")
    found = TARGETS[name]
    parts = {part: getattr(found, part) for part in ("options", "io_types")}
    home = {
        field.name: part
        for part, settings in parts.items()
        if settings is not None
        for field in dataclasses.fields(settings)
    }
    unknown = [option for option in options if option not in home]
    if unknown:
        raise ValueError(f"target {name!r} has no option {unknown[0]!r}; it has {_quoted(home)}")
    for part, settings in parts.items():
        own = {option: value for option, value in options.items() if home[option] == part}
        if own:
            found = dataclasses.replace(found, **{part: dataclasses.replace(settings, **own)})
    return found


def executing(chosen: str | Target, quantize: str) -> Target:
    """The target, when it executes a number format.

    Args:
        chosen: a name, or a `Target`.
        quantize: one of `QUANTIZE`.
    Raises:
        ValueError: unknown name or number format, a format the target cannot execute, or one whose
            files cannot have the inputs or outputs that are asked for.
        TypeError: `chosen` is neither a name nor a `Target`.

    Example:
        >>> executing("tflm", "int8").name
        'tflm'
    """
    if not isinstance(chosen, (str, Target)):
        raise TypeError(
            f"target is a {type(chosen).__name__}, expected a name or a Target; possible names "
            f"are {_quoted(TARGETS)}"
        )
    found = target(chosen) if isinstance(chosen, str) else chosen
    if quantize not in QUANTIZE:
        raise ValueError(f"unknown quantize {quantize!r}; possible are {_quoted(QUANTIZE)}")
    if quantize not in found.quantize:
        why = f" ({found.why_not[quantize]})" if quantize in found.why_not else ""
        raise ValueError(
            f"target {found.name!r} ({found.runtime}) does not execute quantize={quantize!r}{why}; "
            f"it executes {_quoted(found.quantize)}"
        )
    found.io_types.resolved(quantize, integer=found.integer_io)
    return found


def _quoted(names) -> str:
    return ", ".join(repr(name) for name in names)
