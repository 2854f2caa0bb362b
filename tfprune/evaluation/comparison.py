# SPDX-License-Identifier: Apache-2.0
"""Networks side by side: costs and losses of each, in words, tables, figures and on a page."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from tfprune.evaluation import comparison_figures as drawings
from tfprune.evaluation import comparison_tables as tables
from tfprune.evaluation.backselect import Matrix
from tfprune.evaluation.comparison_figures import DETAILED
from tfprune.evaluation.figures import svg
from tfprune.evaluation.network_result import NetworkResult, NoiseDistance
from tfprune.evaluation.page import Figure, Section, page
from tfprune.evaluation.page_parts import sections_of
from tfprune.evaluation.predictions import Predictions
from tfprune.output.report_forms import Table, as_dict, markdown, plain_text, rich_parts


@dataclass(frozen=True)
class Comparison:
    """Networks beside the first of them: `print` it, `to_dict()`, `page("report.html")`.

    Attributes:
        networks: one result for each name, the reference first.
        unit: of losses: "points" of error, the metric's name, or "" without labels.
        examples: how many there are.
        shifted: how many of them were corrupted or got noise.
        yardstick: how far copies of the reference are from each other; () with a single one.
        class_names: of the classes, () for their numbers.
        features: confidence in what informative pixels show; None: not asked for.
        notes: what was assumed.
        skipped: what was left out, and why.

    Example:
        >>> import numpy as np
        >>> from tfprune import compare
        >>> x = np.random.default_rng(0).normal(size=(300, 4))
        >>> found = compare({"dense": np.abs, "half": lambda x: np.abs(x) / 2}, (x, np.abs(x)))
        >>> found.unit, found.reference.name, round(found.networks[1].lost, 1)
        ('squared error', 'dense', 0.2)
    """

    networks: tuple[NetworkResult, ...]
    unit: str
    examples: int
    shifted: int
    yardstick: tuple[NoiseDistance, ...] = ()
    class_names: tuple[str, ...] = ()
    features: Matrix | None = None
    notes: tuple[str, ...] = ()
    skipped: tuple[str, ...] = ()
    predictions: Predictions | None = field(default=None, repr=False, compare=False)

    @property
    def reference(self) -> NetworkResult:
        return self.networks[0]

    @property
    def compared(self) -> tuple[NetworkResult, ...]:
        """All but the reference."""
        return self.networks[1:]

    def class_name(self, label: int) -> str:
        """Its number where it has no name; -1: a network gave NaN."""
        named = 0 <= label < len(self.class_names)
        return self.class_names[label] if named else "none" if label < 0 else str(label)

    @property
    def lead(self) -> tuple[str, ...]:
        """What a user asks first, a sentence for each network, that which lost most first."""
        order = sorted(self.compared, key=lambda one: -(one.lost or 0))
        return tuple(
            tables.lead(one, self.reference, unit=self.unit, class_name=self.class_name)
            for one in order
        )

    def parts(self) -> Iterable[str | tuple[str, ...] | Table]:
        """What is printed."""
        yield from self.lead
        yield from tables.quality(self.networks, self.unit, examples=self.examples)
        yield from tables.costs(self.networks)
        yield from tables.corruptions(self.networks, self.unit)
        yield from tables.noise(self.networks, self.yardstick)
        for one in self.compared:
            yield from self._classes(one)
        yield (
            *(f"note: {one}" for one in self.notes),
            *(f"left out: {one}" for one in self.skipped),
        )

    def to_dict(self) -> dict[str, Any]:
        """Every number, as JSON types."""
        found = as_dict(replace(self, predictions=None))
        del found["predictions"]
        return found

    def figures(self) -> dict[str, Any]:
        """The figures of the page, as matplotlib's, by their captions.

        Raises:
            ImportError: without matplotlib.
        """
        return {caption: figure for _, figure, caption in self._drawn()}

    def page(self, path: str | os.PathLike, *more: Any) -> Path:
        """Write one HTML file with everything, and with other reports of the same run.

        Args:
            path: of the file.
            more: whatever has `parts()` or `to_dict()`, such as an ExportReport or ShrinkReport; a
                Keras History; the path of a CSV training log; or (title, one of these).
        Returns:
            the path.
        """
        names = [one.name for one in self.compared]
        others = ", ".join(names) if len(names) <= DETAILED else f"{len(names)} others"
        extra = list(sections_of(more))  # what cannot be shown is told before anything is drawn
        return page(
            path, f"{self.reference.name} and {others}", self.lead, [*self._sections(), *extra]
        )

    def _classes(self, one: NetworkResult, *, everything: bool = False) -> Iterator[str | Table]:
        return tables.classes(
            one,
            self.reference.name,
            class_name=self.class_name,
            examples=self.examples,
            everything=everything,
        )

    def _drawn(self) -> drawings.GumbelTopKGate:
        """Everything that a look tells better."""
        yield from drawings.shifts(self.networks, self.unit)
        yield from drawings.noise(self.networks, self.yardstick)
        for one in self.compared[:DETAILED]:
            yield from drawings.classes(
                one, self.reference.name, class_name=self.class_name, predictions=self.predictions
            )
        yield from drawings.calibration(self.networks)
        if self.features is not None:
            yield from drawings.features(self.features)

    def _sections(self) -> Iterator[Section]:
        """Those of the page."""
        parts: dict[str, list[Any]] = {
            "What was lost": list(tables.quality(self.networks, self.unit, examples=self.examples)),
            "Costs": list(tables.costs(self.networks)),
        }
        for section, figure, caption in self._drawn():
            parts.setdefault(section, []).append(Figure(svg(figure), caption))
        parts.setdefault("Shifted data", []).extend(
            tables.corruptions(self.networks, self.unit, everything=True)
        )
        parts.setdefault("Noise", []).extend(tables.noise(self.networks, self.yardstick))
        for one in self.compared[:DETAILED]:
            parts.setdefault(f"Classes: {one.name}", []).extend(self._classes(one, everything=True))
        count = len(self.compared)
        few = (
            f"Classes, images and calibration are those of the first {DETAILED} of {count} "
            "networks; to_dict() has all."
        )
        parts["Notes"] = [
            few if count > DETAILED else "",
            self.notes,
            tuple(f"left out: {one}" for one in self.skipped),
        ]
        for title, found in parts.items():
            if any(found):
                yield Section(title, tuple(found))

    __str__, __rich_console__, to_markdown = plain_text, rich_parts, markdown
