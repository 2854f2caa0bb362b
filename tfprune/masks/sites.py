# SPDX-License-Identifier: Apache-2.0
"""Places where a model can be pruned, and channels of several that are chosen as one.

A channel that several kernels make, as before an addition, can only be removed from all of them.
So their filters are scored, counted and chosen together: one logical channel, one decision.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from math import prod
from typing import Any, Sequence

import numpy as np

from tfprune.masks.array_namespace import namespace
from tfprune.masks.kernel_layout import Layout


@dataclass(frozen=True, eq=False)
class Coupling:
    """The filters of a site that make the channels of one channel group.

    Attributes:
        name: of the channel group.
        filters: int64 [channels, k]: the filters that make each channel.
    """

    name: str
    filters: np.ndarray


@dataclass(frozen=True)
class Site:
    """One prunable weight of a model.

    Attributes:
        name: unique in the model, `layer path/variable`, for example `"encoder/dense_1/kernel"`.
        shape: shape of the weight.
        layout: which axes are inputs, outputs and space.
        layer: name of the layer that a user added to the model (the first part of the path, or
            the innermost layer's name inside a nested model).
        positions: how often each weight is used for one example (1 for Dense on a vector, the
            number of output pixels for a convolution); None where it cannot be told.
        couplings: the channel groups that its filters belong to, where channels are chosen
            across sites; None where each site is chosen for itself.
        makers: names of the sites whose filters are chosen together, where it stands for a
            channel group.

    Example:
        >>> from tfprune.masks.kernel_layout import DENSE
        >>> Site("dense/kernel", (3, 4), DENSE, "dense").size
        12
    """

    name: str
    shape: tuple[int, ...]
    layout: Layout
    layer: str
    positions: int | None = None
    couplings: tuple[Coupling, ...] | None = field(default=None, compare=False, repr=False)
    makers: tuple[str, ...] = field(default=(), compare=False, repr=False)

    @property
    def size(self) -> int:
        """Number of entries of the weight."""
        return prod(self.shape)

    def matches(self, key: str) -> bool:
        """Whether a user's key names this site: its own name, its layer, or a part of its path."""
        return key == self.name or key == self.layer or key in self.name.split("/")


@dataclass(frozen=True)
class Skip:
    """A layer that stays dense, and why."""

    name: str
    reason: str


@dataclass(frozen=True)
class Unit:
    """The channels of one channel group.

    Attributes:
        site: stands for the group where sites are compared: the first that makes its channels,
            under the group's name.
        size: number of channels.
        parts: (index of a site, the coupling of its filters to these channels).
    """

    site: Site
    size: int
    parts: tuple[tuple[int, Coupling], ...]


@dataclass(frozen=True, eq=False)
class Follower:
    """An axis of a variable that is zero where channels are: of a bias, a gamma, a mean.

    Attributes:
        variable: its own, or the one behind a Keras variable.
        axis: the axis that carries the channels.
        parts: for each channel group the entries along that axis, as the filters of a coupling.
    """

    variable: Any
    axis: int
    parts: tuple[Coupling, ...]


@dataclass(frozen=True)
class Coupled:
    """The units of some sites.

    Args:
        units: one per channel group.
        starts: where the channels of each unit begin among those of all, by its name; under "" the
            place behind the last.
        places: for each site, int64 [filters]: where each filter's channel stands among the
            channels of all units; behind the last one for a filter that belongs to none.
    """

    units: tuple[Unit, ...]
    starts: dict[str, int]
    places: tuple[np.ndarray, ...]

    @classmethod
    def of(cls, sites: Sequence[Site], filters: Sequence[int]) -> "Coupled":
        """The units of sites that have so many filters each."""
        parts: dict[str, list[tuple[int, Coupling]]] = {}
        for index, site in enumerate(sites):
            for coupling in site.couplings or ():
                parts.setdefault(coupling.name, []).append((index, coupling))
        units = tuple(
            Unit(
                replace(
                    sites[held[0][0]],
                    name=name,
                    makers=tuple(sites[index].name for index, _ in held),
                ),
                len(held[0][1].filters),
                tuple(held),
            )
            for name, held in parts.items()
        )
        ends = np.cumsum([0, *(unit.size for unit in units)]).tolist()
        starts = dict(zip((*parts, ""), ends, strict=True))
        places = (
            _places(starts, site.couplings or (), count)
            for site, count in zip(sites, filters, strict=True)
        )
        return cls(units, starts, tuple(places))

    def places_of(self, follower: Follower) -> np.ndarray:
        """The same as `places` for the entries along the axis of a follower."""
        return _places(self.starts, follower.parts, int(follower.variable.shape[follower.axis]))

    def pool(self, scores: Sequence[Any]) -> list[Any]:
        """The scores of the channels of each unit: the mean over all filters that make one."""
        xp = namespace(*scores)
        pooled = []
        for unit in self.units:
            means = [
                xp.mean(xp.take(scores[index], coupling.filters), axis=1)
                for index, coupling in unit.parts
            ]
            pooled.append(xp.mean(xp.stack(means), axis=0))
        return pooled

    def spread(self, values: Sequence[Any], alone: Any) -> list[Any]:
        """From the channels of each unit to the filters of each site.

        Args:
            values: [channels] of each unit.
            alone: for filters that belong to no channel.
        """
        xp = namespace(*values)
        rest = xp.reshape(xp.asarray(alone, values[0].dtype), (1,))
        joined = xp.concatenate([*values, rest])
        return [xp.take(joined, places) for places in self.places]


def _places(starts: dict[str, int], parts: Sequence[Coupling], count: int) -> np.ndarray:
    """Where the channel of each of `count` entries stands among the channels of all units."""
    found = np.full(count, starts[""], np.int64)
    for coupling in parts:
        if coupling.name in starts:
            channels = starts[coupling.name] + np.arange(len(coupling.filters))
            found[coupling.filters] = channels[:, None]
    return found


def is_coupled(sites: Sequence[Site]) -> bool:
    """Whether channels are chosen across these sites."""
    return any(site.couplings is not None for site in sites)
