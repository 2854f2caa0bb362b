"""What an export wrote, and what it did not gain."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field

from tflite_export.device import Quantity
from tflite_export.ports import Port

__all__ = ["PORT_HEAD", "ExportReport", "TensorReport", "markdown", "markdown_text"]

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

    Fields: `path`, `target`, `quantize` as asked for; `runtime` of the target; `batch` "dynamic"
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
    measured: tuple[Quantity, ...] = ()
    dense_measured: tuple[Quantity, ...] = ()
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

    def to_dict(self) -> dict:
        """All fields as plain Python values, ready for JSON."""
        result = asdict(self)
        for name in ("tensors", "ports"):
            result[name] = [{**part, "shape": list(part["shape"])} for part in result[name]]
        return {**result, **{
            name: list(result[name])
            for name in ("measured", "dense_measured", "missing", "remarks")
        }}

    def to_markdown(self) -> str:
        """The report as Markdown: the summary, measured values, weights and remarks.

        Example:
            >>> report = ExportReport(path="a.tflite", bytes=10, gzip_bytes=9, dense_bytes=10,
            ...                       dense_gzip_bytes=9, error=0.0, agreement=1.0,
            ...                       measured=(Quantity("arena", 2048, "bytes"),))
            >>> print(report.to_markdown().splitlines()[4])
            | arena | 2,048 | | bytes |
        """
        weights = [("weight", "shape", "type", "zeros", "encoding")]
        weights += [tensor.cells() for tensor in self.tensors]
        parts = [markdown_text(self.summary())]
        if self.ports:
            parts.append(markdown([PORT_HEAD, *(port.cells() for port in self.ports)]))
        if self.measured:
            parts.append(markdown([("measured", "file", "dense", "unit"), *self.measurements()]))
        if self.tensors:
            parts.append(markdown(weights))
        notes = (*self.missing, *self.remarks)
        if notes:
            parts.append("\n".join(f"- {markdown_text(note)}" for note in notes))
        return "\n\n".join(parts) + "\n"

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
        """One line: file, bytes, error, agreement, inputs."""
        return (
            f"{self.path}: {self.bytes:,} bytes ({self.gzip_bytes:,} gzip; dense "
            f"{self.dense_bytes:,}), error {self.error:.1e}, agreement {self.agreement:.3f} "
            f"on {self.examples} {self.inputs} examples, batch {self.batch}"
        )

    def __rich__(self):
        from rich.console import Group
        from rich.markup import escape
        from rich.table import Table

        measured = Table("measured", "file", "dense", "unit")
        for row in self.measurements():
            measured.add_row(*map(escape, row))
        weights = Table("weight", "shape", "type", "zeros", "encoding")
        for tensor in self.tensors:
            weights.add_row(*map(escape, tensor.cells()))
        notes = [f"- {escape(note)}" for note in (*self.missing, *self.remarks)]
        lines = map(escape, (self.summary(), *map(str, self.ports)))
        return Group(*lines, measured, weights, *notes)


def _number(value: float) -> str:
    return f"{value:,}" if isinstance(value, int) else f"{value:,.4g}"


def markdown_text(text: str) -> str:
    """Names of weights have underscores, which Markdown would take for emphasis."""
    for mark in "\\|_*`<":
        text = text.replace(mark, "\\" + mark)
    return text


def markdown(rows: list[tuple[str, ...]]) -> str:
    """A Markdown table; the first row is its head."""
    head, *body = [[markdown_text(cell) for cell in row] for row in rows]
    lines = [head, ["---"] * len(head), *body]
    joined = ["| " + " | ".join(line) + " |" for line in lines]
    return "\n".join(line.replace("|  |", "| |") for line in joined)
