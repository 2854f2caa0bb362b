"""Which channels stay, so that a model is within its budget."""

from __future__ import annotations

from typing import Sequence

import numpy as np

from tfprune.allocations import Global
from tfprune.select import select
from tfprune.surgery.budget import Budget
from tfprune.surgery.prices import Prices

Counts = np.ndarray


class Fitting:
    """Removes channels in the order of their scores, over all groups, until a budget is kept.

    Args:
        prices: of the model.
        scores: float64 [channels] of each of its groups; None: all of that group stay.
        budget: with the limits' units.
        limits: of the costs, as integers.

    Attributes:
        least: int64 [groups], how many channels each group keeps at least.
    """

    def __init__(self, prices: Prices, scores: Sequence[np.ndarray | None], budget: Budget,
                 limits: dict[str, int]):
        self.least = np.minimum(budget.min_channels, prices.full)
        self._prices, self._budget, self._limits = prices, budget, limits
        self._open = [number for number, score in enumerate(scores) if score is not None]
        self.scores = [scores[number] for number in self._open]
        if budget.per_cost and budget.units:
            weights = self._savings()
            self.scores = [score / weights[number]
                           for number, score in zip(self._open, self.scores)]
        self.total = sum(len(score) for score in self.scores)

    def counts(self, keep: int) -> Counts:
        """How many channels each group of the model has, if so many of all stay by rank."""
        sparsity = 1 - keep / self.total
        left = Global(floor=0)(self.scores, [], sparsity, sparsity)
        counts = self._prices.full.copy()
        counts[self._open] = np.maximum(left, self.least[self._open])
        multiple = self._budget.round_to
        return np.minimum(-(-counts // multiple) * multiple, self._prices.full)

    def fits(self, counts: Counts) -> bool:
        """Whether a model with these counts is within all limits that can be counted."""
        costs = self._budget.costs(self._prices, counts)
        return all(costs[name] <= limit for name, limit in self._limits.items())

    def largest(self) -> int | None:
        """The largest number of channels by rank that fits; None: not even the smallest does."""
        low, high = 0, self.total
        if not self.fits(self.counts(low)):
            return None
        while low < high:
            middle = (low + high + 1) // 2
            low, high = (middle, high) if self.fits(self.counts(middle)) else (low, middle - 1)
        return low

    def filled(self, counts: Counts) -> Counts:
        """The counts with the best channels added that were too much for their rank, and fit."""
        counts = counts.copy()
        waiting = [number for number in self._open if counts[number] < self._prices.full[number]]
        ordered = dict(zip(self._open, (np.sort(score)[::-1] for score in self.scores)))
        while waiting:
            best = max(waiting, key=lambda number: ordered[number][counts[number]])
            more = counts.copy()
            more[best] = min(counts[best] + self._budget.round_to, self._prices.full[best])
            fits = self.fits(more)
            counts = more if fits else counts
            if not fits or counts[best] == self._prices.full[best]:
                waiting.remove(best)
        return counts

    def masks(self, counts: Counts) -> list[np.ndarray]:
        """Which channels of each group of the model stay: the best ones, bool [channels]."""
        known = dict(zip(self._open, self.scores))
        return [select(known[number], int(count)) if number in known
                else np.ones(int(size), bool)
                for number, (count, size) in enumerate(zip(counts, self._prices.full))]

    def _savings(self) -> np.ndarray:
        """What one channel of each group costs, in fractions of the limits: float64 [groups]."""
        full = self._prices.full
        whole = self._budget.costs(self._prices, full)
        saved = np.zeros(len(full))
        for number in range(len(full)):
            one_less = full.copy()
            one_less[number] -= 1
            costs = self._budget.costs(self._prices, one_less)
            saved[number] = sum((whole[name] - costs[name]) / limit
                                for name, limit in self._limits.items())
        return np.maximum(saved, np.finfo(np.float64).tiny)
