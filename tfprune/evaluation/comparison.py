# SPDX-License-Identifier: Apache-2.0
"""Networks side by side: what each costs, what each has lost against the reference, and where."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from tfprune.evaluation.backselect import Matrix
from tfprune.evaluation.comparison_tables import lead, tables
from tfprune.evaluation.network_result import NetworkResult, NoiseDistance
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
        return tuple(lead(self, one) for one in order)

    def parts(self) -> Iterable[str | tuple[str, ...] | Table]:
        """What is printed."""
        yield from self.lead
        yield from tables(self)
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
        from tfprune.evaluation.comparison_figures import drawn

        return {caption: figure for _, figure, caption in drawn(self)}

    def page(self, path: str | os.PathLike, *more: Any) -> Path:
        """Write one HTML file with everything, and with other reports of the same run.

        Args:
            path: of the file.
            more: whatever has `parts()` or `to_dict()`, such as an ExportReport or ShrinkReport; a
                Keras History; the path of a CSV training log; or (title, one of these).
        Returns:
            the path.
        """
        from tfprune.evaluation.comparison_page import write_page

        return write_page(self, path, more)

    __str__, __rich_console__, to_markdown = plain_text, rich_parts, markdown
