# SPDX-License-Identifier: Apache-2.0
"""The rule that drops the smallest weights of a sparse network and grows others."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from tfprune.masks.array_namespace import namespace
from tfprune.masks.select import select
from tfprune.masks.serialization import register
from tfprune.methods.base import TopKRule
from tfprune.methods.statistics_table import drawn

_ROUNDING = 1e-9  # 0.29 * 100 is a little less than 29 in floating point


@register(name="Regrowth")
@dataclass(frozen=True)
class RegrowRule(TopKRule):
    """As many groups as the allocation says, of which every update exchanges a part.

        exchanged = int(zeta_t n),  n the number that a site keeps
        zeta_t = fraction (1 + cos(pi t)) / 2,  t from 0 at the first update to 1 at the last

    Dropped are the active groups with the lowest scores. Grown are as many of the inactive ones,
    the dropped included, which then keep their weights: those with the largest abs(gradient) of
    the last step, taken at the masked weights, or any, by chance. At the last update nothing is
    exchanged. The first update chooses the mask that it starts from. Where a schedule
    rises, each update drops what is too much, too.

    Counts that depend on shapes (`ERK()`, `Uniform()`, `PerSite`) are the same at every update.

    Attributes:
        fraction: zeta, in [0, 1).
        anneal: "cosine", as above, or "constant": zeta_t = fraction until the last update but one.
            Without a last update (`Constant(end=None)`) zeta stays, too.
        grow: "gradient" or "random".
        start: "magnitude" or "random": the first mask.
        score: of the active ones, higher = stays.
        structure, allocation: as of `TopKRule`; seed: of what is drawn.

    Raises:
        ValueError: a setting out of range; a structure that fixes its own counts, chooses within
            its groups, or couples them.

    Papers: U. Evci, T. Gale, J. Menick, P. S. Castro, E. Elsen, "Rigging the Lottery: Making All
    Tickets Winners", 2020, arXiv 1911.11134. D. C. Mocanu, E. Mocanu, P. Stone, P. H. Nguyen,
    M. Gibescu, A. Liotta, "Scalable training of artificial neural networks with adaptive sparse
    connectivity inspired by network science", 2018, arXiv 1707.04780.

    Example:
        >>> import math
        >>> from tfprune import get_method
        >>> rule = get_method("rigl").rule
        >>> [round(float(rule.exchanged(100, t)), 1) for t in (0, .25, .5, 1)]
        [30.0, 25.0, 15.0, 0.0]
    """

    fraction: float = 0.3
    anneal: str = "cosine"
    grow: str = "gradient"
    start: str = "magnitude"

    def __post_init__(self):
        super().__post_init__()
        if not 0 <= self.fraction < 1:
            raise ValueError(f"fraction={self.fraction}: expected a number in [0, 1).")
        for name, known in (
            ("anneal", ("cosine", "constant")),
            ("grow", ("gradient", "random")),
            ("start", ("magnitude", "random")),
        ):
            if getattr(self, name) not in known:
                raise ValueError(f"{name}={getattr(self, name)!r}: expected one of {known}.")

    def refusal(self, structure):
        if (
            structure.fixed is None
            and structure.within is None
            and not (structure.coupled or structure.balanced)
        ):
            return super().refusal(structure)
        return (
            f"Groups are exchanged one by one within a layer, so {structure} does not fit: "
            "take Element(), Block(rows, columns), Column(), Channel(), Filter() or Kernel()."
        )

    def exchanged(self, count: Any, progress: Any) -> Any:
        """How many of `count` groups an update exchanges, an integer as float64.

        Args:
            count: int64 or Python integer.
            progress: t, in [0, 1].
        """
        xp = namespace(count, progress)
        progress = xp.asarray(progress, "float64")
        share = (1 + xp.cos(math.pi * progress)) / 2
        if self.anneal == "constant":
            share = xp.astype(progress < 1, "float64")
        return xp.floor(self.fraction * share * xp.astype(xp.asarray(count), "float64") + _ROUNDING)

    def masks(self, weights, sites, sparsity, *, final, states=None):
        if self.grow == "gradient" and not all("dense_gradient" in one for one in states or [{}]):
            raise ValueError(
                "Growing by gradient needs the gate RegrowthGate(), which keeps the "
                "gradient: leave `gate` out, or take grow='random'."
            )
        scores = self.ranked(weights, sites, states)
        counts = self.allocation(scores, sites, sparsity, final)
        masks = []
        for index, (score, site, state) in enumerate(zip(scores, sites, states, strict=True)):
            kept = self._mask(index, score, counts[index], site, state)
            masks.append(self.structure.expand(kept, site.shape, site.layout))
        return masks

    def _mask(self, index: int, score: Any, count: Any, site: Any, state: dict[str, Any]) -> Any:
        """The groups that one site keeps, bool [groups]."""
        xp = namespace(score)
        held = xp.astype(state["mask"], "float32")
        active = self.structure.reduce(held, site.layout) > 0
        begins = xp.logical_and(xp.all(active), xp.equal(state["progress"], 0))
        first = score if self.start == "magnitude" else self._drawn(index, score, state, 0)
        stay = count - xp.astype(self.exchanged(count, state["progress"]), "int64")
        kept = xp.logical_and(select(xp.where(active, score, -math.inf), stay), active)
        if self.grow == "random":
            wanted = self._drawn(index, score, state, 1)
        else:
            wanted = self.structure.reduce(xp.abs(state["dense_gradient"]), site.layout)
        wanted = xp.where(xp.isnan(wanted), 0.0, wanted)
        missing = count - xp.astype(xp.sum(xp.astype(kept, "int32")), "int64")
        grown = select(xp.where(kept, -math.inf, wanted), missing)
        return xp.where(begins, select(first, count), xp.logical_or(kept, grown))

    def _drawn(self, index: int, score: Any, state: dict[str, Any], purpose: int) -> Any:
        return drawn(score, (self.seed, index, purpose), state["step"])
