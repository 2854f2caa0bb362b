# SPDX-License-Identifier: Apache-2.0
"""Choice of the channels that stay, so that a model is within its budget."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Callable, Iterator

import numpy as np

from tfprune.channels.cost_model import Prices
from tfprune.masks.allocations.cost_aware import per_cost
from tfprune.masks.select import select
from tfprune.surgery.budget import Budget
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

    def __init__(self, prices: Prices, ranking: Ranking, budget: Budget, limits: dict[str, float]):
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
                per_cost(score, weights[number])
                for number, score in zip(self._open, self._scores, strict=True)
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
            grown = self._growing(keep, counts, waiting)
            if grown is None:
                break
            keep = grown
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
        known = dict(zip(self._open, self._scores, strict=True))
        return [
            select(known[number], int(count)) if number in known else np.ones(int(size), bool)
            for number, (count, size) in enumerate(zip(counts, self._prices.full, strict=True))
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


Counts = np.ndarray
GIVEN = 3  # multiples of channels that a group gives at most in one trade
SHARE = 3  # of so many channels a group gives or gets one at most, so that shares stay alike
TRIED = 64  # trades that are counted exactly, out of all that are estimated
ROUNDS = 4


@dataclass(frozen=True, eq=False)
class Market:
    """Which counts are possible, and how much of each limit they use up.

    Attributes:
        low, full: int64 [groups], the least and the most channels of each group.
        step: counts are multiples of it, or `full`.
        groups: the numbers of the groups that may change.
        used: of counts: float64 [limits], the used part of each limit.
    """

    low: Counts
    full: Counts
    step: int
    groups: list[int]
    used: Callable[[Counts], np.ndarray]

    def moved(self, counts: Counts, group: int, steps: int) -> Counts | None:
        """The counts with so many multiples more (or less) in a group; None: not possible."""
        start = counts[group] // self.step if steps > 0 else -(-counts[group] // self.step)
        size = min((start + steps) * self.step, self.full[group])
        if size < self.low[group] or size == counts[group]:
            return None
        changed = counts.copy()
        changed[group] = size
        return changed

    def most(self, counts: Counts, group: int) -> Counts | None:
        """The counts with as many channels in a group as fit; None: not one more."""
        steps = last(
            lambda one: one == 0 or self._fits(counts, group, one), 0, int(self.room(counts)[group])
        )
        return self.moved(counts, group, steps) if steps else None

    def room(self, counts: Counts) -> Counts:
        """How many multiples each group may get."""
        left, share = self.full - counts, counts // SHARE
        return np.where(left <= share, -(-left // self.step), share // self.step)

    def _fits(self, counts: Counts, group: int, steps: int) -> bool:
        moved = self.moved(counts, group, steps)
        return moved is not None and bool((self.used(moved) <= 1).all())


def traded(counts: Counts, market: Market, close: float) -> Counts:
    """Counts that leave less of the limits unused, after trades that are worth it.

    A trade is worth it if it comes close, or if what it uses up would be close to nothing
    otherwise. Of those that come close, the one that moves least is taken, of others the one that
    gains most for each share of a group's channels that it moves.

    Args:
        counts: int64 [groups], with which nothing more fits.
        market: what is possible.
        close: the unused part of the tightest limit that is small enough.
    """
    unused = 1 - market.used(counts).max()
    for _ in range(ROUNDS):
        best = min(
            _worthwhile(counts, unused, market, close), default=None, key=lambda trade: trade[:2]
        )
        if best is None:
            break
        *_, unused, counts = best
    return counts


def _worthwhile(
    counts: Counts, unused: float, market: Market, close: float
) -> Iterator[tuple[bool, float, float, Counts]]:
    """Trades: whether it stays far, what it costs in shares moved, what it leaves, the counts."""
    for one in _offers(counts, market) if unused > close else ():
        left = 1 - market.used(one).max()
        moved = float((np.abs(one - counts) / market.full).sum())
        if left <= close:
            yield False, moved, left, one
        elif unused - left >= close:
            yield True, moved / (unused - left), left, one


def _offers(counts: Counts, market: Market) -> Iterator[Counts]:
    """Counts after one trade: those that seem to leave least, as far as costs are linear."""
    before = market.used(counts)
    givers = [counts]
    for group in market.groups:
        less = (market.moved(counts, group, -steps) for steps in range(1, GIVEN + 1))
        givers += [
            one
            for one in less
            if one is not None and SHARE * (counts[group] - one[group]) <= counts[group]
        ]
    room = market.room(counts)
    moved = ((group, market.moved(counts, group, 1)) for group in market.groups if room[group])
    more = {group: one for group, one in moved if one is not None}
    takers = list(more)
    if not takers:
        return
    saved = np.array([before - market.used(one) for one in givers])  # [givers, limits]
    price = np.array([market.used(more[group]) - before for group in takers])
    space = (1 - before + saved)[:, None]
    with np.errstate(divide="ignore", invalid="ignore"):
        taken = np.where(price > 0, space / price, np.inf).min(axis=2)
    taken = np.floor(np.minimum(taken, room[takers]))
    left = (space - taken[..., None] * price).min(axis=2)
    for place in np.argsort(left, axis=None, kind="stable")[:TRIED]:
        giver, taker = np.unravel_index(place, left.shape)
        given, group = givers[giver], takers[taker]
        found = market.most(given, group) if given[group] == counts[group] else None
        if found is not None:
            yield found


def last(holds: Callable[[int], bool], low: int, high: int) -> int:
    """The last number up to which something holds, between `low`, where it does, and `high`."""
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if holds(middle) else (low, middle - 1)
    return low
