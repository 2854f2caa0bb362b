# SPDX-License-Identifier: Apache-2.0
"""The report of `export`: what was written, and what was not gained."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from tflite_export.flatbuffer.signature_io import Port
from tflite_export.report.measurements import Measurement
from tfprune.output import Table, as_dict, markdown, plain_text, rich_parts

__all__ = ["ExportReport", "PORT_HEAD", "TensorReport"]

PORT_HEAD = ("position", "name", "shape", "type", "scale", "zero point")


@dataclass(frozen=True)
class TensorReport:
    """One stored weight: its name in the file, shape, number type, zeros and encoding."""

    name: str
    shape: tuple[int, ...]
    dtype: str
    zeros: int
    elements: int
    encoding: str

    def cells(self) -> tuple[str, ...]:
        """The row of a table."""
        shape = "x".join(str(size) for size in self.shape)
        share = self.zeros / max(1, self.elements)
        return self.name, shape, self.dtype, f"{self.zeros:,} ({share:.0%})", self.encoding


@dataclass(frozen=True, kw_only=True)
class ExportReport:
    """The result of `tflite_export.export`.

    Fields: `path`, `target`, `quantize` as asked for; `compiled` the file that the device's
    compiler made of it, "" if none was asked for; `runtime` of the target; `batch` "dynamic"
    or "1"; `bytes` and `gzip_bytes` of the file; `dense_bytes` and `dense_gzip_bytes` without
    encodings; `tensors` one `TensorReport` per weight; `error` largest deviation from Keras
    relative to the largest |output|; `agreement` share of equal argmax for outputs with more than
    one value, else 1 - mean relative error, the worst output counts; `inputs` "data" or "seeded
    random" and `examples` how many; `ports` the file's inputs, then its outputs, each in the order
    of their positions; `measured` what was measured for the device, and `dense_measured` of the
    file without encodings; `missing` what could not be measured, and why; `remarks` why something
    was not gained.

    Example:
        >>> report = ExportReport(path="a.tflite", bytes=10, gzip_bytes=9, dense_bytes=10,
        ...                       dense_gzip_bytes=9, error=0.0, agreement=1.0)
        >>> report.sparse, report.to_dict()["bytes"]
        (False, 10)
    """

    path: str
    compiled: str = ""
    target: str = "mobile"
    runtime: str = ""
    quantize: str = "none"
    batch: str = "1"
    bytes: int
    gzip_bytes: int
    dense_bytes: int
    dense_gzip_bytes: int
    error: float
    agreement: float
    inputs: str = "data"
    examples: int = 0
    ports: tuple[Port, ...] = ()
    tensors: tuple[TensorReport, ...] = ()
    measured: tuple[Measurement, ...] = ()
    dense_measured: tuple[Measurement, ...] = ()
    missing: tuple[str, ...] = ()
    remarks: tuple[str, ...] = field(default=())

    @property
    def sparse(self) -> bool:
        """Whether any weight is sparse-encoded."""
        return any(tensor.encoding != "dense" for tensor in self.tensors)

    @property
    def zeros(self) -> int:
        """Zeros in all reported weights."""
        return sum(tensor.zeros for tensor in self.tensors)

    def parts(self) -> Iterable[str | tuple[str, ...] | Table]:
        """The printed parts: the summary, ends, measured values, weights and remarks.

        Example:
            >>> report = ExportReport(path="a.tflite", bytes=10, gzip_bytes=9, dense_bytes=10,
            ...                       dense_gzip_bytes=9, error=0.0, agreement=1.0,
            ...                       measured=(Measurement("arena", 2048, "bytes"),))
            >>> print(report.to_markdown().splitlines()[4])
            | arena | 2,048 | | bytes |
        """
        yield self.summary()
        yield Table(PORT_HEAD, tuple(port.cells() for port in self.ports))
        yield Table(("measured", "file", "dense", "unit"), tuple(self.measurements()))
        yield Table(
            ("weight", "shape", "type", "zeros", "encoding"),
            tuple(tensor.cells() for tensor in self.tensors),
        )
        yield *self.missing, *self.remarks

    __str__, __rich_console__ = plain_text, rich_parts
    to_dict, to_markdown = as_dict, markdown

    def measurements(self) -> list[tuple[str, str, str, str]]:
        """Rows of a table: name, value, value of the dense file where it differs, unit."""
        dense = {found.name: found.value for found in self.dense_measured}
        rows = []
        for found in self.measured:
            before = dense.get(found.name, found.value)
            other = "" if before == found.value else _number(before)
            rows.append((found.name, _number(found.value), other, found.unit))
        return rows

    def summary(self) -> str:
        """One line: file, target, number format, bytes, error, agreement, inputs."""
        return (
            f"{self.path} ({self.target}, {self.quantize}): {self.bytes:,} bytes "
            f"({self.gzip_bytes:,} gzip; dense {self.dense_bytes:,}), error {self.error:.1e}, "
            f"agreement {self.agreement:.3f} on {self.examples} {self.inputs} examples, "
            f"batch {self.batch}"
        )


def _number(value: float) -> str:
    return f"{value:,}" if isinstance(value, int) else f"{value:,.4g}"
