# SPDX-License-Identifier: Apache-2.0
"""Takes so many channels out of a model that it keeps a budget."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NoReturn

import numpy as np

from tfprune.channels.cost_model import Prices
from tfprune.channels.model_channels import Survey
from tfprune.surgery.budget import Budget
from tfprune.surgery.budget_fit import CLOSE, Counts, Fitting
from tfprune.surgery.channel_scores import Ranking
from tfprune.surgery.masked_channels import without
from tfprune.surgery.shrink import shrunk
from tfprune.surgery.shrink_report import ShrinkReport

PARTS = 256  # of all channels: no finer steps where each of them is a measurement
ATTEMPTS = 4


def costs_of(budget: Budget, prices: Prices, model: Any) -> dict[str, float]:
    """What a model costs, in the units of the budget."""
    costs = budget.costs(prices, prices.full)
    if budget.latency is None or budget.meter is None:
        return costs
    return {**costs, "latency": float(budget.meter(model))}


class Cut:
    """One step on the way to a budget.

    Args:
        prices: of the model, which has no wrappers.
        budget: how costs are counted.
        limits: of them, now.
        ranking: of the channels.
    """

    def __init__(self, prices: Prices, budget: Budget, limits: dict[str, float], ranking: Ranking):
        self._prices, self._budget, self._limits = prices, budget, limits
        countable = {name: limit for name, limit in limits.items() if name != "latency"}
        self._fitting = Fitting(prices, ranking, budget, countable)

    def of(self, source: Any) -> tuple[Any, dict[str, float], ShrinkReport]:
        """The smaller model, what it costs, and what was done to each group.

        Args:
            source: whose compilation is taken over: the model, or one that wraps its layers.

        Raises:
            ValueError: the smallest possible model costs more.
            RuntimeError: the model that was built is not the one that was counted.
        """
        for _ in range(ATTEMPTS):
            counts, latency = self._chosen(source)
            small, report = self._built(source, counts)
            left = {one.name: one.after for one in report.groups}
            after = np.array([left[group.name] for group in self._prices.groups], np.int64)
            costs = {
                **self._costs(small, report, after),
                **({} if latency is None else {"latency": latency}),
            }
            above = {
                name: costs[name] - limit
                for name, limit in self._limits.items()
                if costs[name] > limit
            }
            if not above:
                return small, costs, report
            if (after > counts).any():  # could not go: they are counted from now on
                self._fitting.keep_at_least(np.where(after > counts, after, 0))
            else:  # biases that were not counted, for constants that went into them
                self._fitting.tighten(above)
        stayed = ", ".join(str(one) for one in report.groups if one.dead > one.before - one.after)
        raise ValueError(
            f"The model {self._name!r} stays above {self._asked()}: channels "
            f"that cannot be removed are in the way: {stayed}"
        )

    def _costs(self, small: Any, report: ShrinkReport, counts: Counts) -> dict[str, float]:
        """What the new model costs, as counted before, if that is what it turned out to be."""
        counted, found = self._prices.parameters(counts), report.parameters[1]
        if found == counted:
            return self._budget.costs(self._prices, counts)
        prices = Prices(Survey.of(small))
        if prices.parameters(prices.full) != found or (found > counted and not report.folded):
            raise RuntimeError(
                f"The smaller model made of {self._name!r} has {found:,} parameters, not "
                f"{counted:,} as counted, so it may be above its budget. That is a mistake of "
                "this library: report it with the model, please."
            )
        return self._budget.costs(prices, prices.full)

    def _chosen(self, source: Any) -> tuple[Counts, float | None]:
        """How many channels each group keeps, and the latency that was measured with them."""
        fitting = self._fitting
        keep = fitting.largest()
        if keep is None:
            self._refuse(self._budget.costs(self._prices, fitting.counts(0)))
        if self._budget.meter is None or "latency" not in self._limits:
            return fitting.filled(keep), None
        return self._timed(source, keep, self._budget.meter)

    def _timed(self, source: Any, most: int, meter: Callable[[Any], float]) -> tuple[Counts, float]:
        """The most channels by rank with which the model is fast enough, `most` at most."""
        limit = self._limits["latency"]

        def measured(keep: int) -> tuple[Counts, float]:
            counts = self._fitting.counts(keep)
            return counts, float(meter(self._built(source, counts)[0]))

        found = measured(most)
        if found[1] <= limit:
            return found
        found = measured(0)
        if found[1] > limit:
            self._refuse({"latency": found[1]})
        low, high = 0, most
        while high - low > max(1, self._fitting.total // PARTS) and (
            found[1] < (1 - CLOSE) * limit
        ):
            middle = (low + high) // 2
            counts, latency = measured(middle)
            if latency <= limit:
                low, found = middle, (counts, latency)
            else:
                high = middle
        return found

    def _built(self, source: Any, counts: Counts) -> tuple[Any, ShrinkReport]:
        masks = self._fitting.masks(counts)
        gone = {group.name: ~mask for group, mask in zip(self._prices.groups, masks, strict=True)}
        with without(self._prices.survey, gone):
            return shrunk(self._prices.survey, source)

    def _refuse(self, smallest: dict[str, float]) -> NoReturn:
        least = ", ".join(f"{name}={value:,}" for name, value in smallest.items())
        raise ValueError(
            f"{self._asked()} is below the smallest model that can be made of "
            f"{self._name!r}, which has {least}. Give it more, or let groups have fewer "
            "channels (min_channels, round_to); what cannot be removed is named by "
            "tfprune.channel_groups(model)."
        )

    @property
    def _name(self) -> str:
        return self._prices.survey.tracer.view.model.name

    def _asked(self) -> str:
        limits = ", ".join(f"{name}={value:,}" for name, value in self._limits.items())
        return f"Budget({limits})"
