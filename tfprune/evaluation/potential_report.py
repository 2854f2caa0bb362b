# SPDX-License-Identifier: Apache-2.0
"""Prune potentials of several methods, in words, tables, figures and on a page."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tfprune.evaluation.conditions import NOMINAL
from tfprune.evaluation.figures import svg
from tfprune.evaluation.network_result import NoiseDistance
from tfprune.evaluation.page import Figure, Section, page
from tfprune.evaluation.page_parts import sections_of
from tfprune.evaluation.potential_figures import growth_figure, loss_figure, potential_figure
from tfprune.evaluation.potential_rows import FamilyPotential, Growth, PrunedRow
from tfprune.evaluation.tidy_rows import write_rows
from tfprune.output.report_forms import Table, as_dict, markdown, plain_text, rich_parts


@dataclass(frozen=True)
class PotentialReport:
    """How far networks can be pruned, on clean and on shifted data.

    Attributes:
        rows: one for each pruned network and condition.
        potentials: one for each method, seed and condition.
        growths: one for each method and shift.
        dense: {seed: {condition: loss of the dense network}}.
        yardstick: how far dense networks of different seeds are from each other; () with one seed.
        unit, delta: of the losses, and how many of them still count as equal.
        examples, shifted: how many examples there are, and how many of them were shifted.
        notes, skipped: what was assumed, and what was left out.

    Example:
        >>> row = PrunedRow("magnitude", 0, 0.5, 0.5, "nominal", 9.0)
        >>> found = PotentialReport((row,), (FamilyPotential("magnitude", 0, "nominal", 0.5, 0.5),),
        ...                         (), {0: {"nominal": 8.8}}, (), "points", 0.5, 100, 100)
        >>> found.lead
        ('magnitude: prune potential 50 % on clean data, within 0.5 points.',)
    """

    rows: tuple[PrunedRow, ...]
    potentials: tuple[FamilyPotential, ...]
    growths: tuple[Growth, ...]
    dense: dict[int, dict[str, float]]
    yardstick: tuple[NoiseDistance, ...]
    unit: str
    delta: float
    examples: int
    shifted: int
    notes: tuple[str, ...] = ()
    skipped: tuple[str, ...] = ()

    @property
    def methods(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(one.method for one in self.potentials))

    @property
    def conditions(self) -> tuple[str, ...]:
        """Their names, the nominal one first."""
        return tuple(dict.fromkeys(one.condition for one in self.potentials))

    @property
    def shifts(self) -> tuple[str, ...]:
        """The conditions but the nominal one."""
        return tuple(name for name in self.conditions if name != NOMINAL.name)

    def of(self, method: str, condition: str) -> tuple[FamilyPotential, ...]:
        """Of all seeds."""
        return tuple(
            one for one in self.potentials if (one.method, one.condition) == (method, condition)
        )

    def mean(self, method: str, condition: str) -> float:
        """The first crossing, the mean over the seeds."""
        return float(np.mean([one.first for one in self.of(method, condition)]))

    @property
    def lead(self) -> tuple[str, ...]:
        """What was found, a sentence for each method, that of the largest potential first."""
        order = sorted(self.methods, key=lambda method: -self.mean(method, NOMINAL.name))
        return tuple(self._found(method) for method in order)

    def _found(self, method: str) -> str:
        nominal = self.mean(method, NOMINAL.name)
        text = (
            f"{method}: prune potential {100 * nominal:.0f} % on clean data, within "
            f"{self.delta:g} {self.unit}"
        )
        if not self.shifts:
            return f"{text}."
        shifted = [self.mean(method, shift) for shift in self.shifts]
        lower = sum(one < nominal for one in shifted)
        equal = sum(one == nominal for one in shifted)
        text += (
            f", {100 * float(np.mean(shifted)):.0f} % on average over {len(shifted)} shifts: "
            f"lower for {lower}, equal for {equal}, higher for "
            f"{len(shifted) - lower - equal}"
        )
        grown = [one for one in self.growths if one.method == method]
        return (
            f"{text}; what a shift costs grows with the ratio for "
            f"{sum(one.grows for one in grown)} of {len(grown)}."
        )

    def parts(self) -> Iterable[str | tuple[str, ...] | Table]:
        """What is printed."""
        yield from self.lead
        yield (
            f"prune potential in % of the weights, within {self.delta:g} {self.unit} of the "
            "dense network: first crossing / largest where that is more"
            + (", means over seeds:" if len(self.dense) > 1 else ":")
        )
        yield self.potential_table()
        yield (
            "how much more a shift costs for each further 10 % of the weights, in "
            f"{self.unit} (*: the 95 % interval is above or below 0):"
        )
        yield self.growth_table()
        if self.yardstick:
            yield "dense networks of different seeds, apart from each other:"
            yield Table(
                ("noise", "agree", "distance"),
                tuple(
                    (
                        f"{one.size:g}",
                        "-" if one.agreement is None else f"{100 * one.agreement:.1f} %",
                        f"{one.distance:.4g}",
                    )
                    for one in self.yardstick
                ),
            )
        yield (
            f"note: {self.examples:,} examples, {self.shifted:,} of them shifted",
            *(f"note: {one}" for one in self.notes),
            *(f"left out: {one}" for one in self.skipped),
        )

    def potential_table(self) -> Table:
        """A row for each condition, a column for each method."""
        return Table(
            ("condition", *self.methods),
            tuple(
                (condition, *(self._cell(method, condition) for method in self.methods))
                for condition in self.conditions
            ),
        )

    def _cell(self, method: str, condition: str) -> str:
        found = self.of(method, condition)
        if not found:
            return "-"
        first, largest = (
            100 * float(np.mean([getattr(one, name) for one in found]))
            for name in ("first", "largest")
        )
        return f"{first:.0f}" if first == largest else f"{first:.0f} / {largest:.0f}"

    def growth_table(self) -> Table:
        """A row for each shift, a column for each method."""
        lines = {(one.method, one.condition): one for one in self.growths}
        return Table(
            ("condition", *self.methods),
            tuple(
                (shift, *(_slope(lines.get((method, shift))) for method in self.methods))
                for shift in self.shifts
            ),
        )

    def lines(self) -> Iterator[dict[str, Any]]:
        """Tidy rows, one for each network and condition, with the potential of its family."""
        found = {(one.method, one.seed, one.condition): one for one in self.potentials}
        for row in self.rows:
            family = found[row.method, row.seed, row.condition]
            yield {
                **as_dict(row),
                "dense_loss": self.dense[row.seed][row.condition],
                "potential_first": family.first,
                "potential_largest": family.largest,
            }

    def save(self, folder: str | os.PathLike) -> None:
        """Write potential.jsonl and potential.csv into a folder.

        Raises:
            OSError: it cannot be written.
        """
        rows = list(self.lines())
        write_rows(Path(folder) / "potential", rows, list(rows[0]))

    def page(self, path: str | os.PathLike, *more: Any) -> Path:
        """Write one HTML file with everything; see `Comparison.page`."""
        extra = list(sections_of(more))  # what cannot be shown is told before anything is drawn
        return page(path, "Prune potential", self.lead, [*self._sections(), *extra])

    def _sections(self) -> Iterator[Section]:
        """Those of the page."""
        dense = float(np.mean([one[NOMINAL.name] for one in self.dense.values()]))
        yield Section(
            "Prune potential",
            (
                Figure(
                    svg(potential_figure(self.potentials)),
                    f"The largest share of weights that can go within {self.delta:g} {self.unit} "
                    "of the dense network, with all smaller ones tried; hollow: whatever smaller "
                    "ones do.",
                ),
                self.potential_table(),
            ),
        )
        yield Section(
            "On clean data",
            (
                Figure(
                    svg(loss_figure(self.rows, dense, unit=self.unit)),
                    "Over the share of weights that is zero.",
                ),
                Table(
                    ("method", "seed", "asked", "reached", "loss", "agrees", "distance"),
                    tuple(
                        (
                            row.method,
                            str(row.seed),
                            f"{100 * row.asked:g} %",
                            f"{100 * row.ratio:.2f} %",
                            f"{row.loss:.2f}",
                            "-" if row.agreement is None else f"{100 * row.agreement:.1f} %",
                            f"{row.distance:.4g}",
                        )
                        for row in self.rows
                        if row.condition == NOMINAL.name
                    ),
                ),
            ),
        )
        if self.shifts:
            yield Section(
                "Whether loss under shift grows",
                (
                    "How much more a shift costs for each further 10 % of the weights, in "
                    f"{self.unit} (*: the 95 % interval of the slope is above or below 0).",
                    self.growth_table(),
                    *(
                        Figure(
                            svg(growth_figure(self.rows, method, unit=self.unit)),
                            f"{method}: what each shift costs beyond what it costs the dense "
                            "network, by the sparsity that was asked.",
                        )
                        for method in self.methods
                    ),
                ),
            )
        yield Section("Notes", (self.notes, tuple(f"left out: {one}" for one in self.skipped)))

    __str__, __rich_console__ = plain_text, rich_parts
    to_dict, to_markdown = as_dict, markdown


def _slope(one: Growth | None) -> str:
    if one is None or np.isnan(one.slope):
        return "-"
    return f"{one.slope / 10:.2f}{' *' if one.low > 0 or one.high < 0 else ''}"
