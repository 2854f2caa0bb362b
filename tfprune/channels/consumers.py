# SPDX-License-Identifier: Apache-2.0
"""Consumers of the filters of a kernel: the entries of other kernels that read what each makes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Sequence

import numpy as np

from tfprune.channels.groups import ChannelGroup, Member, grouped
from tfprune.channels.tracer import traced
from tfprune.layers.channel_graph import Role
from tfprune.masks.sites import Site


@dataclass(frozen=True, eq=False)
class Read:
    """A kernel that reads channels.

    Attributes:
        name: the name of its site.
        variable: the kernel.
        axis: its axis along which the channels lie.
        entries: int64 [channels, k], the entries along that axis that read each channel.
    """

    name: str
    variable: Any
    axis: int
    entries: np.ndarray

    def largest(self) -> np.ndarray:
        """max |V| over what reads each channel [channels]; NaN if one of them is."""
        value = np.abs(np.asarray(self.variable.numpy(), np.float64))
        others = tuple(axis for axis in range(value.ndim) if axis != self.axis)
        return value.max(axis=others)[self.entries].max(axis=1)


@dataclass(frozen=True, eq=False)
class Outlet:
    """Channels of one channel group that a site makes.

    Attributes:
        group: the name of the channel group.
        filters: int64 [channels, k], the filters of the site that make each channel.
        makers: the names of all sites that make these channels together.
        reads: what reads them.
        reason: why they must stay; None if they may be removed.
    """

    group: str
    filters: np.ndarray
    makers: tuple[str, ...]
    reads: tuple[Read, ...]
    reason: str | None


def outlets(model: Any, sites: Sequence[Site]) -> dict[str, tuple[Outlet, ...]]:
    """The outlets of each site by its name; none for a site that the graph does not show.

    Args:
        model: a functional or Sequential model.
        sites: kernels in it. Of several output axes only the last is looked at.

    Raises:
        ValueError: the model has no graph, or is not built.

    Example:
        >>> import keras
        >>> from tfprune.masks.kernel_layout import DENSE
        >>> model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3, name="a"),
        ...                           keras.layers.Dense(2, name="b")])
        >>> one, = outlets(model, [Site("a/kernel", (4, 3), DENSE, "a")])["a/kernel"]
        >>> [read.name for read in one.reads], one.filters.tolist()
        (['b/kernel'], [[0], [1], [2]])
    """
    book = traced(model)
    held = {entry.site: entry.variable for entry in book.entries.values()}
    wanted = {site.name: site.layout.outputs[-1] for site in sites if site.layout.outputs}
    found: dict[str, list[Outlet]] = {site.name: [] for site in sites}
    for group in grouped(book):
        reads = tuple(
            Read(one.site, held[one.site], one.axis, one.indices) for one in group.consumers
        )
        for member in group.members:
            if _makes(member) and wanted.get(member.site) == member.axis:
                found[member.site].append(_outlet(group, member, reads))
    return {name: tuple(each) for name, each in found.items()}


def _makes(member: Member) -> bool:
    return member.role in (Role.PRODUCER, Role.PASSING)


def _outlet(group: ChannelGroup, member: Member, reads: tuple[Read, ...]) -> Outlet:
    makers = dict.fromkeys(one.site for one in group.producers)
    return Outlet(group.name, member.indices, tuple(makers), reads, group.reason)
