# SPDX-License-Identifier: Apache-2.0
"""The page of a comparison."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tfprune.evaluation import comparison_tables as tables
from tfprune.evaluation.comparison_figures import DETAILED, drawn
from tfprune.evaluation.figures import svg
from tfprune.evaluation.page import Figure, Section, page
from tfprune.evaluation.page_parts import section_of

if TYPE_CHECKING:
    from tfprune.evaluation.comparison import Comparison


def write_page(comparison: Comparison, path: str | os.PathLike, more: Sequence[Any]) -> Path:
    """Write the page; for the arguments see `Comparison.page`."""
    names = [one.name for one in comparison.compared]
    others_named = ", ".join(names) if len(names) <= DETAILED else f"{len(names)} others"
    extra = list(others(more))  # what cannot be shown is told before anything is drawn
    return page(
        path,
        f"{comparison.reference.name} and {others_named}",
        comparison.lead,
        [*_sections(comparison), *extra],
    )


def others(more: Sequence[Any]) -> Iterator[Section]:
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


def _sections(comparison: Comparison) -> Iterator[Section]:
    parts: dict[str, list[Any]] = {
        "What was lost": list(tables.quality(comparison)),
        "Costs": list(tables.costs(comparison)),
    }
    for section, figure, caption in drawn(comparison):
        parts.setdefault(section, []).append(Figure(svg(figure), caption))
    parts.setdefault("Shifted data", []).extend(tables.corruptions(comparison, everything=True))
    parts.setdefault("Noise", []).extend(tables.noise(comparison))
    for one in comparison.compared[:DETAILED]:
        parts.setdefault(f"Classes: {one.name}", []).extend(
            tables.classes(comparison, one, everything=True)
        )
    count = len(comparison.compared)
    few = (
        f"Classes, images and calibration are those of the first {DETAILED} of {count} "
        "networks; to_dict() has all."
    )
    parts["Notes"] = [
        few if count > DETAILED else "",
        comparison.notes,
        tuple(f"left out: {one}" for one in comparison.skipped),
    ]
    for title, found in parts.items():
        if any(found):
            yield Section(title, tuple(found))
