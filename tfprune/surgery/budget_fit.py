# SPDX-License-Identifier: Apache-2.0
"""Which channels stay, so that a model is within its budget."""

from __future__ import annotations

import numpy as np

from tfprune.channels.cost_model import Prices
from tfprune.masks.allocations.cost_aware import per_cost
from tfprune.masks.select import select
from tfprune.surgery.budget import Budget
from tfprune.surgery.budget_trade import Counts, Market, last, traded
from tfprune.surgery.channel_scores import Ranking

CLOSE = 0.01  # of a limit, near enough


class Fitting:
    """Removes channels over all groups, in shares that an allocation gives, until a budget is kept.

    Args:
        prices: of the model.
        ranking: of its channels; groups that it does not know keep theirs.
        budget: with the limits' units.
        limits: of the costs, as integers.

    Attributes:
        least: int64 [groups], how many channels each group keeps at least.
        total: number of channels that are ranked.
    """

    def __init__(self, prices: Prices, ranking: Ranking, budget: Budget, limits: dict[str, int]):
        self.least = np.minimum(budget.min_channels, prices.full)
        self._counts: dict[int, Counts] = {}
        self._prices, self._budget, self._limits = prices, budget, limits
        names = [group.name for group in prices.groups]
        self._open = [number for number, name in enumerate(names) if name in ranking.scores]
        self._scores = [ranking.scores[names[number]] for number in self._open]
        self._sites = [ranking.sites[names[number]] for number in self._open]
        self._allocation = ranking.allocation
        if budget.per_cost and budget.units and self._allocation.compares_scores:
            weights = self._savings()
            self._scores = [
                per_cost(score, weights[number]) for number, score in zip(self._open, self._scores)
            ]
        self.total = sum(len(score) for score in self._scores)

    def counts(self, keep: int) -> Counts:
        """How many channels each group of the model has, if so many of all ranked ones stay."""
        if keep not in self._counts:
            self._counts[keep] = self._allocated(keep)
        return self._counts[keep]

    def _allocated(self, keep: int) -> Counts:
        sparsity = 1 - keep / self.total
        left = self._allocation(self._scores, self._sites, sparsity, sparsity)
        counts = self._prices.full.copy()
        counts[self._open] = np.maximum(left, self.least[self._open])
        return self._rounded(counts)

    def _rounded(self, counts: Counts) -> Counts:
        multiple = self._budget.round_to
        return np.minimum(-(-counts // multiple) * multiple, self._prices.full)

    def fits(self, counts: Counts) -> bool:
        """Whether a model with these counts is within all limits that can be counted."""
        return bool((self._used(counts) <= 1).all())

    def _used(self, counts: Counts) -> np.ndarray:
        """The used part of each limit."""
        costs = self._budget.costs(self._prices, counts)
        return np.array([costs[name] / max(limit, 1e-9) for name, limit in self._limits.items()])

    def keep_at_least(self, counts: Counts) -> None:
        """From now on these groups keep so many channels."""
        self.least = np.maximum(self.least, counts)
        self._counts.clear()

    def tighten(self, above: dict[str, float]) -> None:
        """Lower limits by so much."""
        self._limits = {name: limit - above.get(name, 0) for name, limit in self._limits.items()}

    def largest(self) -> int | None:
        """How many ranked channels may stay at most; None: not even the smallest model fits."""
        if not self.fits(self.counts(0)):
            return None
        return last(lambda keep: self.fits(self.counts(keep)), 0, self.total)

    def filled(self, keep: int) -> Counts:
        """The counts for so many ranked channels, and after them what fits, until it is close.

        Where nothing fits any more and it is not close, groups trade channels.
        """
        counts = self.counts(keep)
        waiting = np.zeros(len(counts), bool)
        waiting[self._open] = True
        while not self._is_close(counts):
            waiting &= counts < self._prices.full
            keep = self._growing(keep, counts, waiting)
            if keep is None:
                break
            for number in np.flatnonzero(waiting & (self.counts(keep) > counts)):
                more = counts.copy()
                more[number] = min(
                    counts[number] + self._budget.round_to, self._prices.full[number]
                )
                waiting[number] = self.fits(more)
                counts = more if waiting[number] else counts
        market = Market(
            self._rounded(self.least),
            self._prices.full,
            self._budget.round_to,
            self._open,
            self._used,
        )
        return traded(counts, market, CLOSE) if self._limits else counts

    def _is_close(self, counts: Counts) -> bool:
        """Whether less than a hundredth of a limit is unused: no reason to leave the shares."""
        return bool((self._used(counts) > 1 - CLOSE).any())

    def _growing(self, keep: int, counts: Counts, waiting: np.ndarray) -> int | None:
        """From how many ranked channels on a group that waits has more than so many."""

        def same(at: int) -> bool:
            return bool((self.counts(at) <= counts)[waiting].all())

        reach = 1
        while same(keep):
            if keep == self.total:
                return None
            least, keep = keep, min(keep + reach, self.total)
            reach *= 2
        return keep if reach == 1 else last(same, least, keep) + 1

    def masks(self, counts: Counts) -> list[np.ndarray]:
        """Which channels of each group of the model stay: the best ones, bool [channels]."""
        known = dict(zip(self._open, self._scores))
        return [
            select(known[number], int(count)) if number in known else np.ones(int(size), bool)
            for number, (count, size) in enumerate(zip(counts, self._prices.full))
        ]

    def _savings(self) -> np.ndarray:
        """What one channel of each group costs, in fractions of the limits: float64 [groups]."""
        full = self._prices.full
        whole = self._budget.costs(self._prices, full)
        saved = np.zeros(len(full))
        for number in range(len(full)):
            one_less = full.copy()
            one_less[number] -= 1
            costs = self._budget.costs(self._prices, one_less)
            saved[number] = sum(
                (whole[name] - costs[name]) / limit for name, limit in self._limits.items()
            )
        return saved
