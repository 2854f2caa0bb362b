# SPDX-License-Identifier: Apache-2.0
"""The rule that moves chances: groups are not cut at once, but become ever less likely to stay."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from tfprune.masks.array_namespace import namespace
from tfprune.masks.serialization import register
from tfprune.methods.base import TopKRule

_NEARLY = 1 - 1e-6  # twenty times 0.05 are not quite 1 in float32


@register(name="Chances")
@dataclass(frozen=True)
class DropProbabilityRule(TopKRule):
    """Every group has a chance p to be left out of a step, which moves with the group's rank.

        p <- clip(p + delta(r), 0, 1),  alpha = (ln 2 - ln u) / (n - done),  N = -ln u / alpha
        delta(r) = A exp(-alpha r)                       where r <= N
                 = 2 u A - A exp(-alpha (2 N - r))       where r > N

    n groups of a site are to go; `done` of them have p = 1 and are gone for good. r counts the
    others, from 0 for the lowest average rank by score over the updates. So delta is A for the
    lowest, 0 for the first that is to stay, and negative behind it. As soon as n are gone the
    others are safe, p = 0. The first update at the schedule's final sparsity takes what is still
    missing of n, by chance and then by rank. The mask at rest keeps all groups with p < 1.

    Attributes:
        increment: A, in (0, 1].
        center: u, in (0, 1): delta(N) = u A.
        score, structure, allocation: as of `TopKRule`.

    Raises:
        ValueError: an increment or a center out of range; a structure that fixes its own counts,
            or couples groups of several layers.

    Paper: H. Wang, Q. Zhang, Y. Wang, H. Hu, "Structured Probabilistic Pruning for Convolutional
    Neural Network Acceleration", 2017, arXiv 1709.06994.

    Example:
        >>> from tfprune import get_method
        >>> get_method("spp", increment=0.1).rule.increment
        0.1
    """

    increment: float = 0.05
    center: float = 0.25

    def __post_init__(self):
        super().__post_init__()
        if not 0 < self.increment <= 1:
            raise ValueError(f"increment={self.increment}: expected a number in (0, 1].")
        if not 0 < self.center < 1:
            raise ValueError(f"center={self.center}: expected a number in (0, 1).")

    def refusal(self, structure):
        is_whole = structure.fixed is None and structure.within is None
        if is_whole and not structure.coupled:
            return super().refusal(structure)
        return (
            f"Chances move group by group within a layer, so {structure} does not fit: "
            "take Column(), Channel(), Filter(), Kernel() or Element()."
        )

    def state(self, site):
        groups = self.structure.groups(site.shape, site.layout)
        return {
            "chance": np.zeros(groups, np.float32),
            "rank": np.zeros(groups, np.float32),
            "updates": np.zeros((), np.float32),
        }

    def advance(self, weights, sites, states, sparsity, *, final):
        scores = self.ranked(weights, sites, states)
        xp = namespace(*scores)
        keeps = self.allocation(scores, sites, final, final)
        changes = []
        for index, (score, state) in enumerate(zip(scores, states, strict=True)):
            updates = state["updates"] + 1
            rank = state["rank"] + (_positions(xp, score) - state["rank"]) / updates
            wanted = xp.astype(score.shape[0] - keeps[index], np.float32)
            moved = self._moved(xp, state["chance"], rank, wanted)
            chance = xp.where(sparsity >= final, _ended(xp, moved, rank, wanted), moved)
            changes.append({"chance": chance, "rank": rank, "updates": updates})
        return changes

    def masks(self, weights, sites, sparsity, *, final, states=None):
        return [
            self.structure.expand(state["chance"] < 1, site.shape, site.layout)
            for state, site in zip(states, sites, strict=True)
        ]

    def _moved(self, xp: Any, chance: Any, rank: Any, wanted: Any) -> Any:
        """The chances after one update; those of finished groups are 1 and stay so."""
        done = chance >= 1
        left = wanted - xp.sum(xp.astype(done, np.float32))
        order = _positions(xp, xp.where(done, math.inf, rank))
        moved = chance + xp.where(done, 0.0, self.delta(order, left))
        moved = xp.where(moved >= _NEARLY, 1.0, xp.clip(moved, 0.0, 1.0))
        finished = xp.sum(xp.astype(moved >= 1, np.float32)) >= wanted
        return xp.where(finished, xp.astype(moved >= 1, np.float32), moved)

    def delta(self, order: Any, left: Any) -> Any:
        """By how much the chance of each unfinished group moves in one update, in [-1, 1].

        Args:
            order: r [groups], float.
            left: n - done, how many of them are still to go.
        """
        xp, u, top = namespace(order), self.center, self.increment
        alpha = (math.log(2) - math.log(u)) / xp.maximum(left, 1.0)
        middle = -math.log(u) / alpha
        # Far behind the middle the exponential overflows where only its sign matters.
        behind = xp.minimum(alpha * (order - 2 * middle), 50.0)
        far = 2 * u * top - top * xp.exp(behind)
        return xp.clip(xp.where(order <= middle, top * xp.exp(-alpha * order), far), -1.0, 1.0)


def _positions(xp: Any, values: Any) -> Any:
    """The rank of each value, 0 for the lowest, ties by index."""
    return xp.astype(xp.argsort(xp.argsort(values, stable=True), stable=True), np.float32)


def _ended(xp: Any, chance: Any, rank: Any, wanted: Any) -> Any:
    """1 for as many groups as are wanted, by chance and then by rank; 0 for the others."""
    by_rank = xp.argsort(rank, stable=True)
    by_chance = xp.argsort(-xp.take(chance, by_rank), stable=True)
    order = xp.argsort(xp.take(by_rank, by_chance), stable=True)
    return xp.astype(xp.astype(order, np.float32) < wanted, np.float32)
