# SPDX-License-Identifier: Apache-2.0
"""The rule of learned chances: the k highest logits of every row."""

from __future__ import annotations

import math
import zlib
from dataclasses import dataclass

import numpy as np

from tfprune.masks.array_namespace import is_tensor, namespace
from tfprune.masks.serialization import register
from tfprune.methods.base import TopKRule
from tfprune.methods.rules.mask_statistics import confidence, diversity

_NEVER = -1e9  # of places that a short row does not have: never drawn


@register(name="Logits")
@dataclass(frozen=True)
class TopKLogitsRule(TopKRule):
    """Keeps the candidates with the highest logits, k in every row; a gate learns the logits.

    Rows are what the structure makes them: of `Rows` its own, of `NofM` its blocks, of
    `Kernel(balanced=True)` the filters; of any other structure the groups of the layer are one row.
    The first logits follow the size of the candidates: the sum of |w| of each, shifted and scaled
    to mean 0 and the given deviation in every row, so that a trained network keeps what it has
    learned in its large weights. The paper draws them from a normal distribution of deviation 0.5,
    1 for kernels.

    Attributes:
        deviation: the standard deviation of the first logits, above 0.
        start: "magnitude" or "random": the first logits.
        score, structure, allocation, seed: as of `TopKRule`.

    Raises:
        ValueError: a deviation that is not above 0; another start; a structure that couples
            layers, or `Pattern`.

    Paper: L. Gonzalez-Carabarin, I. Huijben, B. Veeling, A. Schmid, R. van Sloun, "Dynamic
    Probabilistic Pruning: A General Framework for Hardware-Constrained Pruning at Different
    Granularities", 2021, arXiv 2105.12686.

    Example:
        >>> from tfprune import Rows, get_method
        >>> get_method("dpp", structure=Rows("weights", 4), deviation=1.0).rule.structure.k
        4
    """

    deviation: float = 2.0
    start: str = "magnitude"

    def __post_init__(self):
        super().__post_init__()
        if self.start not in ("magnitude", "random"):
            raise ValueError(f"start={self.start!r}: expected 'magnitude' or 'random'.")
        if not 0 < self.deviation < math.inf:
            raise ValueError(f"deviation={self.deviation}: expected a number above 0.")

    def refusal(self, structure):
        chosen_within = structure.within is not None and type(structure).__name__ == "Pattern"
        if not (chosen_within or structure.coupled):
            return super().refusal(structure)
        return (
            f"Logits are drawn among the candidates of one layer, so {structure} does not fit: "
            "take Rows(...), Filter(), Kernel(), Element() or NofM(n, m)."
        )

    def state(self, site):
        empty = self.structure.to_rows(np.zeros(site.shape, np.float32), site.layout)
        generator = np.random.default_rng([self.seed, zlib.crc32(site.name.encode())])
        drawn = generator.normal(0, self.deviation, empty.shape).astype(np.float32)
        return {
            "logits": np.where(np.isinf(empty), np.float32(_NEVER), drawn),
            "count": np.float32(empty.shape[1])[...],
        }

    def scores(self, weights, sites, measured=None):
        if measured is None or any("logits" not in one for one in measured):
            raise ValueError("TopKLogitsRule chooses by what is learned: pass the sites' states.")
        return [
            self.structure.of_rows(one["logits"], site.shape, site.layout)
            for one, site in zip(measured, sites, strict=True)
        ]

    def advance(self, weights, sites, states, sparsity, *, final):
        rows, lengths = np.array([state["logits"].shape for state in states]).T
        logits = [
            self._begun(weight, site, state)
            for weight, site, state in zip(weights, sites, states, strict=True)
        ]
        if self.structure.fixed is not None:
            counts = np.minimum(self.structure.fixed, lengths)
        else:
            scores = self.scores(weights, sites, [{"logits": one} for one in logits])
            counts = self.allocation(scores, sites, sparsity, final)
            counts = self.each(counts, rows) if self.structure.balanced else counts
        xp = namespace(counts)
        changes = []
        for index, (one, state) in enumerate(zip(logits, states, strict=True)):
            moved = {} if one is state["logits"] else {"logits": one}
            changes.append({**moved, "count": xp.astype(counts[index], np.float32)})
        return changes

    def _begun(self, weight, site, state):
        """The logits: by the weights as long as all of them are kept, since nothing is learned."""
        begins = state["count"] >= state["logits"].shape[1]
        if self.start == "random" or not (is_tensor(begins) or begins):
            return state["logits"]
        xp = namespace(weight)
        size = self.structure.to_rows(xp.abs(xp.astype(weight, np.float32)), site.layout)
        real = xp.astype(state["logits"] > _NEVER, np.float32)
        size = xp.where(real > 0, size, 0.0)
        number = xp.sum(real, axis=1, keepdims=True)
        off = (size - xp.sum(size, axis=1, keepdims=True) / number) * real
        spread = xp.sqrt(xp.sum(xp.square(off), axis=1, keepdims=True) / number)
        first = self.deviation * off / xp.where(spread > 0, spread, 1.0)
        first = xp.where(xp.isnan(first), 0.0, first)
        return xp.where(xp.logical_and(begins, real > 0), first, state["logits"])

    def notes(self, site, state):
        logits = np.asarray(state["logits"])
        logits = logits[(logits > _NEVER).all(axis=1)]  # without a shorter last row
        if logits.shape[0] == 0 or logits.shape[1] < 2:
            return ()
        return (
            f"confidence {confidence(logits):.3f}, diversity {diversity(logits):.3f} of the "
            "learned chances (definitions of this project)",
        )
