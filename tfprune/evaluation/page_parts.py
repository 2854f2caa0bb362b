# SPDX-License-Identifier: Apache-2.0
"""Sections of a page from reports, dictionaries, histories and training logs."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from tfprune.evaluation import figures, training_log
from tfprune.evaluation.page import Figure, Section
from tfprune.evaluation.page_tables import (
    columns_of,
    flat,
    is_records,
    mapping,
    some_of,
    table,
    unfolded,
)
from tfprune.output.argument_checks import is_real
from tfprune.output.report_forms import Table

__all__ = ["section_of", "sections_of"]

_POINTS = 500  # most of a line
_COUNTERS = ("epoch", "step", "batch", "iteration")


def section_of(name: str, thing: Any) -> Section:
    """A section of a page from nearly anything that a run leaves behind.

    Args:
        name: its heading.
        thing: a report of tfprune or tflite_export, or anything else with `parts()`; anything with
            `to_dict()`; a mapping; a History of Keras or its dictionary; the path of a log: .csv
            (of CSVLogger), .jsonl or .json, or, as a `pathlib.Path`, a folder of TensorBoard (of
            SparsityLog); a text or a list of texts; a `Section`, whose parts
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


def sections_of(more: Sequence[Any]) -> Iterator[Section]:
    """Sections of what else a page is to show: things, or (title, thing)."""
    for one in more:
        title, thing = (
            one
            if isinstance(one, tuple) and len(one) == 2 and isinstance(one[0], str)
            else (_title(one), one)
        )
        yield section_of(title, thing)


def _title(thing: Any) -> str:
    return (
        os.path.basename(thing) if isinstance(thing, (str, os.PathLike)) else (type(thing).__name__)
    )


def _parts(name: str, thing: Any) -> Iterator[Any]:
    if isinstance(thing, Section):
        yield from thing.parts
    elif isinstance(thing, str) and not _names_a_log(thing):
        yield thing
    elif isinstance(thing, (str, os.PathLike)):
        held, notes = training_log.read(thing)
        yield notes
        yield from _records(held) if is_records(held) else _parts(name, held)
    elif isinstance(thing, Mapping):
        yield from _series(thing) if _is_series(thing) else mapping(thing)
    elif callable(getattr(thing, "parts", None)) and not isinstance(thing, type):
        yield from thing.parts()
    elif isinstance(getattr(thing, "history", None), Mapping):
        epochs = getattr(thing, "epoch", None)
        yield from _series(thing.history, [one + 1 for one in epochs] if epochs else None)
    elif callable(getattr(thing, "to_dict", None)) and not isinstance(thing, type):
        yield from _parts(name, thing.to_dict())
    elif isinstance(unfolded(thing), Mapping):
        yield from mapping(unfolded(thing))
    elif is_records(thing):
        yield from _records(thing)
    elif isinstance(thing, Sequence) and all(isinstance(one, str) for one in thing):
        yield tuple(thing)
    else:
        raise TypeError(
            f"{name!r}: got {type(thing).__name__}; expected something with parts() or to_dict() "
            "(a report), a mapping, a History of Keras, texts, the path of a .csv, .jsonl or "
            ".json log, or the pathlib.Path of a folder of TensorBoard."
        )


def _filled(part: Any) -> bool:
    return bool(part.rows) if isinstance(part, Table) else bool(part)


def _names_a_log(text: str) -> bool:
    return "\n" not in text and text.lower().endswith((".csv", ".tsv", ".jsonl", ".json", ".log"))


def _is_series(thing: Mapping) -> bool:
    """Whether it is a History's dictionary: lists of numbers, equally long."""
    lists = [
        one
        for one in thing.values()
        if isinstance(one, Sequence)
        and not isinstance(one, str)
        and len(one) > 0
        and all(map(is_real, one))
    ]
    return bool(thing) and len(lists) == len(thing) and len({len(one) for one in lists}) == 1


def _series(
    series: Mapping[str, Sequence[Any]],
    epochs: Sequence[Any] | None = None,
    *,
    label: str = "epoch",
) -> Iterator[Any]:
    """A training: its figure and its table."""
    length = max((len(one) for one in series.values()), default=0)
    if epochs is None or len(epochs) != length:
        epochs = range(1, length + 1)
    if length > 1:
        some = some_of(length, _POINTS)
        drawn = {
            name: [values[n] for n in some if n < len(values)] for name, values in series.items()
        }
        figure = figures.training(drawn, [epochs[n] for n in some], label=label)
        metrics = len({name.removeprefix("val_") for name in series})
        said = [
            f"{shown:,} of {held:,} {what} are drawn."
            for shown, held, what in (
                (len(some), length, f"{label}s"),
                (len(figure.axes), metrics, "metrics"),
            )
            if shown < held
        ]
        yield Figure(figures.svg(figure), " ".join(said))
    rows = [
        {
            label: epochs[n],
            **{name: values[n] if n < len(values) else None for name, values in series.items()},
        }
        for n in range(length)
    ]
    yield from table(rows)


def _records(records: Sequence[Mapping]) -> Iterator[Any]:
    """A table; of records that count epochs or steps a figure, too."""
    counter = next((one for one in _COUNTERS if all(one in record for record in records)), None)
    numbers = {
        name: [record[name] for record in records]
        for name in columns_of(records)
        if name != counter and all(is_real(record.get(name)) for record in records)
    }
    if counter and numbers and all(is_real(record[counter]) for record in records):
        places = [record[counter] for record in records]
        if places == sorted(set(places)):
            # Keras writes the first epoch as 0.
            first = 1 if counter == "epoch" and places[0] == 0 else 0
            yield from (
                part
                for part in _series(numbers, [one + first for one in places], label=counter)
                if isinstance(part, Figure)
            )
    yield from table([flat(record) for record in records])
