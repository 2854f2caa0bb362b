"""A method: what is scored, how the mask acts, when and how much is pruned."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any, Callable, Sequence

from tfprune import statistics
from tfprune.allocations import Allocation, Uniform
from tfprune.configs import from_config, register, to_config
from tfprune.gates import Fixed
from tfprune.select import select
from tfprune.sites import Site
from tfprune.structures import Element, Structure


@dataclass(frozen=True)
class Score:
    """A score: one number per weight, higher = keep.

    Attributes:
        name: the name under which it is registered.
        needs: the statistics it is computed from (see `tfprune.statistics`).
        formula: function of a dictionary of statistics, pure.
    """

    name: str
    needs: tuple[str, ...]
    formula: Callable[[dict[str, Any]], Any]


@register
@dataclass(frozen=True)
class Rank:
    """Keep the groups with the highest scores.

    mask = expand(select(reduce(score), allocate(reduce(score), sparsity)))

    Attributes:
        score: the score.
        structure: which weights are kept or removed together.
        allocation: how many groups each site keeps.
        seed: seed of the scores that are drawn at random.

    Raises:
        ValueError: the structure fixes its own counts (N:M) and the allocation is not Uniform.
    """

    score: Score
    structure: Structure = Element()
    allocation: Allocation = Uniform()
    seed: int = 0

    def __post_init__(self):
        if self.structure.fixed is not None and not self.allocation.accepts_fixed:
            raise ValueError(
                f"{self.structure} keeps a fixed number in every group, so it takes only "
                f"Uniform(), got {self.allocation}. Leave `allocation` out."
            )

    def masks(self, weights: Sequence[Any], sites: Sequence[Site], sparsity, *, final) -> list[Any]:
        """One boolean mask per site, True = keep.

        Args:
            weights: the dense weights, NumPy arrays or tensors, one per site.
            sites: where they stand.
            sparsity: fraction of groups to remove now.
            final: the schedule's last sparsity.
        """
        supplied = statistics.collect(self.score.needs, weights, seed=self.seed)
        grouped = [
            self.structure.reduce(self.score.formula(given), site.layout)
            for given, site in zip(supplied, sites)
        ]
        if self.structure.fixed is not None:
            keeps = [self.structure.fixed] * len(sites)
        else:
            counts = self.allocation(grouped, sites, sparsity, final)
            keeps = [counts[index] for index in range(len(sites))]
        return [
            self.structure.expand(select(scores, keep), site.shape, site.layout)
            for scores, keep, site in zip(grouped, keeps, sites)
        ]


@register
@dataclass(frozen=True)
class Method:
    """A pruning method, complete with its schedule.

    Attributes:
        name: its name in the registry.
        rule: from weights to masks.
        gate: how the mask acts.
        schedule: when to prune and how much; None until a sparsity is given.
        paper: authors, title, year, arXiv number.
    """

    name: str
    rule: Rank
    gate: Fixed = Fixed()
    schedule: Any = None
    paper: str = ""

    def get_config(self) -> dict[str, Any]:
        """Every field as JSON types; the score by its name."""
        rule = {
            field.name: to_config(getattr(self.rule, field.name))
            for field in dataclasses.fields(self.rule)
            if field.name != "score"
        }
        rule["score"] = self.rule.score.name
        return {
            "name": self.name,
            "rule": rule,
            "gate": to_config(self.gate),
            "schedule": to_config(self.schedule),
            "paper": self.paper,
        }

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "Method":
        """The method that `get_config` wrote."""
        from tfprune.methods import score

        rule = {key: from_config(value) for key, value in config["rule"].items()}
        rule["score"] = score(rule["score"])
        fields = {key: from_config(value) for key, value in config.items() if key != "rule"}
        return cls(rule=Rank(**rule), **fields)
