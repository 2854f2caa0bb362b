# SPDX-License-Identifier: Apache-2.0
"""The rule that keeps what is above one threshold for all sites, which rises."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from tfprune.masks.array_namespace import namespace
from tfprune.masks.select import select
from tfprune.masks.serialization import register
from tfprune.methods.base import TopKRule


@register(name="Threshold")
@dataclass(frozen=True)
class ThresholdRule(TopKRule):
    """Keeps the groups with sigmoid(score) > tau; at the end as many as were asked for.

        tau = threshold * s / s_final,  s the sparsity that the schedule says
        at s = s_final: the highest scores, as many as the allocation says

    So how sparse it is on the way is up to the scores, and how sparse in the end is not: under
    `Global()` the last update takes the one threshold for all sites that leaves the asked number.
    Where the scores do not fall far enough by themselves that update cuts much at once: raise the
    gate's penalty. Of every site `least` stays above the threshold, until the end.

    A structure that fixes its own counts, chooses within its groups or couples layers is ranked at
    every update instead.

    Attributes:
        threshold: the last tau, in [0, 0.5): scores begin at sigmoid(0) = 0.5.
        least: fraction of the groups of a site, in [0, 1).
        score, structure, allocation: as of `TopKRule`.

    Raises:
        ValueError: a threshold or `least` out of range.

    Paper: V. Sanh, T. Wolf, A. M. Rush, "Movement Pruning: Adaptive Sparsity by Fine-Tuning",
    2020, arXiv 2005.07683.

    Example:
        >>> from tfprune import get_method
        >>> get_method("movement_soft", threshold=0.05).rule.threshold
        0.05
    """

    threshold: float = 0.1
    least: float = 0.005

    def __post_init__(self):
        super().__post_init__()
        if not 0 <= self.threshold < 0.5:
            raise ValueError(f"threshold={self.threshold}: expected a number in [0, 0.5).")
        if not 0 <= self.least < 1:
            raise ValueError(f"least={self.least}: expected a fraction in [0, 1).")

    def state(self, site):
        return {"course": np.zeros((), np.float32)}

    def advance(self, weights, sites, states, sparsity, *, final):
        xp = namespace(sparsity)
        course = xp.astype(xp.asarray(sparsity / final if final else 0.0), np.float32)
        return [{"course": course}] * len(sites)

    def masks(self, weights, sites, sparsity, *, final, states=None):
        ranked = super().masks(weights, sites, sparsity, final=final, states=states)
        shape = self.structure
        if shape.fixed is not None or shape.within is not None or shape.coupled or shape.balanced:
            return ranked
        scores = self.ranked(weights, sites, states)
        xp = namespace(*scores)
        above = [
            shape.expand(self._above(xp, score, state["course"]), site.shape, site.layout)
            for score, state, site in zip(scores, states, sites, strict=True)
        ]
        ended = sparsity >= final
        return [xp.where(ended, last, mask) for last, mask in zip(ranked, above, strict=True)]

    def _above(self, xp: Any, score: Any, course: Any) -> Any:
        """sigmoid(S) > tau, without a quotient: S > log(tau / (1 - tau)); nothing falls below 0."""
        score = xp.reshape(score, (-1,))
        tau = xp.maximum(self.threshold * course, float(np.finfo(np.float32).tiny))
        odds = xp.log(tau / (1 - tau))
        kept = xp.where(course * self.threshold > 0, score > odds, score > -math.inf)
        least = int(self.least * score.shape[0]) + 1
        return xp.logical_or(kept, select(score, least))
