# SPDX-License-Identifier: Apache-2.0
"""Derivatives of the loss by gates: one number per group that multiplies what removing it takes.

With a gate z = 1 on each group, dL/dz = sum of W dL/dW over the group. Where a site is chosen for
itself, the group is a part of its own kernel, which is what the mask removes. Where channels are
chosen across sites, it is the slices of all kernels that read the channel: to remove the channel
is to remove these, whatever normalization or activation lies between.
"""

from __future__ import annotations

import contextlib
import functools
from dataclasses import dataclass
from typing import Any, Iterator, Sequence

import numpy as np
import tensorflow as tf

from tfprune.channels.groups import channel_groups
from tfprune.channels.tracer import variables
from tfprune.masks.sites import Coupled, is_coupled
from tfprune.masks.structures import Structure
from tfprune.methods.statistics_table import measures
from tfprune.statistics.gradients import compiled, count, gradients, mean_over, prepared
from tfprune.statistics.loss import Objective
from tfprune.statistics.measured_model import Subject, first_copy

DIRECTIONS = 16
"""How many products with the Hessian estimate its diagonal; for fewer gates it is exact."""


@measures("gate_batch_square", per_group=True)
@contextlib.contextmanager
def batch_square(subject: Subject, feed: Any = None, structure: Any = None) -> Iterator[Any]:
    """Measure `gate_batch_square`: mean over the batches of (dL_b/dz)^2, with training=False.

    L_b is the mean loss of one batch, z a gate; batches count by their examples. The square of the
    mean over all data would vanish at a minimum.

    Args:
        subject: the model.
        feed: the data.
        structure: whose groups have gates.

    Yields:
        A function without arguments: for each site `{"gate_batch_square": [groups]}`, float32 (in
        the weight's shape where every weight is a group).

    Raises:
        ValueError: no data, no loss, or data that does not fit the model.
    """
    with prepared(subject, feed) as goal:
        held = gates(subject, structure)

        @compiled
        def squares(*batch):
            slopes, examples = _slopes(subject, goal, held, batch)
            return [tf.square(value) / examples for value in slopes], examples

        def measure() -> list[dict[str, Any]]:
            values = held.per_site(mean_over(squares, feed.take()))
            return [{"gate_batch_square": value} for value in values]

        yield measure


@measures("gate_square", per_group=True)
@contextlib.contextmanager
def square(subject: Subject, feed: Any = None, structure: Any = None) -> Iterator[Any]:
    """Measure `gate_square`: mean over the examples of (dL_n/dz)^2, with training=False.

    L_n is the loss of one example, z a gate. Examples are differentiated one at a time: a batch's
    gradient would mix them, and its square would vanish at a minimum.

    Args:
        subject: the model.
        feed: the data.
        structure: whose groups have gates.

    Yields:
        A function without arguments: for each site `{"gate_square": [groups]}`, float32 (in the
        weight's shape where every weight is a group).

    Raises:
        ValueError: no data, no loss, or data that does not fit the model.
    """
    with prepared(subject, feed) as goal:
        held = gates(subject, structure)

        def of_example(*parts):
            one = tf.nest.map_structure(lambda part: part[tf.newaxis], parts)
            batch = (*one, None)[:3]
            return [tf.square(value) for value in _slopes(subject, goal, held, batch)[0]]

        @compiled
        def squares(*batch):
            given = tuple(part for part in batch if part is not None)
            size = tf.shape(tf.nest.flatten(given)[0])[0]

            def add(index, totals):
                parts = tf.nest.map_structure(lambda part: part[index], given)
                return index + 1, [
                    total + one for total, one in zip(totals, of_example(*parts), strict=True)
                ]

            first = of_example(*tf.nest.map_structure(lambda part: part[0], given))
            # One after the other: TensorFlow 2.21's convolutions are not safe to run as several
            # iterations at once, and end the process now and then.
            _, totals = tf.while_loop(
                lambda index, _: index < size, add, (1, first), parallel_iterations=1
            )
            return totals, count(batch)

        def measure() -> list[dict[str, Any]]:
            values = held.per_site(mean_over(squares, feed.take()))
            return [{"gate_square": value} for value in values]

        yield measure


@measures("gate_change", per_group=True)
@contextlib.contextmanager
def change(subject: Subject, feed: Any = None, structure: Any = None) -> Iterator[Any]:
    """Measure `gate_change`: -dL/dz + d2L/dz2 / 2 of each gate, with training=False.

    The diagonal of the Hessian is the mean of v * (H v) over random signs v (Hutchinson), drawn
    from a fixed seed; with at most 16 gates in all it is computed gate by gate, exactly.

    Args:
        subject: the model.
        feed: the data.
        structure: whose groups have gates.

    Yields:
        A function without arguments: for each site `{"gate_change": [groups]}`, float32 (in the
        weight's shape where every weight is a group).

    Raises:
        ValueError: no data, no loss, or data that does not fit the model.
    """
    with prepared(subject, feed) as goal:
        held = gates(subject, structure)

        @compiled
        def slopes(*batch):
            return _slopes(subject, goal, held, batch)

        @compiled
        def bends(direction, *batch):
            along = _times(held.variables, held.unfold(direction))
            with tf.GradientTape(watch_accessed_variables=False) as outer:
                outer.watch(held.variables)
                found, examples = gradients(subject, goal, held.variables, batch)
                slope = tf.add_n(
                    [tf.reduce_sum(one * way) for one, way in zip(found, along, strict=True)]
                )
            products = outer.gradient(slope, held.variables, unconnected_gradients="zero")
            folded = held.fold(_times(held.variables, map(tf.convert_to_tensor, products)))
            return [value * sign for value, sign in zip(folded, direction, strict=True)], examples

        def measure() -> list[dict[str, Any]]:
            batches = list(feed.take())
            slope = mean_over(slopes, batches)
            directions, share = _directions([tuple(value.shape) for value in slope])
            curvature = [tf.zeros_like(value) for value in slope]
            for direction in directions:
                found = mean_over(functools.partial(bends, direction), batches)
                curvature = [
                    total + share * one for total, one in zip(curvature, found, strict=True)
                ]
            changes = [0.5 * bend - one for bend, one in zip(curvature, slope, strict=True)]
            return [{"gate_change": value} for value in held.per_site(changes)]

        yield measure


def _slopes(subject: Subject, goal: Objective, held: Gates, batch: tuple) -> tuple[list[Any], Any]:
    """dL/dz of each gate, summed over a batch, and the number of its examples."""
    found, examples = gradients(subject, goal, held.variables, batch)
    return held.fold(_times(held.variables, found)), examples


def _times(variables: Any, tensors: Any) -> list[Any]:
    return [
        tf.cast(variable, tf.float32) * one
        for variable, one in zip(variables, tensors, strict=True)
    ]


def _directions(shapes: list[tuple[int, ...]]) -> tuple[list[list[Any]], float]:
    """Directions in the space of all gates, and the share of each in the sum over them."""
    total = sum(int(np.prod(shape)) for shape in shapes)
    if total <= DIRECTIONS:
        rows, share = np.eye(total, dtype=np.float32), 1.0
    else:
        signs = np.random.default_rng(0).integers(0, 2, (DIRECTIONS, total))
        rows, share = (2 * signs - 1).astype(np.float32), 1 / DIRECTIONS
    ends = np.cumsum([int(np.prod(shape)) for shape in shapes])
    return [
        [
            tf.constant(part.reshape(shape))
            for part, shape in zip(np.split(row, ends[:-1]), shapes, strict=True)
        ]
        for row in rows
    ], share


def gates(subject: Subject, structure: Structure) -> Gates:
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
            self.structure.total(tensor, site.layout)
            for tensor, site in zip(tensors, self.sites, strict=True)
        ]

    def unfold(self, values: Sequence[Any]) -> list[Any]:
        """Each gate's value at all entries that it multiplies: the transpose of `fold`."""
        if self.structure.pooling is None:
            return list(values)
        return [
            self.structure.expand(value, site.shape, site.layout)
            for value, site in zip(values, self.sites, strict=True)
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
    def of(cls, subject: Subject, structure: Structure) -> ChannelGates:

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
        for unit, reads in zip(self.coupled.units, self.reads, strict=True):
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
        for value, reads in zip(values, self.reads, strict=True):
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


Gates = OwnGates | ChannelGates
