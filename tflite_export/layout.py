# SPDX-License-Identifier: Apache-2.0
"""The tables of the .tflite format: which field of which table is what.

Read from the generated accessors, so that it is the format of the installed ai-edge-litert.
"""

from __future__ import annotations

import functools
import inspect
import re
from dataclasses import dataclass

from tflite_export.graph import schema

__all__ = ["Field", "tables"]

_SIZES = {
    "Bool": 1, "Int8": 1, "Uint8": 1, "Int16": 2, "Uint16": 2, "Int32": 4, "Uint32": 4,
    "Float32": 4, "Int64": 8, "Uint64": 8, "Float64": 8,
}


@dataclass(frozen=True)
class Field:
    """One field: its place in the vtable; `kind` = "scalar", "string", "table", "union" or a
    vector of the first three ("scalars", "strings", "tables"); `size` of a scalar in bytes;
    `table` = name of the table, or {type number: name} of a union, whose type is the field
    before."""

    slot: int
    kind: str
    size: int = 0
    table: str | dict[int, str] = ""


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
        fields = {}
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
        return Field(slot, "union", table=unions.get(method, {}))
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
            number: name for name, number in names.items()
            if isinstance(number, int) and name != "NONE"
        }
    return found
