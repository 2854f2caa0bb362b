# SPDX-License-Identifier: Apache-2.0
"""Groups of channels of a model that can only be removed together."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from tfprune.channels.tracer import traced
from tfprune.layers.channel_graph import ChannelGraph, Entry, Ids, Role
from tfprune.output.report_forms import as_dict, markdown, plain_text, rich_parts


@dataclass(frozen=True, eq=False)
class Member:
    """The axis of a variable that belongs to a channel group.

    Attributes:
        site: name of the variable, `layer path/attribute`, for example `"encoder/conv/kernel"`.
        axis: the axis of that variable that carries the channels.
        role: what the variable does with the channels.
        indices: int64 [channels, k], the entries along the axis that belong to each channel.
            k is 1 as a rule; a Dense layer after Flatten has k = height * width, the kernel of
            an LSTM k = 4.
    """

    site: str
    axis: int
    role: Role
    indices: np.ndarray

    @property
    def layer(self) -> str:
        """The path of the layer that holds the variable."""
        return self.site.rpartition("/")[0]


@dataclass(frozen=True, eq=False)
class ChannelGroup:
    """Channels that are alike: to remove channel i is to remove entry i of every member.

    Attributes:
        name: unique in the model: the layer that makes the channels.
        size: number of channels.
        members: every axis of every variable that carries these channels.
        reason: why the channels must stay; None if they may be removed.
        path: the layers and operations that the channels run through, in order.

    Example:
        >>> kernel = Member("conv1/kernel", 3, Role.PRODUCER, np.arange(16)[:, None])
        >>> reads = Member("conv2/kernel", 2, Role.CONSUMER, np.arange(16)[:, None])
        >>> print(ChannelGroup("conv1", 16, (kernel, reads), None, ("conv1 out", "conv2 in")))
        conv1: 16 channels, conv1 out -> conv2 in
    """

    name: str
    size: int
    members: tuple[Member, ...]
    reason: str | None = None
    path: tuple[str, ...] = ()

    @property
    def prunable(self) -> bool:
        """Whether channels of this group may be removed."""
        return self.reason is None

    @property
    def producers(self) -> tuple[Member, ...]:
        """The members that make the channels."""
        return tuple(one for one in self.members if one.role is Role.PRODUCER)

    @property
    def consumers(self) -> tuple[Member, ...]:
        """The members that read the channels."""
        return tuple(one for one in self.members if one.role is Role.CONSUMER)

    def parts(self) -> Iterable[str]:
        """What is printed: one line."""
        channels = "1 channel" if self.size == 1 else f"{self.size} channels"
        stays = "" if self.prunable else f"; stays whole: {self.reason}"
        yield f"{self.name}: {channels}, {' -> '.join(self.path)}{stays}"

    __str__, __rich_console__ = plain_text, rich_parts
    to_dict, to_markdown = as_dict, markdown


def channel_groups(model: Any) -> tuple[ChannelGroup, ...]:
    """Find the channels of a model that can only be removed together, from its graph.

    Channel i of a group is entry i along an axis of many variables: the kernel that makes it,
    normalizations that scale it, kernels that read it. Where tensors are added, their channels
    become one group; where they are concatenated, each part keeps its own. To remove a channel
    from a plain model, remove these entries everywhere.

    Args:
        model: a functional or Sequential model of Keras 3 or tf_keras, built; nested models,
            shared layers and layers wrapped for pruning are looked through.

    Returns:
        The groups in the order of the graph. Channels that must stay, because they are the
        model's inputs or outputs or because an unknown operation reads them, are in groups with
        a `reason`.

    Raises:
        TypeError: not a Keras model.
        ValueError: a subclassed model, which has no graph, or a model that is not built.

    Example:
        >>> import keras
        >>> inputs = keras.Input((8, 8, 3), name="image")
        >>> x = keras.layers.Conv2D(16, 3, name="conv1")(inputs)
        >>> x = keras.layers.BatchNormalization(name="bn1")(x)
        >>> outputs = keras.layers.Conv2D(4, 3, name="conv2")(x)
        >>> for group in channel_groups(keras.Model(inputs, outputs)):
        ...     print(group)
        conv1 in: 3 channels, conv1 in; stays whole: model input image
        conv1: 16 channels, conv1 out -> bn1 -> conv2 in
        conv2: 4 channels, conv2 out; stays whole: model output
    """
    return grouped(traced(model))


def grouped(book: ChannelGraph) -> tuple[ChannelGroup, ...]:
    """Channels with the same members, equally often, form one group."""
    labels = book.labels()
    entries = list(book.entries.values())
    pinned = np.zeros(book.count, bool)
    for ids, _ in book.pinned:
        pinned[labels[ids]] = True
    firm = np.zeros(book.count, bool)
    for entry in entries:
        firm[labels[entry.ids]] |= id(entry.variable) not in book.loose
    sets = [one for one in _sets(entries, labels, pinned) if firm[one[0]]]
    home = np.full(book.count, -1, np.int64)
    for number, channels in enumerate(sets):
        home[channels] = number
    reasons = _of_sets(((reason, ids) for ids, reason in book.pinned), home[labels], len(sets))
    members = _members(entries, labels, sets, home)
    paths = _paths(book, home[labels], members)
    names = _names(members)
    return tuple(
        ChannelGroup(
            names[number],
            len(channels),
            tuple(
                Member(entry.site, entry.axis, entry.role, indices)
                for entry, indices in members[number]
            ),
            _reason(reasons[number]) if pinned[channels[0]] else None,
            paths[number],
        )
        for number, channels in enumerate(sets)
    )


def _sets(entries: list[Entry], labels: Ids, pinned: np.ndarray) -> list[Ids]:
    """Channels (by label, ascending) that have the same entries, in order of their first."""
    channels, codes = [], []
    for number, entry in enumerate(entries):
        each, counts = np.unique(labels[entry.ids], return_counts=True)
        channels.append(each)
        codes.append((number << 32) + (counts << 1) + pinned[each])
    if not channels:
        return []
    channel, code = np.concatenate(channels), np.concatenate(codes)
    order = np.lexsort((code, channel))
    channel, code = channel[order], code[order]
    starts = np.flatnonzero(np.r_[True, channel[1:] != channel[:-1]])
    alike: dict[bytes, list[int]] = {}
    for start, stop in zip(starts, [*starts[1:], len(channel)], strict=True):
        alike.setdefault(code[start:stop].tobytes(), []).append(channel[start])
    return [np.array(each) for each in alike.values()]


def _members(
    entries: list[Entry], labels: Ids, sets: list[Ids], home: Ids
) -> list[list[tuple[Entry, np.ndarray]]]:
    """For every set its entries, with the indices of every channel: [channels, k]."""
    members: list[list[tuple[Entry, np.ndarray]]] = [[] for _ in sets]
    orders = list(sets)  # channels in the order in which the first entry holds them
    for entry in entries:
        along = labels[entry.ids]
        order = np.argsort(along, kind="stable")
        ordered = along[order]
        for number in np.unique(home[along][home[along] >= 0]):
            if not members[number]:
                mine = along[home[along] == number]
                orders[number] = mine[np.sort(np.unique(mine, return_index=True)[1])]
            channels = orders[number]
            first = np.searchsorted(ordered, channels)
            count = np.searchsorted(ordered, channels[0], side="right") - first[0]
            members[number].append((entry, order[first[:, None] + np.arange(count)]))
    return members


def _of_sets(named, home: Ids, count: int) -> list[list]:
    """For every set, in order, the names whose channels are in it."""
    found: list[list] = [[] for _ in range(count)]
    for name, ids in named:
        for number in np.unique(home[ids]):
            if number >= 0 and name not in found[number]:
                found[number].append(name)
    return found


def _reason(reasons: list[str]) -> str:
    reasons = sorted(reasons, key=lambda one: not one.startswith("model "))
    shown = reasons[:3]
    return "; ".join(shown) + (f"; {len(reasons) - 3} more" if len(reasons) > 3 else "")


def _paths(book: ChannelGraph, home: Ids, members) -> list[tuple[str, ...]]:
    """The layers and operations that each set runs through."""
    ends = {Role.PRODUCER: " out", Role.CONSUMER: " in"}
    steps: list[list[tuple[int, str]]] = [
        [
            (entry.order, entry.site.rpartition("/")[0] + ends.get(entry.role, ""))
            for entry, _ in mine
            if entry.role is not Role.FOLLOWER or _stands_alone(entry, mine)
        ]
        for mine in members
    ]
    passed = (((order, name), ids) for name, ids, order in book.passed)
    for number, extra in enumerate(_of_sets(passed, home, len(members))):
        steps[number].extend(extra)
    return [tuple(dict.fromkeys(name for _, name in sorted(each))) for each in steps]


def _stands_alone(follower: Entry, mine) -> bool:
    """Whether no other kind of entry of the follower's own layer is in the set."""
    layer = follower.site.rpartition("/")[0]
    return not any(
        entry.role is not Role.FOLLOWER and entry.site.rpartition("/")[0] == layer
        for entry, _ in mine
    )


def _names(members) -> list[str]:
    """The layer that makes the channels, else the first that carries them; numbered if taken."""
    taken: dict[str, int] = {}
    names = []
    for mine in members:
        entry = min(
            (entry for entry, _ in mine), key=lambda one: (one.role is not Role.PRODUCER, one.order)
        )
        name = entry.site.rpartition("/")[0] + (" in" if entry.role is Role.CONSUMER else "")
        taken[name] = taken.get(name, 0) + 1
        names.append(name if taken[name] == 1 else f"{name}:{taken[name]}")
    return names
