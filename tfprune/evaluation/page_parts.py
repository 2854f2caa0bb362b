# SPDX-License-Identifier: Apache-2.0
"""Sections of a page from reports, dictionaries, histories and training logs."""

from __future__ import annotations

import dataclasses
import math
import os
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from tfprune.evaluation import training_log
from tfprune.evaluation.page import Figure, Section
from tfprune.plain_numbers import is_integer, is_real
from tfprune.report_forms import Table

__all__ = ["section_of"]

_ROWS = 200  # most of a table
_POINTS = 500  # most of a line
_DEEPEST = 20
_COUNTERS = ("epoch", "step", "batch", "iteration")


def section_of(name: str, thing: Any) -> Section:
    """A section of a page from nearly anything that a run leaves behind.

    Args:
        name: its heading.
        thing: a report of tfprune or tflite_export, or anything else with `parts()`; anything with
            `to_dict()`; a mapping; a History of Keras or its dictionary; the path of a log: .csv
            (of CSVLogger), .jsonl or .json; a text or a list of texts; a `Section`, whose parts
            are taken.
    Returns:
        Its tables and sentences; of a training a figure, too. Of tables of more than 200 rows
        some are shown, from the first to the last, and it is said.
    Raises:
        TypeError: anything else.
        ValueError, OSError: a log that cannot be read.
        ImportError: a training's figure, without matplotlib.

    Example:
        >>> section_of("sizes", {"bytes": 1234}).parts[0].rows
        (('bytes', '1,234'),)
    """
    return Section(name, tuple(part for part in _parts(name, thing) if _filled(part)))


def _parts(name: str, thing: Any) -> Iterator[Any]:
    if isinstance(thing, Section):
        yield from thing.parts
    elif isinstance(thing, str) and not _names_a_log(thing):
        yield thing
    elif isinstance(thing, (str, os.PathLike)):
        held, notes = training_log.read(thing)
        yield notes
        yield from _records(held) if _is_records(held) else _parts(name, held)
    elif isinstance(thing, Mapping):
        yield from _series(thing) if _is_series(thing) else _mapping(thing)
    elif callable(getattr(thing, "parts", None)) and not isinstance(thing, type):
        yield from thing.parts()
    elif isinstance(getattr(thing, "history", None), Mapping):
        epochs = getattr(thing, "epoch", None)
        yield from _series(thing.history, [one + 1 for one in epochs] if epochs else None)
    elif callable(getattr(thing, "to_dict", None)) and not isinstance(thing, type):
        yield from _parts(name, thing.to_dict())
    elif isinstance(_unfolded(thing), Mapping):
        yield from _mapping(_unfolded(thing))
    elif _is_records(thing):
        yield from _records(thing)
    elif isinstance(thing, Sequence) and all(isinstance(one, str) for one in thing):
        yield tuple(thing)
    else:
        raise TypeError(
            f"{name!r}: got {type(thing).__name__}; expected something with parts() or to_dict() "
            "(a report), a mapping, a History of Keras, texts, or the path of a .csv, .jsonl or "
            ".json log.")


def _filled(part: Any) -> bool:
    return bool(part.rows) if isinstance(part, Table) else bool(part)


def _names_a_log(text: str) -> bool:
    return "\n" not in text and text.lower().endswith((".csv", ".tsv", ".jsonl", ".json", ".log"))


def _is_records(thing: Any) -> bool:
    return (isinstance(thing, Sequence) and len(thing) > 0
            and all(isinstance(one, Mapping) for one in thing))


def _is_series(thing: Mapping) -> bool:
    """Whether it is a History's dictionary: lists of numbers, equally long."""
    lists = [one for one in thing.values() if isinstance(one, Sequence) and not isinstance(one, str)
             and len(one) > 0 and all(map(is_real, one))]
    return bool(thing) and len(lists) == len(thing) and len({len(one) for one in lists}) == 1


def _series(series: Mapping[str, Sequence[Any]], epochs: Sequence[Any] | None = None, *,
            label: str = "epoch") -> Iterator[Any]:
    """A training: its figure and its table."""
    from tfprune.evaluation import figures

    length = max((len(one) for one in series.values()), default=0)
    if epochs is None or len(epochs) != length:
        epochs = range(1, length + 1)
    if length > 1:
        some = _some(length, _POINTS)
        drawn = {name: [values[n] for n in some if n < len(values)]
                 for name, values in series.items()}
        yield Figure(figures.svg(figures.training(drawn, [epochs[n] for n in some], label=label)),
                     "" if len(some) == length else
                     f"{len(some):,} of {length:,} {label}s are drawn.")
    rows = [{label: epochs[n], **{name: values[n] if n < len(values) else None
                                  for name, values in series.items()}} for n in range(length)]
    yield from _table(rows)


def _records(records: Sequence[Mapping]) -> Iterator[Any]:
    """A table; of records that count epochs or steps a figure, too."""
    counter = next((one for one in _COUNTERS if all(one in record for record in records)), None)
    numbers = {name: [record[name] for record in records] for name in _columns(records)
               if name != counter and all(is_real(record.get(name)) for record in records)}
    if counter and numbers and all(is_real(record[counter]) for record in records):
        places = [record[counter] for record in records]
        if places == sorted(set(places)):
            # Keras writes the first epoch as 0.
            first = 1 if counter == "epoch" and places[0] == 0 else 0
            yield from (part for part in _series(numbers, [one + first for one in places],
                                                 label=counter) if isinstance(part, Figure))
    yield from _table([_flat(record) for record in records])


def _table(rows: Sequence[Mapping]) -> Iterator[Any]:
    some = _some(len(rows), _ROWS)
    columns = _columns(rows)
    if len(some) < len(rows):
        yield f"{len(some):,} of {len(rows):,} rows:"
    yield Table(tuple(map(str, columns)), tuple(
        tuple(_cell(rows[n].get(name)) for name in columns) for n in some))


def _some(length: int, most: int) -> list[int]:
    """Places from the first to the last, evenly."""
    return np.unique(np.linspace(0, length - 1, min(length, most)).round().astype(int)).tolist()


def _columns(rows: Sequence[Mapping]) -> list[Any]:
    return list(dict.fromkeys(name for row in rows for name in row))


def _mapping(thing: Mapping) -> Iterator[Any]:
    """Single values as one table, with dots in the names of inner ones; then the inner tables."""
    singles: dict[str, Any] = {}
    tables: dict[str, Sequence[Mapping]] = {}
    _sort_out("", thing, singles, tables)
    yield Table(("name", "value"), tuple((name, _cell(one)) for name, one in singles.items()))
    for name, rows in tables.items():
        yield f"{name}:"
        yield from _table([_flat(row) for row in rows])


def _sort_out(name: str, value: Any, singles: dict[str, Any],
              tables: dict[str, Sequence[Mapping]]) -> None:
    value = _unfolded(value)
    rows = [_unfolded(one) for one in value] if isinstance(value, (tuple, list)) else value
    if name.count(".") > _DEEPEST:
        raise ValueError(f"{name} is nested deeper than {_DEEPEST} times.")
    if _is_records(rows):
        tables[name] = rows
    elif not isinstance(value, Mapping) or not value:
        singles[name] = value
    elif name and len(value) > 1 and all(isinstance(one, Mapping) for one in value.values()):
        tables[name] = [{"name": row, **held} for row, held in value.items()]
    else:
        for key, inner in value.items():
            _sort_out(f"{name}.{key}" if name else str(key), inner, singles, tables)


def _unfolded(value: Any) -> Any:
    """The fields of a dataclass; anything else as it is."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {one.name: getattr(value, one.name) for one in dataclasses.fields(value)}
    return value


def _flat(record: Mapping, name: str = "") -> dict[str, Any]:
    """A record whose inner mappings are columns of their own."""
    flat: dict[str, Any] = {}
    for key, value in record.items():
        inner = f"{name}.{key}" if name else str(key)
        flat |= _flat(value, inner) if isinstance(value, Mapping) and value else {inner: value}
    return flat


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
