# SPDX-License-Identifier: Apache-2.0
"""Plain records of what was packed, measured and found for a device."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Compatibility", "Measured", "Measurement", "Packed"]


@dataclass(frozen=True)
class Packed:
    """A file as a device gets it.

    Fields: `content` = its bytes; `encodings` = {(subgraph, tensor of the dense file): label} of
    the weights that are not dense; `remarks` = what was not gained or refused, and why;
    `dense` = the same file without encodings where the device needs that changed as well
    (alignment), else None for the dense file as it was given; `compiled` = what the device's own
    compiler makes of `content`, where that was asked for.
    """

    content: bytes
    encodings: dict[tuple[int, int], str]
    remarks: tuple[str, ...] = ()
    dense: bytes | None = None
    compiled: bytes | None = None


@dataclass(frozen=True)
class Measurement:
    """One measured value, e.g. `Measurement("arena", 107680, "bytes")`."""

    name: str
    value: float
    unit: str


@dataclass(frozen=True)
class Measured:
    """Measured `values`, and for each value that is `missing` a sentence that says why.

    Example:
        >>> Measured((Measurement("file", 10, "bytes"),)).to_dict()
        {'file': (10, 'bytes')}
    """

    values: tuple[Measurement, ...]
    missing: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, tuple[float, str]]:
        """{name: (value, unit)}."""
        return {found.name: (found.value, found.unit) for found in self.values}


@dataclass(frozen=True)
class Compatibility:
    """Whether a device runs a finished file: `objections` to running it as it is, and `notes`."""

    objections: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
