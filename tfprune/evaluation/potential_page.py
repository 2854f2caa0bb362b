# SPDX-License-Identifier: Apache-2.0
"""The page of prune potentials."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tfprune.evaluation import figures
from tfprune.evaluation.comparison_page import others
from tfprune.evaluation.conditions import NOMINAL
from tfprune.evaluation.page import Figure, Section, page
from tfprune.output.report_forms import Table

if TYPE_CHECKING:
    from tfprune.evaluation.potential_report import PotentialReport, PrunedRow


def write_page(report: PotentialReport, path: str | os.PathLike, more: Sequence[Any]) -> Path:
    """Write the page; for the arguments see `Comparison.page`."""
    extra = list(others(more))
    return page(path, "Prune potential", report.lead, [*_sections(report), *extra])


def potential_figure(report: PotentialReport) -> Any:
    """The potential of each method under each shift, as matplotlib's figure."""
    return figures.potential(
        {
            method: {
                condition: _spread(
                    [one.first for one in report.of(method, condition)],
                    [one.largest for one in report.of(method, condition)],
                )
                for condition in report.conditions
            }
            for method in report.methods
        }
    )


def loss_figure(report: PotentialReport) -> Any:
    """The nominal loss over the ratio, with the spread over seeds."""
    points, lines = report.unit == "points", {}
    scale = 0.01 if points else 1.0
    for method in report.methods:
        found = _by_asked(
            [row for row in report.rows if (row.method, row.condition) == (method, NOMINAL.name)]
        )
        losses = [[scale * row.loss for row in rows] for rows in found]
        lines[method] = (
            [float(np.mean([row.ratio for row in rows])) for rows in found],
            [float(np.mean(one)) for one in losses],
            [min(one) for one in losses],
            [max(one) for one in losses],
        )
    dense = scale * float(np.mean([one[NOMINAL.name] for one in report.dense.values()]))
    return figures.accuracy_over_ratio(
        lines, dense, label="error in %" if points else report.unit, percent=points
    )


def growth_figure(report: PotentialReport, method: str) -> Any:
    """What each shift costs more than it costs the dense network, over the ratio."""
    found = {
        shift: _by_asked(
            [row for row in report.rows if (row.method, row.condition) == (method, shift)]
        )
        for shift in report.shifts
    }
    ratios = [f"{100 * rows[0].asked:g} %" for rows in next(iter(found.values()))]
    return figures.heat_map(
        list(found),
        ratios,
        [[float(np.mean([row.against for row in rows])) for rows in one] for one in found.values()],
        label=f"{report.unit} more than dense",
    )


def _sections(report: PotentialReport) -> Iterator[Section]:
    yield Section(
        "Prune potential",
        (
            Figure(
                figures.svg(potential_figure(report)),
                f"The largest share of weights that can go within {report.delta:g} {report.unit} "
                "of the dense network, with all smaller ones tried; hollow: whatever smaller ones "
                "do.",
            ),
            report.potential_table(),
        ),
    )
    yield Section(
        "On clean data",
        (
            Figure(figures.svg(loss_figure(report)), "Over the share of weights that is zero."),
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
                    for row in report.rows
                    if row.condition == NOMINAL.name
                ),
            ),
        ),
    )
    if report.shifts:
        yield Section(
            "Whether loss under shift grows",
            (
                "How much more a shift costs for each further 10 % of the weights, in "
                f"{report.unit} (*: the 95 % interval of the slope is above or below 0).",
                report.growth_table(),
                *(
                    Figure(
                        figures.svg(growth_figure(report, method)),
                        f"{method}: what each shift costs beyond what it costs the dense network, "
                        "by the sparsity that was asked.",
                    )
                    for method in report.methods
                ),
            ),
        )
    yield Section("Notes", (report.notes, tuple(f"left out: {one}" for one in report.skipped)))


def _spread(first: list[float], largest: list[float]) -> tuple[float, ...]:
    """(first, largest) of one seed; (low, mean, high) of the first crossings of several."""
    if len(first) == 1:
        return first[0], largest[0]
    return min(first), float(np.mean(first)), max(first)


def _by_asked(rows: list[PrunedRow]) -> list[list[PrunedRow]]:
    """Rows of several seeds together, by the sparsity that was asked."""
    found: dict[float, list[PrunedRow]] = {}
    for row in sorted(rows, key=lambda row: row.asked):
        found.setdefault(row.asked, []).append(row)
    return list(found.values())
