# SPDX-License-Identifier: Apache-2.0
"""The report of `inspect`: what is in a file, and how that is shown."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from tflite_export.flatbuffer.signature_io import Port
from tflite_export.report.export_report import PORT_HEAD
from tflite_export.report.measurements import Compatibility
from tfprune.output import Table, as_dict, markdown, plain_text, rich_parts

__all__ = ["Inspection", "Stored"]


@dataclass(frozen=True)
class Stored:
    """One stored tensor; `zeros` is None where the type has no zero; `bytes` with its indices."""

    name: str
    shape: tuple[int, ...]
    dtype: str
    zeros: int | None
    elements: int
    encoding: str
    bytes: int

    def cells(self) -> tuple[str, ...]:
        """The row of a table."""
        share = "" if self.zeros is None else f"{self.zeros:,} ({self.zeros / self.elements:.0%})"
        shape = "x".join(str(size) for size in self.shape)
        return self.name, shape, self.dtype, share, self.encoding, f"{self.bytes:,}"


@dataclass(frozen=True, kw_only=True)
class Inspection:
    """The content of a .tflite file.

    Fields: `path`, `bytes`, `gzip_bytes`; `quantize` = number format; `tensors` = stored tensors
    that an operator reads; `operators` = {name: how many}; `inputs` and `outputs`, a `Port` each;
    `targets` = {name: `Compatibility`}; `notes` on what could not be understood.

    Example:
        >>> found = Inspection(path="a.tflite", bytes=9, gzip_bytes=8, quantize="none", tensors=(),
        ...                    operators={"ADD": 1}, inputs=(), outputs=(), targets={})
        >>> found.summary()
        'a.tflite: 9 bytes (8 gzip), number format none, 1 operators, 0 stored tensors'
    """

    path: str
    bytes: int
    gzip_bytes: int
    quantize: str
    tensors: tuple[Stored, ...]
    operators: dict[str, int]
    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]
    targets: dict[str, Compatibility]
    notes: tuple[str, ...] = ()

    def summary(self) -> str:
        """One line: file, bytes, number format, operators and tensors."""
        return (
            f"{self.path}: {self.bytes:,} bytes ({self.gzip_bytes:,} gzip), number format "
            f"{self.quantize}, {sum(self.operators.values())} operators, "
            f"{len(self.tensors)} stored tensors"
        )

    def opinions(self) -> list[tuple[str, str]]:
        """Rows of a table: targets of the same opinion together, and the opinion."""
        together: dict[Compatibility, list[str]] = {}
        for name, opinion in self.targets.items():
            together.setdefault(opinion, []).append(name)
        rows = []
        for opinion, names in together.items():
            verdict = "no: " if opinion.objections else "yes"
            text = "; ".join((*opinion.objections, *opinion.notes))
            if not opinion.objections and text:
                verdict += ": "
            rows.append((", ".join(names), verdict + text))
        return rows

    def parts(self) -> Iterable[str | tuple[str, ...] | Table]:
        """The printed parts: the summary, ends, operators, tensors, opinions and notes."""
        yield self.summary()
        yield Table(PORT_HEAD, tuple(port.cells() for port in (*self.inputs, *self.outputs)))
        yield Table(("operator", "count"), tuple((n, f"{c:,}") for n, c in self.operators.items()))
        yield Table(
            ("tensor", "shape", "type", "zeros", "encoding", "bytes"),
            tuple(tensor.cells() for tensor in self.tensors),
        )
        yield Table(("target", "runs it as it is"), tuple(self.opinions()))
        yield self.notes

    __str__, __rich_console__ = plain_text, rich_parts
    to_dict, to_markdown = as_dict, markdown
