# SPDX-License-Identifier: Apache-2.0
"""Which channels of a model can only be removed together."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from tfprune.layers.channel_graph import Role
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
