# SPDX-License-Identifier: Apache-2.0
"""Gates: one number per group that multiplies what removing the group takes away.

With a gate z = 1 on each group, dL/dz = sum of W dL/dW over the group. Where a site is chosen for
itself, the group is a part of its own kernel, which is what the mask removes. Where channels are
chosen across sites, it is the slices of all kernels that read the channel: to remove the channel
is to remove these, whatever normalization or activation lies between.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Sequence

import numpy as np
import tensorflow as tf

from tfprune.masks.coupled_channels import Coupled, is_coupled
from tfprune.masks.structures import Structure
from tfprune.statistics.measured_model import Subject, first_copy


def gates(subject: Subject, structure: Structure) -> "OwnGates | ChannelGates":
    """The gates of a model's sites, as its groups are chosen."""
    if is_coupled(subject.sites):
        return ChannelGates.of(subject, structure)
    return OwnGates(tuple(subject.kernels), tuple(subject.sites), structure)


@dataclass(frozen=True)
class OwnGates:
    """Gates on groups of each site's own kernel.

    Attributes:
        variables: the kernels that the gates multiply.
    """

    variables: tuple[Any, ...]
    sites: tuple[Any, ...]
    structure: Structure

    def fold(self, tensors: Sequence[Any]) -> list[Any]:
        """Sums of tensors, shaped as the variables, over what each gate multiplies."""
        if self.structure.pooling is None:  # every entry is a group
            return list(tensors)
        return [
            self.structure.total(tensor, site.layout) for tensor, site in zip(tensors, self.sites)
        ]

    def unfold(self, values: Sequence[Any]) -> list[Any]:
        """Each gate's value at all entries that it multiplies: the transpose of `fold`."""
        if self.structure.pooling is None:
            return list(values)
        return [
            self.structure.expand(value, site.shape, site.layout)
            for value, site in zip(values, self.sites)
        ]

    def per_site(self, values: Sequence[Any]) -> list[Any]:
        """The values of the gates as scores of each site's groups."""
        return list(values)


@dataclass(frozen=True)
class ChannelGates:
    """Gates on channels that are chosen across sites.

    Attributes:
        variables: the kernels that read the channels.
        reads: for each unit, (index of a variable, axis, int64 [channels, k] entries) of each
            kernel that reads it.
        coupled: the units of the sites.
    """

    variables: tuple[Any, ...]
    reads: tuple[tuple[tuple[int, int, np.ndarray], ...], ...]
    coupled: Coupled

    @classmethod
    def of(cls, subject: Subject, structure: Structure) -> "ChannelGates":
        from tfprune.channels.grouping import channel_groups
        from tfprune.channels.tracer import variables

        counts = [structure.groups(site.shape, site.layout) for site in subject.sites]
        coupled = Coupled.of(subject.sites, counts)
        by_name = {group.name: group for group in channel_groups(subject.model)}
        held = variables(subject.model)
        order: dict[str, int] = {}
        reads = []
        for unit in coupled.units:
            members = by_name[unit.site.name].consumers
            reads.append(
                tuple(
                    (order.setdefault(member.site, len(order)), member.axis, member.indices)
                    for member in members
                )
            )
        kernels = tuple(first_copy(subject.adapter.raw(held[name])) for name in order)
        return cls(kernels, tuple(reads), coupled)

    def fold(self, tensors: Sequence[Any]) -> list[Any]:
        """Sums of tensors, shaped as the variables, over what each gate multiplies."""
        along = {}
        values = []
        for unit, reads in zip(self.coupled.units, self.reads):
            value = tf.zeros([unit.size])
            for index, axis, entries in reads:
                if (index, axis) not in along:
                    others = [a for a in range(tensors[index].shape.rank) if a != axis]
                    along[index, axis] = tf.reduce_sum(tensors[index], others)
                value += tf.reduce_sum(tf.gather(along[index, axis], entries), 1)
            values.append(value)
        return values

    def unfold(self, values: Sequence[Any]) -> list[Any]:
        """Each gate's value at all entries that it multiplies: the transpose of `fold`."""
        spread = [tf.zeros(variable.shape) for variable in self.variables]
        for value, reads in zip(values, self.reads):
            for index, axis, entries in reads:
                shape = self.variables[index].shape
                line = tf.tensor_scatter_nd_add(
                    tf.zeros([shape[axis]]),
                    entries.reshape(-1, 1),
                    tf.repeat(value, entries.shape[1]),
                )
                wide = [1] * shape.rank
                wide[axis] = -1
                spread[index] += tf.reshape(line, wide)
        return spread

    def per_site(self, values: Sequence[Any]) -> list[Any]:
        """The values of the gates as scores of each site's filters."""
        return self.coupled.spread(values, 0.0)
