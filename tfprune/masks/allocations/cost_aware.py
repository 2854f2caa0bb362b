# SPDX-License-Identifier: Apache-2.0
"""One ranking over all channels that weighs what they are worth against what they cost."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from numbers import Real
from typing import Any, ClassVar

import numpy as np

from tfprune.masks.allocations.base import Allocation, Floored
from tfprune.masks.allocations.rankings import Global
from tfprune.masks.array_namespace import namespace
from tfprune.masks.costs import Sizes
from tfprune.masks.serialization import register

UNITS = ("macs", "parameters")


@register(name="Priced")
@dataclass(frozen=True)
class CostAware(Floored):
    """One ranking over the channels of all groups, by what they are worth and what they cost.

        rank(c) = score(c) - beta dC(c) / C       with a penalty beta
        rank(c) = score(c) / (dC(c) / C)          without: the best ratio (`per_cost`)

    C is what the whole model costs, dC(c) what goes if channel c goes now, with what has gone
    already: in its own kernels, and in those that read it. With a score that estimates the rise of
    the loss (`fisher`, `taylor`), beta is the loss that one model's worth of the unit may cost.
    For channels only: `structure=Filter(coupled=True)`, in a model with a graph.

    Paper: L. Theis, I. Korshunova, A. Tejani, F. Huszar, "Faster gaze prediction with dense
    networks and Fisher pruning", 2018, arXiv 1801.05787 (with a penalty); L. Liu et al., "Group
    Fisher Pruning for Practical Network Compression", 2021, arXiv 2108.00708 (the ratio).

    Args:
        min_keep: Smallest count per group.
        beta: The penalty, at least 0; None: the ratio.
        unit: "macs", multiply-accumulates of one example, or "parameters".

    Raises:
        ValueError: If one of them is out of its range.

    >>> CostAware(beta=0.1).unit
    'macs'
    """

    needs_prices: ClassVar[bool] = True
    beta: float | None = field(default=None, kw_only=True)
    unit: str = field(default="macs", kw_only=True)

    def __post_init__(self):
        super().__post_init__()
        is_number = isinstance(self.beta, Real) and not isinstance(self.beta, bool)
        if self.beta is not None and not (is_number and 0 <= self.beta < math.inf):
            raise ValueError(
                f"CostAware(beta={self.beta!r}): expected a number of at least 0, or "
                "None for score per cost."
            )
        if self.unit not in UNITS:
            raise ValueError(f"CostAware(unit={self.unit!r}): expected one of {', '.join(UNITS)}.")

    def __call__(self, scores, sites, sparsity, final):
        raise ValueError(
            f"{self} ranks the channels of a model with a graph: use it with "
            "structure=Filter(coupled=True)."
        )

    def total(self, groups, sites, sparsity, final):
        return Global(self.min_keep).total(groups, sites, sparsity, final)

    def at(self, prices: Any) -> Allocation:
        """The allocation in one model, whose prices are known (`surgery.prices.Prices`)."""
        return _At(
            self, tuple(group.name for group in prices.groups), prices.full, *prices.used(self.unit)
        )


@dataclass(frozen=True, eq=False)
class _At(Allocation):
    """In one model.

    Attributes:
        priced: the settings.
        names: of the channel groups.
        full: int64 [groups], their channels.
        sizes: of the model's weights.
        uses: int64 [weights], by what a weight's size counts.
    """

    priced: CostAware
    names: tuple[str, ...]
    full: np.ndarray
    sizes: Sizes
    uses: np.ndarray

    def __call__(self, scores, sites, sparsity, final):
        return Global(self.priced.min_keep)(self.ranks(scores, sites), sites, sparsity, final)

    def ranking(self, scores, sites, sparsity, final):
        ranks = self.ranks(scores, sites)
        return Global(self.priced.min_keep).ranking(ranks, sites, sparsity, final)

    def total(self, groups, sites, sparsity, final):
        return self.priced.total(groups, sites, sparsity, final)

    def ranks(self, scores: Sequence[Any], sites: Sequence[Any]) -> list[Any]:
        """What channels are ranked by; those that are gone, whose scores are below all others,
        stay there."""
        xp = namespace(*scores)
        scores = [xp.astype(score, "float64") for score in scores]
        alive = [
            xp.logical_and(xp.not_equal(score, 0), xp.greater(score, -math.inf)) for score in scores
        ]
        places = [self.names.index(site.name) for site in sites]
        counts = list(self.full.astype(np.float64))
        for place, one in zip(places, alive, strict=True):
            counts[place] = xp.astype(xp.count_nonzero(one), "float64")
        savings = self.sizes.savings(xp.stack(counts), self.uses)
        savings = savings / float(self.sizes.of(self.full) @ self.uses)
        return [
            xp.where(one, self._rank(xp, score, savings[place]), -math.inf)
            for place, one, score in zip(places, alive, scores, strict=True)
        ]

    def _rank(self, xp: Any, score: Any, saved: Any) -> Any:
        if self.priced.beta is None:
            return per_cost(score, saved)
        return score - self.priced.beta * saved


def per_cost(score: Any, saved: Any) -> Any:
    """A score in the unit of what goes with it: score / saved, and score * saved below zero.

    What is better gone (a score below zero, `grasp`) goes the sooner, the more goes with it.

    Args:
        score: of channels, larger is better; float64 of any shape.
        saved: what goes with each, at least 0; a number or an array of that shape.

    Example:
        >>> per_cost(np.array([1.0, 1.0, -1.0, -1.0]), np.array([0.5, 2.0, 0.5, 2.0])).tolist()
        [2.0, 0.5, -0.5, -2.0]
    """
    xp = namespace(score)
    saved = xp.maximum(saved, np.finfo(np.float64).tiny)
    return xp.where(xp.less(score, 0), score * saved, score / saved)
