# SPDX-License-Identifier: Apache-2.0
"""Training logs as records: CSV of Keras' CSVLogger, JSON, JSON lines, TensorBoard's events."""

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
    """What a log holds: a list of records (of .csv, .jsonl, a folder), or what a .json file holds.

    Args:
        path: a file, or a folder of TensorBoard (of `SparsityLog` or Keras), whose scalars are a
            record a step; those of a folder `validation` get `val_` before their name.
    Returns:
        It, and notes: a last line that was cut off is left out, and said.
    Raises:
        ValueError: another kind of file, one of more than 64 MiB, or one that cannot be read as
            what it is called.
        OSError: there is none.
    """
    path = Path(path)
    if path.is_dir():
        return _events(path)
    kind = path.suffix.lower()
    if kind not in (".csv", ".tsv", ".json", ".jsonl", ".log"):
        raise ValueError(
            f"{path}: expected a log that ends in .csv, .tsv, .log (of Keras' "
            "CSVLogger), .jsonl (a record a line) or .json, or a folder of "
            "TensorBoard."
        )
    _check_size(path, path.stat().st_size)
    try:
        text = path.read_text("utf-8")
        if kind == ".json":
            return json.loads(text), ()
        return _lines(text) if kind == ".jsonl" else _columns(text)
    except (UnicodeDecodeError, json.JSONDecodeError, csv.Error) as error:
        raise ValueError(f"{path} cannot be read as {kind}: {error}") from error


def _check_size(path: Path, size: int) -> None:
    if size > _LARGEST:
        raise ValueError(f"{path} has {size:,} bytes: expected at most {_LARGEST:,}.")


def _events(folder: Path) -> tuple[list[dict[str, Any]], tuple[str, ...]]:
    """The scalars that TensorBoard shows, a record a step."""
    files = sorted(folder.rglob("*.tfevents.*"))
    if not files:
        raise ValueError(
            f"{folder} holds no events of TensorBoard: expected the log_dir of "
            "SparsityLog or of Keras' TensorBoard, or the file of another log."
        )
    _check_size(folder, sum(file.stat().st_size for file in files))
    import tensorflow as tf

    steps: dict[int, dict[str, Any]] = {}
    notes: tuple[str, ...] = ()
    for file in files:
        before = "val_" if file.parent.name == "validation" else ""
        try:
            for event in tf.compat.v1.train.summary_iterator(str(file)):
                for value in event.summary.value:
                    held = (
                        tf.make_ndarray(value.tensor)
                        if value.HasField("tensor")
                        else value.simple_value
                    )
                    if value.metadata.plugin_data.plugin_name in ("", "scalars"):
                        steps.setdefault(event.step, {})[before + value.tag] = float(held)
        except tf.errors.DataLossError:
            notes = (f"{file.name} is damaged or cut off: what is before that is shown.",)
    return [{"step": step, **steps[step]} for step in sorted(steps)], notes


def _lines(text: str) -> tuple[list[dict[str, Any]], tuple[str, ...]]:
    lines = [line for line in text.splitlines() if line.strip()]
    records: list[dict[str, Any]] = []
    notes: tuple[str, ...] = ()
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
    notes: tuple[str, ...] = ()
    if rows and len(rows[-1]) < len(names):
        rows, notes = rows[:-1], ("The last line is cut off, and left out.",)
    return [dict(zip(names, map(_number, row), strict=False)) for row in rows], notes


def _number(text: str) -> int | float | str:
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            pass
    return text
