# SPDX-License-Identifier: Apache-2.0
"""The graph of channels: every channel is a number, numbers can be one, variables carry them."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from typing import Any, Iterable

import numpy as np

Ids = np.ndarray


class Role(Enum):
    """What a variable does with the channels along one of its axes."""

    PRODUCER = "makes the channels"
    PASSING = "passes each channel on, as a depthwise kernel does"
    CONSUMER = "reads the channels"
    FOLLOWER = "one value for each channel: bias, gamma, moving statistics, alpha"


@dataclass(frozen=True)
class Entry:
    """One axis of a variable, with the channel of each entry along it."""

    site: str
    axis: int
    role: Role
    ids: Ids
    order: int
    variable: Any


@dataclass
class ChannelGraph:
    """What a walk through a model finds out about its channels; nothing is resolved before
    the end, so that each step costs no more than its own channels.

    Attributes:
        loose: ids of variables whose axes carry channels only where they meet those of others.
        counted: the channels along axes whose sizes are read as numbers, by what stands for the
            number.
    """

    count: int = 0
    entries: dict[tuple[int, int], Entry] = field(default_factory=dict)
    known: set[int] = field(default_factory=set)
    loose: set[int] = field(default_factory=set)
    joined: list[tuple[Ids, Ids]] = field(default_factory=list)
    pinned: list[tuple[Ids, str]] = field(default_factory=list)
    passed: list[tuple[str, Ids, int]] = field(default_factory=list)
    held: dict[int, list[str]] = field(default_factory=dict)
    counted: dict[int, Ids | None] = field(default_factory=dict)
    uses: dict[int, dict[Any, set[int]]] = field(default_factory=dict)
    _order: int = 0

    def fresh(self, size: int) -> Ids:
        """New channels."""
        self.count += size
        return np.arange(self.count - size, self.count, dtype=np.int64)

    def join(self, first: Ids, second: Ids) -> None:
        """Entries at the same place are the same channel from now on."""
        first, second = np.broadcast_arrays(first, second)
        self.joined.append((first.ravel(), second.ravel()))

    def pin(self, ids: Ids | None, reason: str) -> None:
        """These channels must stay."""
        if ids is not None and ids.size:
            self.pinned.append((np.unique(ids), reason))

    def enter(self, variable: Any, entry: tuple[str, int, Role, Ids]) -> None:
        """An axis of a variable carries these channels; a variable used twice joins both uses."""
        site, axis, role, ids = entry
        key = (id(variable), axis)
        if key in self.entries:
            self.join(self.entries[key].ids, ids)
            return
        self._order += 1
        self.entries[key] = Entry(site, axis, role, ids, self._order, variable)

    def use(self, variable: Any, user: tuple[int, int, str], axis: int | None) -> None:
        """A call (its number, its layer's and a name) reads a variable, and this axis carries
        channels in it."""
        axes = self.uses.setdefault(id(variable), {}).setdefault(user, set())
        axes.update(() if axis is None else (axis,))

    def hold(self, variables: Iterable[int], reason: str) -> None:
        """Somebody reads these variables, by their ids, as they are."""
        for key in variables:
            self.held.setdefault(key, []).append(reason)

    def pin_held(self) -> None:
        """At the end of the walk: a variable loses nothing that somebody else reads whole."""
        for (key, axis), entry in self.entries.items():
            for reason in self.held.get(key, ()):
                self.pin(entry.ids, reason)
            for (*_, name), axes in self.uses.get(key, {}).items():
                if axis not in axes:
                    self.pin(entry.ids, f"{name} reads {entry.site}, too")
        if self.counted and self.pinned:
            labels = self.labels()
            used = np.isin(labels, labels[np.concatenate([ids for ids, _ in self.pinned])])
            for size, ids in self.counted.items():
                if used[size]:
                    self.pin(ids, "something is computed with their number")

    def passes(self, name: str, ids: Ids) -> None:
        """Channels run through an operation that has no variables."""
        self._order += 1
        self.passed.append((name, np.unique(ids), self._order))

    def labels(self) -> Ids:
        """For every channel the smallest number among those that are one with it."""
        if not self.joined:
            return np.arange(self.count, dtype=np.int64)
        left, right = (np.concatenate(side) for side in zip(*self.joined, strict=True))
        return components(self.count, left, right)


def components(count: int, left: Ids, right: Ids) -> Ids:
    """Connected components of the graph with edges left[i] - right[i]: the smallest number of
    each node's component.

    >>> components(5, np.array([0, 3]), np.array([2, 2])).tolist()
    [0, 1, 0, 0, 4]
    """
    parent = np.arange(count, dtype=np.int64)
    while True:
        one, other = parent[left], parent[right]
        apart = one != other
        if not apart.any():
            return parent
        left, right = left[apart], right[apart]
        one, other = one[apart], other[apart]
        np.minimum.at(parent, np.maximum(one, other), np.minimum(one, other))
        while True:
            above = parent[parent]
            if np.array_equal(above, parent):
                break
            parent = above
