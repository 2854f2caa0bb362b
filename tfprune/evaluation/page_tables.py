# SPDX-License-Identifier: Apache-2.0
"""Tables from records and nested dictionaries."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from tfprune.output.argument_checks import is_integer, is_real
from tfprune.output.report_forms import Table

__all__ = ["columns_of", "flat", "is_records", "mapping", "some_of", "table", "unfolded"]

_ROWS = 200  # most of a table
_DEEPEST = 20


def table(rows: Sequence[Mapping]) -> Iterator[Any]:
    """A table of records; of many some, with a sentence before it."""
    some = some_of(len(rows), _ROWS)
    columns = columns_of(rows)
    if len(some) < len(rows):
        yield f"{len(some):,} of {len(rows):,} rows:"
    yield Table(
        tuple(map(str, columns)),
        tuple(tuple(_cell(rows[n].get(name)) for name in columns) for n in some),
    )


def some_of(length: int, most: int) -> list[int]:
    """Places from the first to the last, evenly."""
    return np.unique(np.linspace(0, length - 1, min(length, most)).round().astype(int)).tolist()


def columns_of(rows: Sequence[Mapping]) -> list[Any]:
    """The names of all values, in the order in which they come."""
    return list(dict.fromkeys(name for row in rows for name in row))


def mapping(thing: Mapping) -> Iterator[Any]:
    """Single values as one table, with dots in the names of inner ones; then the inner tables."""
    singles: dict[str, Any] = {}
    tables: dict[str, Sequence[Mapping]] = {}
    _sort_out("", thing, singles, tables)
    yield Table(("name", "value"), tuple((name, _cell(one)) for name, one in singles.items()))
    for name, rows in tables.items():
        yield f"{name}:"
        yield from table([flat(row) for row in rows])


def _sort_out(
    name: str,
    value: Any,
    singles: dict[str, Any],
    tables: dict[str, Sequence[Mapping]],
    depth: int = 0,
) -> None:
    value = unfolded(value)
    rows = [unfolded(one) for one in value] if isinstance(value, (tuple, list)) else value
    if depth > _DEEPEST:
        raise ValueError(f"{name} is nested deeper than {_DEEPEST} times.")
    if is_records(rows):
        tables[name] = rows
    elif not isinstance(value, Mapping) or not value:
        singles[name] = value
    elif name and len(value) > 1 and all(isinstance(one, Mapping) for one in value.values()):
        tables[name] = [{"name": row, **held} for row, held in value.items()]
    else:
        for key, inner in value.items():
            _sort_out(f"{name}.{key}" if name else str(key), inner, singles, tables, depth + 1)


def unfolded(value: Any) -> Any:
    """The fields of a dataclass; anything else as it is."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {one.name: getattr(value, one.name) for one in dataclasses.fields(value)}
    return value


def flat(record: Mapping, name: str = "") -> dict[str, Any]:
    """A record whose inner mappings are columns of their own."""
    columns: dict[str, Any] = {}
    for key, value in record.items():
        inner = f"{name}.{key}" if name else str(key)
        columns |= flat(value, inner) if isinstance(value, Mapping) and value else {inner: value}
    return columns


def _cell(value: Any) -> str:
    """A value as text; numbers with their thousands apart."""
    if value is None or isinstance(value, (str, bytes)):
        return "-" if value is None else str(value)
    if isinstance(value, (bool, np.bool_)):
        return "yes" if value else "no"
    if is_integer(value):
        return f"{int(value):,}"
    if is_real(value):
        value = float(value)
        if not math.isfinite(value):
            return str(value)
        if value == 0 or 1e-4 <= abs(value) < 1e6:
            return f"{value:,.6g}" if abs(value) < 1000 else f"{value:,.1f}"
        return f"{value:.4g}"
    if isinstance(value, np.ndarray):
        value = value.tolist()
    if isinstance(value, Mapping):
        return ", ".join(f"{key}: {_cell(one)}" for key, one in value.items())
    if isinstance(value, (tuple, list, set, frozenset)):
        held = sorted(value, key=str) if isinstance(value, (set, frozenset)) else value
        return ", ".join(map(_cell, held))
    return str(value)


def is_records(thing: Any) -> bool:
    """Whether it is a list of mappings."""
    return (
        isinstance(thing, Sequence)
        and len(thing) > 0
        and all(isinstance(one, Mapping) for one in thing)
    )
