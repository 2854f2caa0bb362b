# SPDX-License-Identifier: Apache-2.0
"""A page: one HTML file that needs neither a network nor a script to be read."""

from __future__ import annotations

import base64
import hashlib
import html
import os
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tfprune.evaluation.page_style import SCRIPT, STYLE
from tfprune.output import atomic_write
from tfprune.output.report_forms import Table

__all__ = ["Figure", "Section", "page", "sort_key"]

LARGEST = 500_000  # bytes of a page
_NUMBER = re.compile(
    r"[<>~≤≥]?\s*([-+]?\d[\d,]*(?:\.\d+)?(?:e[-+]?\d+)?)\s*([a-zµ%]*)"
    r"(?:\s.*)?",
    re.IGNORECASE | re.DOTALL,
)
_UNITS = {
    "kb": 1e3,
    "mb": 1e6,
    "gb": 1e9,
    "tb": 1e12,
    "kib": 2**10,
    "mib": 2**20,
    "gib": 2**30,
    "us": 1e-6,
    "µs": 1e-6,
    "ms": 1e-3,
    "min": 60,
    "h": 3600,
    "k": 1e3,
    "m": 1e6,
    "g": 1e9,
}


@dataclass(frozen=True)
class Figure:
    """A picture on a page.

    Attributes:
        svg: of `tfprune.evaluation.figures.svg`; it is not escaped.
        caption: below it.
        alt: for those who do not see it; "": what the SVG says of itself.
    """

    svg: str
    caption: str = ""
    alt: str = ""


@dataclass(frozen=True)
class Section:
    """A heading and what stands below it: sentences, tuples of sentences, tables and figures."""

    title: str
    parts: tuple[str | tuple[str, ...] | Table | Figure, ...]


def page(
    path: str | os.PathLike, title: str, lead: str | Sequence[str], sections: Iterable[Section]
) -> Path:
    """Write a page that any browser shows, on paper, too.

    Args:
        path: the file to write, ending in .html as a rule.
        title: what the page is on.
        lead: what a reader asks first, in large letters; of several texts the first.
        sections: what follows, in order.
    Returns:
        The path.
    Raises:
        ValueError: more than 500 kB even without the figures that hold images, which are left out
            first, from the last one on, with a sentence in their place.
        TypeError: a part that is no text, tuple of texts, `Table` or `Figure`.
        OSError: the file cannot be written; one that is there stays as it was.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     page(f"{folder}/a.html", "mine", "2 points lost", []).read_text()[:15]
        '<!DOCTYPE html>'
    """
    sections = list(sections)
    heavy = [
        part
        for section in sections
        for part in section.parts
        if isinstance(part, Figure) and "data:image/" in part.svg
    ]
    left_out: list[Figure] = []
    while len(content := _document(title, lead, sections, left_out)) > LARGEST:
        if not heavy:
            sizes = sorted(
                ((len(_section(section, 1, left_out)), section.title) for section in sections),
                reverse=True,
            )[:3]
            largest = ", ".join(f"{name!r} ({size:,})" for size, name in sizes)
            raise ValueError(
                f"The page {path} would have {len(content):,} bytes, more than {LARGEST:,}. "
                f"Largest sections: {largest}. Pass fewer rows, or write several pages."
            )
        left_out.append(heavy.pop())
    return atomic_write.write(path, content)


def sort_key(cell: str) -> float | None:
    """The number by which a cell of a table is sorted: units count, "-" is none.

    Example:
        >>> [sort_key(cell) for cell in ("1,234", "12.5 %", "3 MB", "-", "3x3")]
        [1234.0, 12.5, 3000000.0, None, None]
    """
    found = _NUMBER.fullmatch(cell.strip())
    if found is None:
        return None
    unit = found[2].lower()
    return float(found[1].replace(",", "")) * _UNITS.get(unit, 1)


def _document(
    title: str, lead: str | Sequence[str], sections: Sequence[Section], left_out: Sequence[Figure]
) -> bytes:
    leads = [lead] if isinstance(lead, str) else list(lead)
    digest = base64.b64encode(hashlib.sha256(SCRIPT.encode()).digest()).decode()
    policy = (
        f"default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src "
        f"'sha256-{digest}'; base-uri 'none'; form-action 'none'"
    )
    contents = "".join(
        f'<li><a href="#{_anchor(section, number)}">{_text(section.title)}</a></li>'
        for number, section in enumerate(sections, 1)
    )
    shown = "\n".join(
        [
            "<!DOCTYPE html>",
            '<html lang="en">',
            "<head>",
            '<meta charset="utf-8">',
            f'<meta http-equiv="Content-Security-Policy" content="{policy}">',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            '<meta name="referrer" content="no-referrer">',
            f"<title>{_text(title)}</title>",
            f"<style>{STYLE}</style>",
            "</head>",
            "<body>",
            "<header>",
            f"<h1>{_text(title)}</h1>",
            *(
                f'<p class="lead">{_text(one)}</p>' if one is leads[0] else f"<p>{_text(one)}</p>"
                for one in leads
            ),
            f'<nav aria-label="Contents"><ul>{contents}</ul></nav>' if len(sections) > 1 else "",
            "</header>",
            "<main>",
            *(_section(section, number, left_out) for number, section in enumerate(sections, 1)),
            "</main>",
            f"<script>{SCRIPT}</script>",
            "</body>",
            "</html>",
            "",
        ]
    )
    return shown.encode("utf-8", "replace")


def _section(section: Section, number: int, left_out: Sequence[Figure]) -> str:
    anchor = _anchor(section, number)
    parts = [_part(part, section.title, left_out) for part in section.parts]
    return "\n".join(
        [
            f'<section aria-labelledby="{anchor}">',
            f'<h2 id="{anchor}"><a href="#{anchor}">{_text(section.title)}</a></h2>',
            *parts,
            "</section>",
        ]
    )


def _part(part: Any, title: str, left_out: Sequence[Figure]) -> str:
    if isinstance(part, str):
        return f"<p>{_text(part)}</p>" if part else ""
    if isinstance(part, Table):
        return _table(part, title) if part.rows else ""
    if isinstance(part, Figure):
        return _figure(part, any(part is one for one in left_out))
    if isinstance(part, (tuple, list)) and all(isinstance(one, str) for one in part):
        return f"<ul>{''.join(f'<li>{_text(one)}</li>' for one in part)}</ul>" if part else ""
    raise TypeError(
        f"section {title!r}: a part is {type(part).__name__}; expected text, a tuple "
        "of texts, a Table or a Figure."
    )


def _table(table: Table, title: str) -> str:
    names = min(20, max(len(row[0]) for row in table.rows))
    classes = f"w{names}" + "".join(
        f" r{column}" for column, right in enumerate(table.numeric) if right
    )
    styles = "".join(
        f".r{column} tr>:nth-child({column + 1}){{text-align:right;white-space:nowrap}}"
        for column, right in enumerate(table.numeric)
        if right
    )
    styles += f".w{names} tbody th{{min-width:{names}ch}}"
    head = "".join(f'<th scope="col">{_text(cell)}</th>' for cell in table.head)
    rows = "".join(
        f'<tr><th scope="row"{_value(row[0])}>{_text(row[0])}</th>'
        + "".join(f"<td{_value(cell)}>{_text(cell)}</td>" for cell in row[1:])
        + "</tr>"
        for row in table.rows
    )
    return (
        f'<div class="box table" tabindex="0" role="region" aria-label="{_text(title)}: table">'
        f'<style>{styles}</style><table class="{classes}"><thead><tr>{head}</tr></thead>'
        f"<tbody>\n{rows}\n</tbody></table></div>"
    )


def _figure(figure: Figure, left_out: bool) -> str:
    caption = f"<figcaption>{_text(figure.caption)}</figcaption>" if figure.caption else ""
    if left_out:
        return (
            f"<p>A figure with images is left out: with it the page would be larger than "
            f"{LARGEST // 1000} kB. {_text(figure.caption)}</p>"
        )
    label = f' role="img" aria-label="{_text(figure.alt)}"' if figure.alt else ""
    return f'<figure><div class="box" tabindex="0"{label}>{figure.svg}</div>{caption}</figure>'


def _value(cell: str) -> str:
    """What the script could not read from the text itself."""
    key = sort_key(cell)
    try:
        plain = key is None or float(cell.replace(",", "")) == key
    except ValueError:
        plain = False
    return "" if plain else f' data-v="{key:.12g}"'


def _anchor(section: Section, number: int) -> str:
    words = re.sub(r"[^a-z0-9]+", "-", section.title.lower()).strip("-")[:40]
    return f"{words or 'section'}-{number}"


def _text(text: Any) -> str:
    """Escaped, without characters that HTML cannot hold."""
    return html.escape(re.sub(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff]", "\ufffd", str(text)))
