# SPDX-License-Identifier: Apache-2.0
"""A score: one number per weight, from statistics."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from numbers import Real
from typing import Any, Callable

from tfprune.masks.kernel_layout import Layout
from tfprune.masks.structures import Structure
from tfprune.methods.statistics_table import of_groups as measures_groups


@dataclass(frozen=True)
class Score:
    """A score: one number per weight, higher = keep.

    Attributes:
        name: the name under which it is registered.
        needs: the statistics it is computed from (see `tfprune.methods.statistics_table`).
        formula: function of a dictionary of statistics, pure.
        finish: function of the sum of the formula over a group, which gives the group's score:
            the square of a sum is not the mean of squares. None: the structure pools the entries.
        signed: whether scores below zero are meant as such.
        settings: (name, number above 0) of what its statistics are measured with.
        is_magnitude: whether the formula is |W|, by which weights are ranked without computing it.

    Raises:
        ValueError: a setting that is no number above 0.
    """

    name: str
    needs: tuple[str, ...]
    formula: Callable[[dict[str, Any]], Any]
    finish: Callable[[Any], Any] | None = None
    signed: bool = False
    settings: tuple[tuple[str, float], ...] = ()
    is_magnitude: bool = False

    def __post_init__(self):
        for name, value in self.settings:
            is_number = isinstance(value, Real) and not isinstance(value, bool)
            if not is_number or not 0 < value < math.inf:
                raise ValueError(f"{name}={value!r}: expected a number above 0.")

    def with_settings(self, changes: dict[str, float]) -> Score:
        """The score with other values of some of its settings."""
        return dataclasses.replace(self, settings=tuple({**dict(self.settings), **changes}.items()))

    def of_groups(self, given: dict[str, Any], structure: Structure, layout: Layout) -> Any:
        """The scores of a site's groups, from its statistics."""
        values = self.formula(given)
        if measures_groups(self.needs) and structure.pooling is not None:
            return values
        if self.finish is None:
            return structure.reduce(values, layout)
        if structure.pooling is None:
            return structure.reduce(self.finish(values), layout)
        return self.finish(structure.total(values, layout))
