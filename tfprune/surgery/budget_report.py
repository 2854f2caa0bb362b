# SPDX-License-Identifier: Apache-2.0
"""Report of a model that was shrunk to a budget: its costs before and after."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from tfprune.output.report_forms import Table, markdown, plain_text, rich_parts
from tfprune.reconstruction.refit_report import RefitReport
from tfprune.surgery.history import PruningRecord


@dataclass(frozen=True)
class Cost:
    """One limit.

    Attributes:
        unit: its name in `tfprune.Budget`.
        before, limit, after: of the given model, asked, and of the new one.
    """

    unit: str
    before: float
    limit: float
    after: float

    @property
    def unused(self) -> float:
        """The part of the limit that is not used up."""
        return 1 - self.after / self.limit

    def __str__(self) -> str:
        shape = ".3f" if self.unit == "latency" else ","
        return (
            f"{self.unit}: {self.before:{shape}} -> {self.after:{shape}}, "
            f"limit {self.limit:{shape}}, {self.unused:.1%} of it unused"
        )


@dataclass(frozen=True)
class BudgetReport:
    """What `tfprune.shrink_to` did.

    Attributes:
        costs: one for each limit.
        channels: {name of a group: (channels before, channels after)} of those that could go.
        record: which channels went when; it can be saved and replayed.
        notes: what else is to be known.
        refit: what `reconstruct=` did after the last removal; None: not asked for, or no removal.
    """

    costs: tuple[Cost, ...]
    channels: dict[str, tuple[int, int]]
    record: PruningRecord
    notes: tuple[str, ...] = ()
    refit: RefitReport | None = None

    @property
    def unused(self) -> float:
        """The part of the tightest limit that is not used up."""
        return min(one.unused for one in self.costs)

    def to_dict(self) -> dict[str, Any]:
        """Everything but the record as JSON types."""
        costs = {
            one.unit: {"before": one.before, "limit": one.limit, "after": one.after}
            for one in self.costs
        }
        return {
            "costs": costs,
            "channels": {name: list(both) for name, both in self.channels.items()},
            "steps": len(self.record.steps),
            "notes": list(self.notes),
            "refit": None if self.refit is None else self.refit.to_dict(),
        }

    def parts(self) -> Iterable[str | tuple[str, ...] | Table]:
        """What is printed: the limits, the groups that changed, notes, the refit."""
        yield from map(str, self.costs)
        yield (
            *(
                f"{name}: {before} -> {after} channels"
                for name, (before, after) in self.channels.items()
                if after < before
            ),
            *(f"note: {one}" for one in self.notes),
        )
        yield from () if self.refit is None else self.refit.parts()

    __str__, __rich_console__, to_markdown = plain_text, rich_parts, markdown
