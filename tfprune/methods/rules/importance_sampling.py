# SPDX-License-Identifier: Apache-2.0
"""The rule that draws: which groups stay is random, and what reads them makes up for the rest."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Sequence

import numpy as np

from tfprune.masks.array_namespace import is_tensor, namespace, tf
from tfprune.masks.coresets import draw_distinct
from tfprune.masks.select import select
from tfprune.masks.serialization import register
from tfprune.masks.sites import Coupled, Site, is_coupled
from tfprune.methods.base import TopKRule
from tfprune.methods.rules.consumer_factors import Consumers
from tfprune.methods.update import State, Update


@register(name="Draw")
@dataclass(frozen=True)
class ImportanceSamplingRule(TopKRule):
    """Keep filters drawn in proportion to their scores, and re-weight what reads them.

        q_j = s_j / sum s,  u_j = count_j / (draws q_j),  V_j <- u_j V_j

    Filters are drawn with replacement until as many different ones are kept as the allocation
    says. V_j is what the next layers read filter j by; of a removed filter, never drawn, u is 0.
    So the sum over all filters that the next layer computes is estimated almost without bias.
    For one seed, a smaller number of filters is a part of a larger one. Where all that is left
    stays, nothing is drawn and u is 1. Attributes are those of `TopKRule`.

    The weights V change once for every removal, in the update that removes. Where a filter's
    channel is made by other layers, too, or nothing is known of what reads it, filters are drawn
    and V stays as it is; the report says so.

    Raises:
        ValueError: a structure other than Filter; more than one round; scores that may be negative.

    Example:
        >>> from tfprune import ImportanceSamplingRule, get_method
        >>> from tfprune.masks.structures import Filter
        >>> rule = ImportanceSamplingRule(get_method("coreset_mussay").rule.score, Filter(), seed=3)
        >>> get_method("coreset_mussay", rule=rule).rule.changes
        True
    """

    def __post_init__(self):
        super().__post_init__()
        if type(self.structure).__name__ != "Filter":
            raise ValueError(
                "ImportanceSamplingRule re-weights what reads a filter, got the structure "
                f"{self.structure}: take Filter(), or a rule that changes no weights, such as "
                "TopKRule."
            )
        if self.rounds != 1:
            raise ValueError(f"rounds={self.rounds}: it re-weights once in an update; take 1.")
        if self.score.signed:
            raise ValueError(f"The score {self.score.name!r} may be negative; chances may not.")

    def update(self, now: State) -> Update:
        made = super().update(now)
        scores = self.ranked(now.weights, now.sites, now.after(made.state).known)
        factors = self.factors(scores, now.sites, now.sparsity, final=now.final)
        consumers = Consumers.of(now.subject.model, now.sites)
        return replace(
            made,
            kernels=consumers.multiplied([np.asarray(one) for one in factors]),
            notes=consumers.notes(now.sites),
            cautions=[
                f"What reads the filters of {name} was not re-weighted: {reason}"
                for name, reason in consumers.undone.items()
            ],
        )

    def factors(
        self, grouped: Sequence[Any], sites: Sequence[Site], sparsity: Any, *, final: float
    ) -> list[Any]:
        """u of each site's filters, 0 for those that `choose` removes."""
        if not is_coupled(sites):
            return self._drawn(grouped, sites, sparsity, final)
        coupled = Coupled.of(sites, [score.shape[0] for score in grouped])
        units = [unit.site for unit in coupled.units]
        return coupled.spread(self._drawn(coupled.pool(grouped), units, sparsity, final), 1.0)

    def _select(
        self, scores: Sequence[Any], sites: Sequence[Site], sparsity: Any, final: float
    ) -> list[Any]:
        xp = namespace(*scores)
        return [xp.greater(factors, 0) for factors in self._drawn(scores, sites, sparsity, final)]

    def _drawn(
        self, scores: Sequence[Any], sites: Sequence[Site], sparsity: Any, final: float
    ) -> list[Any]:
        counts = self.allocation(scores, sites, sparsity, final)
        return [
            _factors(score, counts[index], (self.seed, index)) for index, score in enumerate(scores)
        ]


def _factors(scores: Any, keep: Any, key: tuple[int, int]) -> Any:
    """u of each group, float32, above 0 for exactly `keep` of them."""
    if not is_tensor([scores, keep]):
        return _factors_of_array(np.asarray(scores), int(keep), key)
    factors = tf.numpy_function(
        lambda values, number: _factors_of_array(values, int(number), key),
        [scores, keep],
        tf.float32,
    )
    factors.set_shape(scores.shape)
    return factors


def _factors_of_array(scores: np.ndarray, keep: int, key: tuple[int, int]) -> np.ndarray:
    factors = np.zeros(len(scores), np.float32)
    if keep >= np.count_nonzero(scores > 0):
        factors[select(scores, keep)] = 1
        return factors
    seed = int(np.random.SeedSequence(key).generate_state(1)[0])
    sample = draw_distinct(scores, keep, seed=seed)
    # A weight that float32 cannot tell from 0 is one, too: the group is kept.
    factors[sample.indices] = np.maximum(sample.weights, np.finfo(np.float32).tiny)
    return factors
