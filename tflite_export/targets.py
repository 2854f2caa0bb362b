"""What each kind of device can execute."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["QUANTIZE", "TARGETS", "Target", "target"]

QUANTIZE = ("none", "float16", "dynamic", "int8", "int16x8")


@dataclass(frozen=True)
class Target:
    """One row of the table: what a runtime accepts.

    Fields: `quantize` = number formats it executes; `sparse` = it reads sparse-encoded weights;
    `integer_io` = int8 files take and return int8; `dynamic_batch` = shapes may stay open.
    """

    name: str
    runtime: str
    quantize: tuple[str, ...]
    sparse: bool
    integer_io: bool
    dynamic_batch: bool
    no_sparse: str = ""


TARGETS = {
    "mobile": Target("mobile", "LiteRT with XNNPACK", QUANTIZE, True, False, True),
    # TFLite Micro parses no sparsity parameters: DENSIFY has no kernel there, and a sparse
    # FULLY_CONNECTED would run on garbage without an error.
    "micro": Target(
        "micro", "TFLite Micro", ("none", "int8", "int16x8"), False, True, False,
        "TFLite Micro reads no sparse encoding: zeros take a byte and a multiplication like any "
        "other weight",
    ),
    "ethos-u": Target(
        "ethos-u", "Ethos-U through Vela", ("int8",), False, True, False,
        "Vela takes dense int8 weights only; it packs the zeros itself, so they reduce flash "
        "traffic there",
    ),
}


def target(name: str, quantize: str) -> Target:
    """Look a target up and check that it executes the number format.

    Args:
        name: a key of `TARGETS`.
        quantize: one of `QUANTIZE`.
    Raises:
        ValueError: unknown name or number format, or a format the target cannot execute.

    Example:
        >>> target("micro", "int8").integer_io
        True
    """
    if name not in TARGETS:
        raise ValueError(f"unknown target {name!r}; possible are {_quoted(TARGETS)}")
    if quantize not in QUANTIZE:
        raise ValueError(f"unknown quantize {quantize!r}; possible are {_quoted(QUANTIZE)}")
    found = TARGETS[name]
    if quantize not in found.quantize:
        raise ValueError(
            f"target {name!r} ({found.runtime}) does not execute quantize={quantize!r}; "
            f"it executes {_quoted(found.quantize)}"
        )
    return found


def _quoted(names) -> str:
    return ", ".join(repr(name) for name in names)
