"""What an export wrote, and what it did not gain."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field

__all__ = ["ExportReport", "TensorReport"]


@dataclass(frozen=True)
class TensorReport:
    """One stored weight: its name in the file, shape, number type, zeros and encoding."""

    name: str
    shape: tuple[int, ...]
    dtype: str
    zeros: int
    elements: int
    encoding: str


@dataclass(frozen=True, kw_only=True)
class ExportReport:
    """The result of `tflite_export.export`.

    Fields: `path`, `target`, `quantize` as asked for; `batch` "dynamic" or "1";
    `bytes` and `gzip_bytes` of the file; `dense_bytes` and `dense_gzip_bytes` without sparse
    encoding; `tensors` one `TensorReport` per weight; `error` largest deviation from Keras
    relative to the largest |output|; `agreement` share of equal argmax for outputs with more than
    one value, else 1 - mean relative error, the worst output counts; `inputs` "data" or "seeded
    random" and `examples` how many; `remarks` why something was not gained.

    Example:
        >>> report = ExportReport(path="a.tflite", bytes=10, gzip_bytes=9, dense_bytes=10,
        ...                       dense_gzip_bytes=9, error=0.0, agreement=1.0)
        >>> report.sparse, report.to_dict()["bytes"]
        (False, 10)
    """

    path: str
    target: str = "mobile"
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
    tensors: tuple[TensorReport, ...] = ()
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
        result["tensors"] = [
            {**tensor, "shape": list(tensor["shape"])} for tensor in result["tensors"]
        ]
        return {**result, "remarks": list(self.remarks)}

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

        table = Table("weight", "shape", "type", "zeros", "encoding")
        for tensor in self.tensors:
            share = tensor.zeros / max(1, tensor.elements)
            shape = "x".join(str(size) for size in tensor.shape)
            table.add_row(
                escape(tensor.name), shape, tensor.dtype, f"{tensor.zeros:,} ({share:.0%})",
                tensor.encoding,
            )
        remarks = [f"- {escape(remark)}" for remark in self.remarks]
        return Group(escape(self.summary()), table, *remarks)
