# SPDX-License-Identifier: Apache-2.0
"""Training logs as records: CSV of Keras' CSVLogger, JSON and JSON lines."""

from __future__ import annotations

import csv
import io
import json
import os
from pathlib import Path
from typing import Any

__all__ = ["read"]

_LARGEST = 64 << 20  # bytes of a file


def read(path: str | os.PathLike) -> tuple[Any, tuple[str, ...]]:
    """What a log holds: a list of records (of .csv, .jsonl), or what a .json file holds.

    Returns:
        It, and notes: a last line that was cut off is left out, and said.
    Raises:
        ValueError: another kind of file, one of more than 64 MiB, or one that cannot be read as
            what it is called.
        OSError: there is none.
    """
    path = Path(path)
    kind = path.suffix.lower()
    if kind not in (".csv", ".tsv", ".json", ".jsonl", ".log"):
        raise ValueError(f"{path}: expected a log that ends in .csv, .tsv, .log (of Keras' "
                         "CSVLogger), .jsonl (a record a line) or .json.")
    if (size := path.stat().st_size) > _LARGEST:
        raise ValueError(f"{path} has {size:,} bytes: expected at most {_LARGEST:,}.")
    try:
        text = path.read_text("utf-8")
        if kind == ".json":
            return json.loads(text), ()
        return _lines(text) if kind == ".jsonl" else _columns(text)
    except (UnicodeDecodeError, json.JSONDecodeError, csv.Error) as error:
        raise ValueError(f"{path} cannot be read as {kind}: {error}") from error


def _lines(text: str) -> tuple[list[dict[str, Any]], tuple[str, ...]]:
    lines = [line for line in text.splitlines() if line.strip()]
    records, notes = [], ()
    for number, line in enumerate(lines, 1):
        try:
            record = json.loads(line)
        except json.JSONDecodeError:
            if number < len(lines):
                raise
            notes = (f"The last of {number:,} lines is cut off, and left out.",)
            break
        records.append(record if isinstance(record, dict) else {"value": record})
    return records, notes


def _columns(text: str) -> tuple[list[dict[str, Any]], tuple[str, ...]]:
    head = text.partition("\n")[0]
    separator = max(",;\t", key=head.count)
    rows = [row for row in csv.reader(io.StringIO(text), delimiter=separator) if row]
    if not rows:
        return [], ()
    names, *rows = rows
    notes = ()
    if rows and len(rows[-1]) < len(names):
        rows, notes = rows[:-1], ("The last line is cut off, and left out.",)
    return [dict(zip(names, map(_number, row))) for row in rows], notes


def _number(text: str) -> int | float | str:
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            pass
    return text
