# SPDX-License-Identifier: Apache-2.0
"""The forms of every report: plain text, rich, Markdown and a dictionary.

A report says its content once, by `parts()`: sentences, lists of sentences and tables, in order.
Its class takes the forms from here:

    __str__, __rich_console__ = plain_text, rich_parts
    to_dict, to_markdown = as_dict, markdown
"""

from __future__ import annotations

import dataclasses
import io
import math
import re
import shutil
import textwrap
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import Enum
from pathlib import PurePath
from typing import Any

import numpy as np

_NUMBER = re.compile(r"[-+]?\d|-?$")


@dataclass(frozen=True)
class Table:
    """A part of a report: `head` and `rows` of text. Columns of numbers are set to the right.

    Example:
        >>> Table(("group", "channels"), (("conv1", "16"),)).rows[0]
        ('conv1', '16')
    """

    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]

    @property
    def numeric(self) -> tuple[bool, ...]:
        """Which columns hold numbers only; never the first, which names the row."""
        columns = zip(*self.rows, strict=True)
        return tuple(n > 0 and all(map(_NUMBER.match, column)) for n, column in enumerate(columns))


def plain_text(report: Any) -> str:
    """The report as text, as wide as the terminal, 80 columns without one."""
    width = shutil.get_terminal_size((80, 24)).columns
    shown = []
    for part in _parts(report):
        if isinstance(part, Table):
            shown += ["", _drawn(part, width), ""]
        elif isinstance(part, str):
            shown.append(_filled(part, width))
        else:
            shown += [_filled(f"- {text}", width) for text in part]
    return re.sub(r"\n{3,}", "\n\n", "\n".join(shown)).strip("\n")


def rich_parts(report: Any, console: Any, options: Any) -> Iterator[Any]:
    """The report for `rich.print`."""
    from rich.text import Text

    for part in _parts(report):
        if isinstance(part, Table):
            yield from ("", _rich_table(part), "")
        else:
            lines = [part] if isinstance(part, str) else [f"- {text}" for text in part]
            yield from map(Text, lines)


def markdown(report: Any) -> str:
    """The report as Markdown: paragraphs, lists and tables."""
    shown = []
    for part in _parts(report):
        if isinstance(part, Table):
            rows = [[_escaped(cell) for cell in row] for row in (part.head, *part.rows)]
            rows.insert(1, ["---:" if right else "---" for right in part.numeric])
            lines = ["|" + "".join(f" {cell} |" if cell else " |" for cell in row) for row in rows]
        else:
            lines = (
                [_escaped(part)]
                if isinstance(part, str)
                else [f"- {_escaped(text)}" for text in part]
            )
        shown.append("\n".join(lines))
    return "\n\n".join(shown) + "\n"


def as_dict(report: Any) -> dict[str, Any]:
    """All fields as JSON types.

    Example:
        >>> as_dict(Table(("a",), (("b",),)))
        {'head': ['a'], 'rows': [['b']]}
    """
    return {one.name: _plain(getattr(report, one.name)) for one in dataclasses.fields(report)}


def _parts(report: Any) -> Iterator[str | tuple[str, ...] | Table]:
    """The parts that are not empty."""
    for part in report.parts():
        if part.rows if isinstance(part, Table) else part:
            yield part


def _plain(value: Any) -> Any:
    if dataclasses.is_dataclass(value):
        return as_dict(value)
    if isinstance(value, Mapping):
        return {str(name): _plain(one) for name, one in value.items()}
    if isinstance(value, (tuple, list)):
        return [_plain(one) for one in value]
    if isinstance(value, (np.ndarray, np.generic)):
        return _plain(value.tolist())
    if isinstance(value, float) and not math.isfinite(value):
        return None  # JSON has no other word for it
    if isinstance(value, PurePath):
        return str(value)
    return value.name if isinstance(value, Enum) else value


def _filled(text: str, width: int) -> str:
    """Broken between words; paths and names stay whole."""
    return textwrap.fill(
        text, width, subsequent_indent="  ", break_long_words=False, break_on_hyphens=False
    )


def _drawn(table: Table, width: int) -> str:
    from rich.box import Box
    from rich.console import Console

    drawn, file = _rich_table(table), io.StringIO()
    # In characters that every output can take.
    drawn.box = Box("    \n    \n -- \n    \n    \n    \n    \n    \n", ascii=True)
    Console(file=file, width=width, color_system=None, force_terminal=False).print(drawn)
    return "\n".join(line.rstrip() for line in file.getvalue().splitlines())


def _rich_table(table: Table) -> Any:
    from rich.box import SIMPLE_HEAD
    from rich.table import Table as RichTable
    from rich.text import Text

    # Only the head is ruled off: frames would take the room of long names.
    drawn = RichTable(box=SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, 1, 0, 0))
    for title, right in zip(table.head, table.numeric, strict=True):
        # Folded where there is no room: nothing is left out.
        drawn.add_column(
            title, justify="right" if right else "left", no_wrap=right, overflow="fold"
        )
    for row in table.rows:
        drawn.add_row(*map(Text, row))
    return drawn


def _escaped(text: str) -> str:
    """Names of weights have underscores, which Markdown would take for emphasis."""
    return re.sub(r"([\\|_*`<])", r"\\\1", " ".join(text.splitlines()))
