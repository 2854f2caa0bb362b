# SPDX-License-Identifier: Apache-2.0
"""An allocation in which chosen sites have sparsities of their own."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

from tfprune.masks.allocations.base import (
    Allocation,
    Uniform,
    check_min_keep,
    groups_of,
    keep_count,
    level_of,
)
from tfprune.masks.array_namespace import namespace
from tfprune.masks.schedules import check_sparsity
from tfprune.masks.serialization import register
from tfprune.output.argument_checks import check_kind


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
                for count, target in zip(groups, targets)
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
