# SPDX-License-Identifier: Apache-2.0
"""Figures of prune potentials: each method under each shift, and losses over the ratio."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from tfprune.evaluation import figures
from tfprune.evaluation.conditions import NOMINAL
from tfprune.evaluation.potential_rows import FamilyPotential, PrunedRow


def potential_figure(potentials: Iterable[FamilyPotential]) -> Any:
    """The potential of each method under each shift, as matplotlib's figure."""
    found: dict[str, dict[str, list[FamilyPotential]]] = {}
    for one in potentials:
        found.setdefault(one.method, {}).setdefault(one.condition, []).append(one)
    return figures.potential(
        {
            method: {condition: _spread(seeds) for condition, seeds in conditions.items()}
            for method, conditions in found.items()
        }
    )


def loss_figure(rows: Sequence[PrunedRow], dense: float, *, unit: str) -> Any:
    """The nominal loss over the ratio, with the spread over seeds.

    Args:
        rows: of all conditions.
        dense: the nominal loss of dense networks.
        unit: of losses.
    """
    points, lines = unit == "points", {}
    scale = 0.01 if points else 1.0
    for method in dict.fromkeys(row.method for row in rows):
        found = _by_asked(rows, method, NOMINAL.name)
        losses = [[scale * row.loss for row in some] for some in found]
        lines[method] = (
            [float(np.mean([row.ratio for row in some])) for some in found],
            [float(np.mean(one)) for one in losses],
            [min(one) for one in losses],
            [max(one) for one in losses],
        )
    return figures.accuracy_over_ratio(
        lines, scale * dense, label="error in %" if points else unit, percent=points
    )


def growth_figure(rows: Sequence[PrunedRow], method: str, *, unit: str) -> Any:
    """What each shift costs more than it costs the dense network, over the ratio."""
    shifts = dict.fromkeys(row.condition for row in rows if row.condition != NOMINAL.name)
    found = {shift: _by_asked(rows, method, shift) for shift in shifts}
    ratios = [f"{100 * some[0].asked:g} %" for some in next(iter(found.values()))]
    return figures.heat_map(
        list(found),
        ratios,
        [[_mean_against(some) for some in one] for one in found.values()],
        label=f"{unit} more than dense",
    )


def _mean_against(rows: Iterable[PrunedRow]) -> float:
    return float(np.mean([row.against for row in rows if row.against is not None]))


def _spread(seeds: Sequence[FamilyPotential]) -> tuple[float, ...]:
    """(first, largest) of one seed; (low, mean, high) of the first crossings of several."""
    if len(seeds) == 1:
        return seeds[0].first, seeds[0].largest
    first = [one.first for one in seeds]
    return min(first), float(np.mean(first)), max(first)


def _by_asked(rows: Iterable[PrunedRow], method: str, condition: str) -> list[list[PrunedRow]]:
    """Rows of several seeds together, by the sparsity that was asked."""
    found: dict[float, list[PrunedRow]] = {}
    for row in sorted(rows, key=lambda row: row.asked):
        if (row.method, row.condition) == (method, condition):
            found.setdefault(row.asked, []).append(row)
    return list(found.values())
