# SPDX-License-Identifier: Apache-2.0
"""Checks that every offset in a .tflite file stays inside it, before anything reads it."""

from __future__ import annotations

import functools
import inspect
import math
import re
import struct
from dataclasses import dataclass

from tflite_export.flatbuffer.graph import Graph, schema

__all__ = ["Field", "tables", "verified"]

_SIZES = {
    "Bool": 1,
    "Int8": 1,
    "Uint8": 1,
    "Int16": 2,
    "Uint16": 2,
    "Int32": 4,
    "Uint32": 4,
    "Float32": 4,
    "Int64": 8,
    "Uint64": 8,
    "Float64": 8,
}

_IDENTIFIER = b"TFL3"
_DEPTH = 64
# Bytes of one element, or of a part of one, by the names of the types.
_BYTES = {
    "FLOAT64": 8,
    "INT64": 8,
    "UINT64": 8,
    "COMPLEX64": 8,
    "FLOAT32": 4,
    "INT32": 4,
    "UINT32": 4,
    "FLOAT16": 2,
    "INT16": 2,
    "UINT16": 2,
    "BFLOAT16": 2,
    "INT8": 1,
    "UINT8": 1,
    "BOOL": 1,
    "INT4": 0.5,
    "UINT4": 0.5,
    "INT2": 0.25,
    "COMPLEX128": 16,
}
_LARGEST = 2**31


@dataclass(frozen=True)
class Field:
    """One field: its place in the vtable; `kind` = "scalar", "string", "table", "union" or a
    vector of the first three ("scalars", "strings", "tables"); `size` of a scalar in bytes;
    `table` = name of the table; `members` = {type number: name of the table} of a union, whose
    type is the field before."""

    slot: int
    kind: str
    size: int = 0
    table: str = ""
    members: dict[int, str] | None = None


@functools.cache
def tables() -> dict[str, tuple[Field, ...]]:
    """{table: its fields}.

    Example:
        >>> [field.kind for field in tables()["Buffer"]]
        ['scalars', 'scalar', 'scalar']
    """
    source = inspect.getsource(schema())
    unions = _unions(source)
    found = {}
    classes = re.findall(r"^class (\w+)\(object\):\n(.*?)(?=^class |\Z)", source, re.M | re.S)
    for name, body in classes:
        methods = re.findall(r"    def (\w+)\(self.*?\n(.*?)(?=\n    def |\Z)", body, re.S)
        fields: dict[int, Field] = {}
        for method, code in methods:
            slot = re.search(r"_tab\.Offset\((\d+)\)", code)
            field = _field(int(slot[1]), method, code, unions) if slot else None
            if field is not None:
                fields.setdefault(field.slot, field)
        if fields:
            found[name] = tuple(fields[slot] for slot in sorted(fields))
    if not {"Model", "SubGraph", "Tensor", "Operator", "Buffer"} <= found.keys():
        raise RuntimeError(
            "the schema of the installed ai-edge-litert is generated in a way that is not known "
            "here; install ai-edge-litert 2.3"
        )
    return found


def _field(slot: int, method: str, code: str, unions: dict) -> Field | None:
    number = re.search(r"_tab\.Get\(flatbuffers\.number_types\.(\w+)Flags, (\w)", code)
    vector, target = "_tab.Vector(" in code, re.search(r"obj = (\w+)\(\)", code)
    if "_tab.Union(" in code:
        return Field(slot, "union", members=unions.get(method, {}))
    if "_tab.String(" in code:
        return Field(slot, "strings" if vector else "string")
    if number:
        return Field(slot, "scalars" if vector else "scalar", _SIZES[number[1]])
    if target and "_tab.Indirect(" in code:
        return Field(slot, "tables" if vector else "table", table=target[1])
    return None


def _unions(source: str) -> dict[str, dict[int, str]]:
    """{accessor: {type number: table}}, from the functions that create the object of a union."""
    found = {}
    for creator, attribute in set(re.findall(r"= (\w+)Creator\(self\.(\w+)Type, ", source)):
        names = vars(getattr(schema(), creator))
        accessor = attribute[0].upper() + attribute[1:]
        found[accessor] = {
            number: name
            for name, number in names.items()
            if isinstance(number, int) and name != "NONE"
        }
    return found


def verified(content: bytes) -> Graph:
    """Check a file from end to end and read it.

    Everything is done in Python: LiteRT's own reader trusts what it is given, and a damaged file
    can crash the process.

    Args:
        content: bytes that may be anything.
    Returns:
        The file as a `Graph`.
    Raises:
        ValueError: no .tflite file, or a damaged one; the message says what is wrong.

    Example:
        >>> verified(b"PK-something-else")
        Traceback (most recent call last):
        ValueError: this is no .tflite file: it begins with b'PK-somet', expected TFL3 at byte 4
    """
    if len(content) < 8 or content[4:8] != _IDENTIFIER:
        if not content:
            raise ValueError("this is no .tflite file: it is empty")
        raise ValueError(
            f"this is no .tflite file: it begins with {content[:8]!r}, expected TFL3 at byte 4"
        )
    walk = _Walk(content)
    try:
        walk.table(walk.offset(0), "Model", 0)
        graph = Graph(content)
        _check(graph)
    except ValueError as error:
        raise ValueError(f"the .tflite file is damaged: {error}") from error
    except (
        ArithmeticError,
        AttributeError,
        LookupError,
        MemoryError,
        RecursionError,
        TypeError,
        struct.error,
    ) as error:
        # What the walk does not cover must not be worse than what it does.
        raise ValueError(
            f"the .tflite file is damaged: {type(error).__name__} while reading it ({error})"
        ) from error
    return graph


class _Walk:
    """Follows every offset of a flatbuffer, each inside the file, and no more than there can be."""

    def __init__(self, content: bytes):
        self.content, self.end = content, len(content)
        # Tables that share their bytes could make a small file endless.
        self.budget = self.end // 4 + 1000

    def inside(self, start: int, size: int) -> None:
        if start < 0 or size < 0 or start + size > self.end:
            raise ValueError(f"{size} bytes at {start} reach outside its {self.end} bytes")

    def number(self, form: str, at: int) -> int:
        self.inside(at, struct.calcsize(form))
        return struct.unpack_from(form, self.content, at)[0]

    def offset(self, at: int) -> int:
        return at + self.number("<I", at)

    def vector(self, at: int, size: int) -> tuple[int, int]:
        """(start, count) of the vector that the offset at `at` points to."""
        start = self.offset(at)
        count = self.number("<I", start)
        self.inside(start + 4, count * size)
        return start + 4, count

    def string(self, at: int) -> None:
        start, count = self.vector(at, 1)
        if self.number("<B", start + count) != 0:
            raise ValueError(f"a text at {start} does not end")

    def table(self, at: int, name: str, depth: int) -> None:
        self.budget -= 1
        if self.budget < 0 or depth > _DEPTH:
            raise ValueError("it has more tables inside each other than a file of its size can")
        vtable = at - self.number("<i", at)
        size = self.number("<H", vtable)
        self.inside(vtable, size)
        self.inside(at, self.number("<H", vtable + 2))
        for field in tables().get(name, ()):
            place = self._place(at, vtable, size, field.slot)
            if place:
                self._field(place, field, depth, self._place(at, vtable, size, field.slot - 2))

    def _place(self, at: int, vtable: int, size: int, slot: int) -> int:
        offset = self.number("<H", vtable + slot) if slot + 2 <= size else 0
        return at + offset if offset else 0

    def _field(self, place: int, field: Field, depth: int, before: int) -> None:
        if field.kind == "scalar":
            self.inside(place, field.size)
        elif field.kind == "scalars":
            self.vector(place, field.size)
        elif field.kind == "string":
            self.string(place)
        elif field.kind == "table":
            self.table(self.offset(place), field.table, depth + 1)
        elif field.kind == "union":
            chosen = (field.members or {}).get(self.number("<B", before) if before else 0, "")
            self.table(self.offset(place), chosen, depth + 1)
        else:
            start, count = self.vector(place, 4)
            for at in range(start, start + 4 * count, 4):
                if field.kind == "strings":
                    self.string(at)
                else:
                    self.table(self.offset(at), field.table, depth + 1)


def _check(graph: Graph) -> None:
    """Indices and sizes that a runtime relies on."""
    model = graph.model
    if not model.subgraphs or not model.buffers:
        raise ValueError("it has no graph")
    compressed = any(b"COMPRESSION" in bytes(m.name or b"") for m in model.metadata or [])
    for number, subgraph in enumerate(model.subgraphs):
        tensors = subgraph.tensors if subgraph.tensors is not None else []
        for index in range(len(tensors)):
            _check_tensor(graph, (number, index), compressed)
        for used in (subgraph.inputs, subgraph.outputs):
            _indices(used, len(tensors), 0, f"graph {number}")
        for position, operator in enumerate(graph.operators(number)):
            where = f"operator {position} of graph {number}"
            if not 0 <= operator.opcodeIndex < len(model.operatorCodes or ()):
                raise ValueError(f"{where} has no entry in the table of operators")
            _indices(operator.inputs, len(tensors), -1, where)
            _indices(operator.outputs, len(tensors), 0, where)


def _indices(used, count: int, least: int, where: str) -> None:
    for index in [] if used is None else used:
        if not least <= index < count:
            raise ValueError(f"{where} uses tensor {index} of {count}")


def _check_tensor(graph: Graph, at: tuple[int, int], compressed: bool) -> None:
    tensor, buffers = graph.tensor(*at), graph.model.buffers
    where = f"tensor {at[1]} of graph {at[0]}"
    if not 0 <= tensor.buffer < len(buffers):
        raise ValueError(f"{where} has buffer {tensor.buffer} of {len(buffers)}")
    shape = [] if tensor.shape is None else [int(size) for size in tensor.shape]
    if any(size < 0 for size in shape) or math.prod(shape) > _LARGEST:
        raise ValueError(f"{where} has shape {shape}")
    kinds = {number: name for name, number in vars(schema().TensorType).items()}
    size = _BYTES.get(kinds.get(tensor.type, ""))
    stored = len(graph.bytes_of(*at))
    if stored and size and tensor.sparsity is None and not compressed:
        wanted = math.ceil(math.prod(shape) * size)
        if stored != wanted:
            raise ValueError(f"{where} has {stored} bytes, expected {wanted}")
    table = tensor.quantization
    scales = len(graph.scales(*at))
    if scales > 1:
        axis = 0 if len(shape) == 1 else int(table.quantizedDimension or 0)
        zeros = 0 if table.zeroPoint is None else len(table.zeroPoint)
        if not 0 <= axis < len(shape) or scales != shape[axis] or zeros not in (0, 1, scales):
            raise ValueError(f"{where} has {scales} scales along axis {axis} of {shape}")
