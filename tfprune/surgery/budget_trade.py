# SPDX-License-Identifier: Apache-2.0
"""Trades channels of one group for channels of another, where nothing more fits a budget."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Callable, Iterator

import numpy as np

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
        return bool((self.used(self.moved(counts, group, steps)) <= 1).all())


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
    more = {group: market.moved(counts, group, 1) for group in market.groups}
    room = market.room(counts)
    takers = [group for group, one in more.items() if one is not None and room[group]]
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
