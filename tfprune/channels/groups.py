# SPDX-License-Identifier: Apache-2.0
"""Which channels of a model can only be removed together."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum
from typing import Any

import numpy as np

from tfprune.output.report_forms import as_dict, markdown, plain_text, rich_parts


class Role(Enum):
    """What a variable does with the channels along one of its axes."""

    PRODUCER = "makes the channels"
    PASSING = "passes each channel on, as a depthwise kernel does"
    CONSUMER = "reads the channels"
    FOLLOWER = "one value for each channel: bias, gamma, moving statistics, alpha"


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
    from tfprune.channels.grouping import grouped
    from tfprune.channels.tracer import traced

    return grouped(traced(model))
