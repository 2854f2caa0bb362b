"""What `inspect` found in a file, and how it is shown."""

from __future__ import annotations

from dataclasses import asdict, dataclass

from tflite_export.device import Opinion
from tflite_export.ports import Port
from tflite_export.report import PORT_HEAD, markdown, markdown_text

__all__ = ["Inspection", "Stored"]

_HEAD = ("tensor", "shape", "type", "zeros", "encoding", "bytes")


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
    """What is in a .tflite file.

    Fields: `path`, `bytes`, `gzip_bytes`; `quantize` = number format; `tensors` = stored tensors
    that an operator reads; `operators` = {name: how many}; `inputs` and `outputs`, a
    `Port` each;
    `targets` = {name: `Opinion`}; `notes` on what could not be understood.

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
    targets: dict[str, Opinion]
    notes: tuple[str, ...] = ()

    def summary(self) -> str:
        """One line: file, bytes, number format, operators and tensors."""
        return (
            f"{self.path}: {self.bytes:,} bytes ({self.gzip_bytes:,} gzip), number format "
            f"{self.quantize}, {sum(self.operators.values())} operators, "
            f"{len(self.tensors)} stored tensors"
        )

    def to_dict(self) -> dict:
        """All fields as plain Python values, ready for JSON."""
        return asdict(self)

    def opinions(self) -> list[tuple[str, str]]:
        """Rows of a table: targets of the same opinion together, and the opinion."""
        together: dict[Opinion, list[str]] = {}
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

    def to_markdown(self) -> str:
        """The same as Markdown tables."""
        parts = [
            markdown_text(self.summary()),
            markdown([("operator", "count"), *((n, str(c)) for n, c in self.operators.items())]),
            markdown([PORT_HEAD, *(port.cells() for port in (*self.inputs, *self.outputs))]),
            markdown([_HEAD, *(tensor.cells() for tensor in self.tensors)]),
            markdown([("target", "runs it as it is"), *self.opinions()]),
            *(f"- {markdown_text(note)}" for note in self.notes),
        ]
        return "\n\n".join(parts) + "\n"

    def __rich__(self):
        from rich.console import Group
        from rich.markup import escape
        from rich.table import Table

        operators = ", ".join(f"{count} {name}" for name, count in self.operators.items())
        tensors, targets = Table(*_HEAD), Table("target", "runs it as it is")
        for tensor in self.tensors:
            tensors.add_row(*map(escape, tensor.cells()))
        for row in self.opinions():
            targets.add_row(*map(escape, row))
        lines = [
            self.summary(), *map(str, (*self.inputs, *self.outputs)), operators, *self.notes,
        ]
        return Group(*map(escape, lines), tensors, targets)
