# SPDX-License-Identifier: Apache-2.0
"""The contract of an allocation, its arithmetic, and the two that decide site by site."""

import abc
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from numbers import Integral
from typing import Any, ClassVar

import numpy as np

from tfprune.masks.array_namespace import namespace
from tfprune.masks.schedules import check_sparsity
from tfprune.masks.serialization import register
from tfprune.output.argument_checks import check_kind


def keep_count(groups: Any, sparsity: Any, min_keep: int = 0) -> Any:
    """How many of `groups` stay: round(groups (1 - sparsity)), halves to the even neighbour.

    Computed in the dtype of `sparsity`: float64 for Python numbers; with the float32 tensors of
    TF-MOT's schedules the count is TF-MOT's.

    Args:
        groups: int or int64 array of any shape.
        sparsity: Fraction to remove; Python number, NumPy or TensorFlow scalar.
        min_keep: The smallest count, as far as there are as many groups.

    Returns:
        int64, of the shape of `groups`.

    >>> keep_count(np.array([5, 1000]), 0.9, min_keep=1).tolist()  # 0.5 rounds to 0
    [1, 100]
    """
    xp, sparsity = level_of(sparsity)
    groups = np.asarray(groups, np.int64)
    keep = xp.round(xp.astype(groups, sparsity.dtype) * (1 - sparsity))
    keep = xp.where(xp.equal(sparsity, 0), groups, xp.astype(keep, "int64"))
    return xp.clip(keep, np.minimum(min_keep, groups), groups)


def level_of(sparsity, *others):
    """(namespace, sparsity as a scalar of its own floating dtype, float32 at least)."""
    xp = namespace(sparsity, *others)
    dtype = getattr(getattr(sparsity, "dtype", None), "name", "")
    single = dtype in ("float16", "bfloat16", "float32")
    sparsity = xp.asarray(sparsity) if single else xp.asarray(sparsity, "float64")
    return xp, xp.astype(sparsity, "float32") if single else sparsity


def groups_of(scores):
    return np.array([score.shape[0] for score in scores], np.int64)


class Allocation(abc.ABC):
    """Group scores and a sparsity -> how many groups each site keeps."""

    accepts_fixed: ClassVar[bool] = False
    """Whether structures that fix their own counts (`NofM`) go with it."""

    @property
    def compares_sites(self) -> bool:
        """Whether a site's count depends on the other sites."""
        return True

    compares_scores: ClassVar[bool] = False
    """Whether it compares the scores of different sites as they are."""

    @property
    def reads_scores(self) -> bool:
        """Whether it needs the scores themselves; else their numbers do, and a `ranking`."""
        return True

    needs_prices: ClassVar[bool] = False
    """Whether it asks what channels cost: then a run takes `at(prices)` of it in its place."""

    @abc.abstractmethod
    def __call__(
        self, scores: Sequence[Any], sites: Sequence[Any], sparsity: Any, final: float
    ) -> Any:
        """Counts, int64 [sites]."""

    def at(self, prices: Any) -> "Allocation":
        """The allocation that knows what channels cost."""
        return self

    def ranking(
        self, scores: Sequence[Any], sites: Sequence[Any], sparsity: Any, final: float
    ) -> tuple[Sequence[Any], np.ndarray, Any] | None:
        """Where the counts come from one ranking over the groups of all sites: its scores, the
        smallest counts of the sites and the number that is kept in all; None where they do not.

        So a rule has the masks at once (`rankings.ranked_masks`), without a second ranking.
        """
        return None

    def among(self, sites: Sequence[Any], left: Sequence[Any]) -> "Allocation":
        """The allocation for these sites, where others have been left dense."""
        return self

    def leaves_dense(self, site: Any) -> bool:
        """Whether it keeps the whole site, whatever the sparsity is."""
        return False

    def total(self, groups: Any, sites: Sequence[Any], sparsity: float, final: float) -> int:
        """How many groups stay in all sites together; that depends on no score.

        Args:
            groups: number of groups of each site.
            sites, sparsity, final: as for the counts.
        """
        scores = [np.ones(count, np.float32) for count in groups]
        return int(np.sum(self(scores, sites, sparsity, final)))

    def check(self, sites: Sequence[Any]) -> None:
        """Raises ValueError if this allocation cannot serve these sites."""
        return None


@dataclass(frozen=True)
class Floored(Allocation):
    renamed: ClassVar[dict[str, str]] = {"min_keep": "floor"}
    min_keep: int = 1

    def __post_init__(self):
        check_min_keep(self.min_keep)

    def _total(self, groups, sparsity):
        """(floors of the sites, int64 number to keep in all: exact, or the floors if more)."""
        floors = np.minimum(self.min_keep, groups)
        return floors, keep_count(groups.sum(), sparsity, min_keep=int(floors.sum()))


def check_min_keep(min_keep):
    if not isinstance(min_keep, Integral) or isinstance(min_keep, bool) or min_keep < 0:
        raise ValueError(
            f"min_keep={min_keep!r}: expected the smallest number of groups that a site "
            "keeps, an integer of at least 0."
        )


@register
@dataclass(frozen=True)
class Uniform(Floored):
    """The same sparsity at every site.

    Args:
        min_keep: Smallest count per site.

    Raises:
        ValueError: If `min_keep` is negative.

    >>> Uniform()([np.ones(10), np.ones(4)], [], 0.75, 0.75)
    array([2, 1])
    """

    accepts_fixed: ClassVar[bool] = True
    compares_sites: ClassVar[bool] = False
    reads_scores: ClassVar[bool] = False

    def __call__(self, scores, sites, sparsity, final):
        xp, sparsity = level_of(sparsity, *scores)
        return keep_count(groups_of(scores), sparsity, self.min_keep)


@register
@dataclass(frozen=True)
class PerSite(Allocation):
    """Chosen sites have sparsities of their own, the others share one allocation.

    A listed site follows the schedule's course to its own target: it is pruned to
    target * sparsity / final. 0 leaves it dense. When two keys match a site, its own name counts
    most, then the innermost layer.

    Args:
        sparsities: {layer object, layer name or site name: fraction to remove at the end}. Kept
            as (name, fraction) pairs.
        others: Allocation of the sites that are not listed.
        min_keep: Smallest count of a listed site.

    Raises:
        ValueError: If a fraction is no sparsity, and when used, if a key matches no site.

    >>> import numpy as np
    >>> from tfprune.masks.kernel_layout import DENSE
    >>> from tfprune.masks.sites import Site
    >>> sites = [Site(f"{name}/kernel", (10, 10), DENSE, name) for name in ("first", "last")]
    >>> PerSite({"last": 0.5})([np.ones(100), np.ones(100)], sites, 0.4, final=0.8)
    array([60, 75])
    """

    sparsities: Mapping[Any, float] | Sequence[tuple[Any, float]]
    others: Allocation = field(default_factory=Uniform)

    min_keep: int = 1
    renamed: ClassVar[dict[str, str]] = {"min_keep": "floor"}

    @property
    def compares_sites(self) -> bool:
        return self.others.compares_sites

    @property
    def reads_scores(self) -> bool:
        return self.others.reads_scores or self.others.compares_scores

    def __post_init__(self):
        check_min_keep(self.min_keep)
        try:
            check_kind("sparsities", self.sparsities, (Mapping, tuple, list), "a dictionary")
            given = dict(self.sparsities)
        except (TypeError, ValueError):
            raise TypeError(
                f"PerSite({self.sparsities!r}): expected a dictionary from layers, or "
                "their names, to sparsities: {'conv1': 0.5}."
            ) from None
        pairs = tuple((getattr(key, "name", key), value) for key, value in given.items())
        for key, value in pairs:
            if not isinstance(key, str):
                raise ValueError(
                    f"{key!r} is no key of PerSite: expected a layer, the name of a "
                    "layer or the name of a site."
                )
            check_sparsity(f"PerSite({{{key!r}: ...}})", value)
        pairs = tuple((key, float(value)) for key, value in pairs)
        object.__setattr__(self, "sparsities", pairs)

    def among(self, sites, left):
        """Without the keys that match sites left dense only."""
        pairs = {
            key: value
            for key, value in self.sparsities
            if any(site.matches(key) for site in sites)
            or not any(site.matches(key) for site in left)
        }
        others = self.others.among(sites, left)
        if len(pairs) == len(self.sparsities) and others is self.others:
            return self
        return PerSite(pairs, others, self.min_keep) if pairs else others

    def leaves_dense(self, site):
        target = self._target(site)
        return self.others.leaves_dense(site) if target is None else target == 0

    def check(self, sites):
        for key, _ in self.sparsities:
            if not any(site.matches(key) for site in sites):
                for site in sites:
                    if any(key in (name, *name.split("/")) for name in site.makers):
                        raise ValueError(
                            f"PerSite: the filters of {key!r} are chosen with those of "
                            f"{', '.join(site.makers)}, as one channel group: name the group, "
                            f"{site.name!r}."
                        )
                raise ValueError(
                    f"PerSite: {key!r} matches no layer and no weight. The weights "
                    f"are {', '.join(site.name for site in sites)}."
                )
        self.others.check(sites)

    def __call__(self, scores, sites, sparsity, final):
        self.check(sites)
        xp, sparsity = level_of(sparsity, *scores)
        if not final > 0 and self.sparsities:
            raise ValueError(
                "PerSite follows the course of the schedule, but this one ends at a "
                f"sparsity of {final:g}: give it a known one above 0."
            )
        targets = [self._target(site) for site in sites]
        rest = [index for index, target in enumerate(targets) if target is None]
        shared = iter(())
        if rest:
            unlisted = [scores[index] for index in rest], [sites[index] for index in rest]
            counts = self.others(*unlisted, sparsity, final)
            shared = iter([counts[index] for index in range(len(rest))])
        groups = groups_of(scores)
        return xp.stack(
            [
                next(shared)
                if target is None
                else keep_count(count, self._scaled(target, sparsity, final), self.min_keep)
                for count, target in zip(groups, targets, strict=True)
            ]
        )

    @staticmethod
    def _scaled(target, sparsity, final):
        # In the dtype of the sparsity, so that the quotient is exactly 1 at the end.
        xp = namespace(sparsity)
        return xp.asarray(target, sparsity.dtype) * (sparsity / xp.asarray(final, sparsity.dtype))

    def _target(self, site):
        path = site.name.split("/")

        def closeness(pair):
            key = pair[0]
            return len(path) if key == site.name else path.index(key) if key in path else -1

        pairs = [pair for pair in self.sparsities if site.matches(pair[0])]
        return max(pairs, key=closeness)[1] if pairs else None
