# SPDX-License-Identifier: Apache-2.0
"""The nearest weights on a structure, chosen by the same code as all masks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Sequence

import numpy as np

from tfprune.masks.allocations import Allocation, Uniform
from tfprune.masks.sites import Site, is_coupled
from tfprune.methods.base import Score, TopKRule


@dataclass(frozen=True)
class Counted(Allocation):
    """So many groups at every site, known beforehand.

    Args:
        counts: groups kept, by the name of the site.
    """

    counts: dict[str, int]

    def __call__(
        self, scores: Sequence[Any], sites: Sequence[Site], sparsity: Any, final: float
    ) -> np.ndarray:
        return np.array([self.counts[site.name] for site in sites], np.int64)


class Projection:
    """Euclidean projections of the weights of single sites.

    How many groups a site keeps is settled once, from the weights of all sites. Where channels
    are chosen across sites, which ones are kept is settled then, too.

    Args:
        score: the norm of a group.
        rule: its structure and its allocation.
        weights, sites: of all sites, NumPy arrays.
        sparsity, final: as for `TopKRule.choose`.
    """

    def __init__(
        self,
        score: Score,
        rule: TopKRule,
        weights: Sequence[np.ndarray],
        sites: Sequence[Site],
        *,
        sparsity: float,
        final: float,
    ):
        self._sites = list(sites)
        self._settled = None
        structure = rule.structure
        whole = TopKRule(score, structure, rule.allocation)
        if structure.fixed is not None:
            self._rank = TopKRule(score, structure, Uniform())
            return
        masks = whole.masks(weights, sites, sparsity, final=final)
        if is_coupled(sites):
            self._settled = masks
            return
        counts = {}
        for mask, site in zip(masks, sites, strict=True):
            held = structure.compete(structure.reduce(mask.astype(np.float32), site.layout))
            counts[site.name] = int(np.count_nonzero(held > 0))
        self._rank = TopKRule(score, structure, Counted(counts))

    def masks(self, indices: Sequence[int], weights: Sequence[np.ndarray]) -> list[np.ndarray]:
        """The masks of the nearest weights; which sites they are the weights of, say `indices`."""
        if self._settled is not None:
            return [self._settled[index] for index in indices]
        sites = [self._sites[index] for index in indices]
        return self._rank.masks(weights, sites, 0.5, final=0.5)  # the counts are known
