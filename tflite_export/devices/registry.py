# SPDX-License-Identifier: Apache-2.0
"""The table of targets: one line each."""

from __future__ import annotations

import dataclasses

from tflite_export.devices.ethos_u import ACCELERATORS, ethos_u
from tflite_export.devices.mobile import MOBILE
from tflite_export.devices.sparse_inference import SPARSE_F32
from tflite_export.devices.target import QUANTIZE, Target
from tflite_export.devices.tflm import TFLM

__all__ = ["TARGETS", "executing", "target", "targets"]

TARGETS = {
    found.name: found
    for found in (MOBILE, SPARSE_F32, TFLM, *(ethos_u(accelerator) for accelerator in ACCELERATORS))
}


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
