# SPDX-License-Identifier: Apache-2.0
"""A score, and what a rule that solves for weights returns."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from numbers import Real
from typing import Any, Callable, Sequence

import numpy as np

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

    Raises:
        ValueError: a setting that is no number above 0.
    """

    name: str
    needs: tuple[str, ...]
    formula: Callable[[dict[str, Any]], Any]
    finish: Callable[[Any], Any] | None = None
    signed: bool = False
    settings: tuple[tuple[str, float], ...] = ()

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


@dataclass(frozen=True)
class Solution:
    """Weights that a rule has found, before masks are chosen from them.

    Attributes:
        kernels: of each site, NumPy arrays.
        ranked: what masks are chosen from; None: the kernels. Weights that were trained after
            they had been cut might be so small that another mask loses nothing by them.
        others: (variable, value) of what else is to change.
        notes: what is to be reported of each site, {name: texts}.
        cautions: what did not go as asked.
    """

    kernels: Sequence[np.ndarray]
    ranked: Sequence[np.ndarray] | None = None
    others: Sequence[tuple[Any, np.ndarray]] = ()
    notes: dict[str, tuple[str, ...]] = dataclasses.field(default_factory=dict)
    cautions: Sequence[str] = ()
