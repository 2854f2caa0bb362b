# SPDX-License-Identifier: Apache-2.0
"""A method: what is scored, how the mask acts, when and how much is pruned."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from typing import Any, ClassVar, Sequence

import numpy as np

from tfprune.masks.allocations import Allocation, Uniform
from tfprune.masks.allocations.rankings import allocated_masks
from tfprune.masks.array_namespace import namespace
from tfprune.masks.select import select
from tfprune.masks.serialization import from_config, name_in_files, register, to_config
from tfprune.masks.sites import Coupled, Site, is_coupled
from tfprune.masks.structures import Element, Structure
from tfprune.methods.gates import Gate, MaskGate
from tfprune.methods.score import Score
from tfprune.methods.statistics_table import RESTING, collect, first_memory, measured
from tfprune.methods.statistics_table import structures as served_structures
from tfprune.methods.update import State, Update
from tfprune.output.moved_modules import find_moved


@register(name="Rank")
@dataclass(frozen=True)
class TopKRule:
    """Keep the groups with the highest scores.

    mask = expand(select(reduce(score), allocate(reduce(score), sparsity)))

    A run asks `update` alone. A rule that chooses otherwise overrides `masks`, or `advance` where
    what it keeps for its sites moves: both are compiled. A rule that overrides `update` may look at
    the model and change weights, so it is asked between two steps, uncompiled.

    Attributes:
        score: the score.
        structure: which weights are kept or removed together.
        allocation: how many groups each site keeps.
        seed: seed of the scores that are drawn at random.
        rounds: how often an update scores and removes, in equal factors of what is left, where
            scores are measured anew after every removal.
        momentum: of the running average of measured scores over the updates; 0: none.

    Raises:
        ValueError: the score is not known for the structure; the structure fixes its own counts
            (N:M) and the allocation is not Uniform; rounds below 1; a momentum outside of [0, 1).
    """

    without_scores: ClassVar[str | None] = None
    """Why its scores say nothing about a model before an update; None: they do."""

    score: Score
    structure: Structure = Element()
    allocation: Allocation = Uniform()
    seed: int = 0
    rounds: int = 1
    momentum: float = 0.0

    def __post_init__(self):
        if self.rounds < 1:
            raise ValueError(f"rounds={self.rounds}: expected at least 1.")
        reason = self.refusal(self.structure)
        if reason is not None:
            raise ValueError(reason)
        if not 0 <= self.momentum < 1:
            raise ValueError(f"momentum={self.momentum}: expected a number in [0, 1).")
        if self.structure.fixed is not None and not self.allocation.accepts_fixed:
            raise ValueError(
                f"{self.structure} keeps a fixed number in every group, so it takes only "
                f"Uniform(), got {self.allocation}: pass allocation=Uniform()."
            )

    def refusal(self, structure: Structure) -> str | None:
        """Why it does not take a structure; None: it does."""
        served = served_structures(self.score.needs)
        if served is None or type(structure).__name__ in served:
            return None
        return (
            f"The score {self.score.name!r} is known for {', '.join(served)} only, got the "
            f"structure {structure}: leave `structure` out, or take another method."
        )

    def state(self, site: Site) -> dict[str, np.ndarray]:
        """The numbers that it keeps for a site beside the weights: name -> first value."""
        return {}

    def update(self, now: State) -> Update:
        """The masks, and what else changes with them: what drivers of a run ask, and nothing else.

        Args:
            now: the sites and what is known of them.
        """
        changes: Sequence[dict[str, Any]] = [{}] * len(now.sites)
        if self.momentum and self.is_measured:
            scores = self.scores(now.weights, now.sites, now.known)
            changes = [self._averaged(*pair) for pair in zip(scores, now.known, strict=True)]
        now = now.after(changes)
        moved = self.advance(now.weights, now.sites, now.known, now.sparsity, final=now.final)
        now = now.after(moved)
        masks = self.masks(now.weights, now.sites, now.sparsity, final=now.final, states=now.known)
        return Update(masks, [{**one, **more} for one, more in zip(changes, moved, strict=True)])

    def advance(
        self,
        weights: Sequence[Any],
        sites: Sequence[Site],
        states: Sequence[dict[str, Any]],
        sparsity: Any,
        *,
        final: float,
    ) -> list[dict[str, Any]]:
        """For each site what of its state changes in an update, before masks are chosen."""
        return [{}] * len(sites)

    def masks(
        self,
        weights: Sequence[Any],
        sites: Sequence[Site],
        sparsity,
        *,
        final,
        states: Sequence[dict[str, Any]] | None = None,
    ) -> list[Any]:
        """One boolean mask per site, True = keep.

        Args:
            weights: the dense weights, NumPy arrays or tensors, one per site.
            sites: where they stand.
            sparsity: fraction of groups to remove now.
            final: the schedule's last sparsity.
            states: what the method keeps for each site, and its mask at rest, by name, with
                `step`, the finished steps, and `progress` of the schedule, 0 at its first update
                and 1 at its last; None: the score needs none of it.
        """
        alone = isinstance(self.structure, Element) and not self.allocation.reads_scores
        kind = type(self)  # a kind of rule that ranks or chooses by itself is handed the scores
        stock = (kind.ranked, kind.choose) == (TopKRule.ranked, TopKRule.choose)
        if not (stock and alone and self.score.is_magnitude):
            return self.choose(self.ranked(weights, sites, states), sites, sparsity, final=final)
        pairs = zip(weights, sites, strict=True)
        single = [self.structure.reduce(weight, site.layout) for weight, site in pairs]
        masks = allocated_masks(self.allocation, single, sites, sparsity, final, magnitude=True)
        return self._expanded(masks, sites)

    @property
    def is_measured(self) -> bool:
        """Whether the rule takes or changes more than the weights of a site: the model, data."""
        return self.changes or bool(measured(self.score.needs))

    @property
    def changes(self) -> bool:
        """Whether it may change weights that it keeps: it has an `update` of its own."""
        return type(self).update is not TopKRule.update

    def scores(
        self,
        weights: Sequence[Any],
        sites: Sequence[Site],
        measured: Sequence[dict[str, Any]] | None = None,
    ) -> list[Any]:
        """Scores of the groups of each site.

        Args:
            weights, sites: as for `masks`.
            measured: the measured statistics of each site, or what is kept for it; None: the
                score needs none.

        Raises:
            ValueError: the score needs what nobody keeps: the method has another gate than its own.
        """
        resting = [name for name in self.score.needs if name in RESTING]
        supplied = collect(resting, weights, seed=self.seed)
        measured = measured or [{}] * len(sites)
        missing = {*self.score.needs} - {*resting}.union(*measured)
        if missing:
            raise ValueError(
                f"The score {self.score.name!r} needs {', '.join(sorted(missing))}, which nobody "
                "supplies. If a gate of its own should keep it, leave `gate` out."
            )
        return [
            self.score.of_groups({**own, **more}, self.structure, site.layout)
            for own, more, site in zip(supplied, measured, sites, strict=True)
        ]

    def ranked(
        self,
        weights: Sequence[Any],
        sites: Sequence[Site],
        states: Sequence[dict[str, Any]] | None = None,
    ) -> list[Any]:
        """The scores by which groups are chosen: `scores`, or if they are measured their running
        averages, with what is removed below all others; arguments as for `masks`."""
        if not self.is_measured:
            return self.scores(weights, sites, states)
        if self.momentum and states:
            scores = [one["average_score"] for one in states]
        else:
            scores = self.scores(weights, sites, states)
        return self.below(scores, weights, sites)

    def _averaged(self, score: Any, known: dict[str, Any]) -> dict[str, Any]:
        """The running average of a site's scores after this measurement."""
        xp = namespace(score)
        before = xp.astype(known["average_score"], score.dtype)
        mixed = self.momentum * before + (1 - self.momentum) * score
        return {"average_score": xp.where(known["measured_step"] < 0, score, mixed)}

    def below(
        self, scores: Sequence[Any], weights: Sequence[Any], sites: Sequence[Site]
    ) -> list[Any]:
        """The scores, with all groups that hold only zeros below all others: removed is removed."""
        xp = namespace(*scores)
        lowest, smallest = (
            (-math.inf, -math.inf) if self.score.signed else (0.0, np.finfo(np.float32).tiny)
        )
        return [
            xp.where(self.structure.empty(weight, site.layout), lowest, xp.maximum(score, smallest))
            for score, weight, site in zip(scores, weights, sites, strict=True)
        ]

    def choose(
        self, grouped: Sequence[Any], sites: Sequence[Site], sparsity: Any, *, final: float
    ) -> list[Any]:
        """One boolean mask per site from the scores of its groups."""
        if is_coupled(sites):
            masks = self._choose_coupled(grouped, sites, sparsity, final)
        elif self.structure.fixed is not None:
            masks = [select(scores, self.structure.fixed) for scores in grouped]
        else:
            scores = [self.structure.compete(one) for one in grouped]
            by_filter = self.structure.balanced
            kept = (self._balanced if by_filter else self._select)(scores, sites, sparsity, final)
            masks = [self.structure.complete(*pair) for pair in zip(kept, grouped, strict=True)]
        return self._expanded(masks, sites)

    def _expanded(self, masks: Sequence[Any], sites: Sequence[Site]) -> list[Any]:
        """From masks of groups to masks of entries."""
        return [
            self.structure.expand(mask, site.shape, site.layout)
            for mask, site in zip(masks, sites, strict=True)
        ]

    def _choose_coupled(
        self, grouped: Sequence[Any], sites: Sequence[Site], sparsity: Any, final: float
    ) -> list[Any]:
        coupled = Coupled.of(sites, [score.shape[0] for score in grouped])
        masks = self._select(
            coupled.pool(grouped), [unit.site for unit in coupled.units], sparsity, final
        )
        return coupled.spread(masks, True)

    def _select(
        self, scores: Sequence[Any], sites: Sequence[Site], sparsity: Any, final: float
    ) -> list[Any]:
        """The masks of the groups: those with the highest scores."""
        return allocated_masks(self.allocation, scores, sites, sparsity, final)

    def _balanced(
        self, scores: Sequence[Any], sites: Sequence[Site], sparsity: Any, final: float
    ) -> list[Any]:
        """The same, with equally many groups in every filter of a site."""
        structure = self.structure
        rows = [
            structure.by_filter(score, site.shape, site.layout)
            for score, site in zip(scores, sites, strict=True)
        ]
        counts = self.allocation(scores, sites, sparsity, final)
        keep = self.each(counts, np.array([row.shape[0] for row in rows]))
        masks = [select(row, keep[index]) for index, row in enumerate(rows)]
        return [
            structure.of_filters(mask, site.shape, site.layout)
            for mask, site in zip(masks, sites, strict=True)
        ]

    @staticmethod
    def each(counts: Any, filters: np.ndarray) -> Any:
        """How many groups each filter of a site keeps, of these counts for the sites, int64."""
        xp = namespace(counts)
        counts = xp.astype(counts, "float64")
        each = xp.round(counts / filters.astype(np.float64))
        return xp.astype(xp.where(counts > 0, xp.maximum(each, 1.0), each), "int64")

    def notes(self, site: Site, state: dict[str, Any]) -> tuple[str, ...]:
        """What is to be reported of a site, from what is kept for it, as arrays."""
        return ()

    def groups(self, sites: Sequence[Site]) -> int:
        """How many groups it chooses among at these sites together."""
        counts = [self.structure.groups(site.shape, site.layout) for site in sites]
        if is_coupled(sites):
            return sum(unit.size for unit in Coupled.of(sites, counts).units)
        return sum(counts)

    def course(self, begin: float, end: float, groups: int) -> list[float]:
        """The sparsities of the rounds of one update: what is left falls by equal factors.

        Round k of n removes int((1 - f) groups) groups, but no fewer than there are removed, f =
        (1 - begin) ((1 - end) / (1 - begin))^(k/n), as SynFlow's authors do; the last one ends at
        `end`.

        >>> from tfprune.methods import get_method
        >>> get_method("magnitude", rounds=3).rule.course(0.0, 0.875, 8)
        [0.5, 0.75, 0.875]
        >>> get_method("magnitude", rounds=3).rule.course(0.0, 0.875, 5)
        [0.4, 0.6, 0.875]
        >>> get_method("magnitude", rounds=3).rule.course(0.55, 0.56, 10)
        [0.55, 0.55, 0.56]
        """
        left = (1 - end) / (1 - begin)
        steps = [1 - (1 - begin) * left ** (k / self.rounds) for k in range(1, self.rounds)]
        return [*(max(begin, int(step * groups) / groups) for step in steps), end]


@register
@dataclass(frozen=True)
class Method:
    """A pruning method, complete with its schedule.

    Attributes:
        name: its name in the registry.
        rule: from weights to masks.
        gate: how the mask acts.
        schedule: when to prune and how much; None until a sparsity is given.
        default_schedule: the schedule into which a sparsity is put that is given alone; None:
            `Polynomial(sparsity)`.
        paper: authors, title, year, arXiv number.
    """

    renamed: ClassVar[dict[str, str]] = {"default_schedule": "timing"}

    name: str
    rule: TopKRule
    gate: Gate = MaskGate()
    schedule: Any = None
    default_schedule: Any = None
    paper: str = ""

    def __post_init__(self):
        if self.rule.changes and self.gate.hides:
            raise ValueError(
                f"{type(self.rule).__name__} changes the weights that it keeps, so nothing that "
                f"{self.gate} keeps could come back: leave `gate` out."
            )

    def state(self, site: Site, *, memory: bool = True) -> dict[str, np.ndarray]:
        """What the rule and the gate keep for a site beside the weights: name -> first value.

        Args:
            site: the site.
            memory: with what the rule remembers of its measurements, at the end.
        """
        if self.rule.structure.supports(site.shape, site.layout) is not None:
            return {}  # the site stays dense
        kept = {**self.rule.state(site), **self.gate.state(site, self.rule.structure)}
        return {**kept, **self.memory(site)} if memory else kept

    def memory(self, site: Site) -> dict[str, np.ndarray]:
        """The part of `state` that the rule remembers of its measurements."""
        served = self.rule.structure.supports(site.shape, site.layout) is None
        return first_memory(self.rule, site) if served and self.rule.is_measured else {}

    def get_config(self) -> dict[str, Any]:
        """Every field as JSON types; the score by its name."""
        rule = {
            field.name: to_config(getattr(self.rule, field.name))
            for field in dataclasses.fields(self.rule)
            if field.name != "score"
        }
        rule["score"] = self.rule.score.name
        if self.rule.score.settings:
            rule["settings"] = dict(self.rule.score.settings)
        if type(self.rule) is not TopKRule:
            rule["class_name"] = name_in_files(type(self.rule))
        return {
            "name": self.name,
            "rule": rule,
            "gate": to_config(self.gate),
            "schedule": to_config(self.schedule),
            "timing": to_config(self.default_schedule),
            "paper": self.paper,
        }

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "Method":
        """The method that `get_config` wrote."""
        return from_config({"class_name": "Method", "config": config})


def __getattr__(name: str) -> Any:
    return find_moved(name, __name__)  # pickles of methods name this file
