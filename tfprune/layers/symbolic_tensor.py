# SPDX-License-Identifier: Apache-2.0
"""Symbolic tensors with the channels along their axes."""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import prod
from typing import Any, Iterator

import numpy as np

from tfprune.layers.channel_graph import ChannelGraph, Ids
from tfprune.layers.graph import leaves

Axes = tuple[Ids | None, ...]
Shape = tuple[int | None, ...]


class Unsupported(Exception):
    """A rule cannot say where the channels go; the text is the reason."""


@dataclass(frozen=True)
class SymbolicTensor:
    """A symbolic tensor: for each axis its size and the channels along it (None: none known)."""

    shape: Shape
    axes: Axes

    @property
    def last(self) -> Ids | None:
        return self.axes[-1] if self.axes else None

    def along(self, axis: int, ids: Ids | None) -> "SymbolicTensor":
        """The same tensor with these channels along an axis instead."""
        axis %= len(self.shape)
        size = self.shape[axis] if ids is None else len(ids)
        return SymbolicTensor(
            self.shape[:axis] + (size,) + self.shape[axis + 1 :],
            self.axes[:axis] + (ids,) + self.axes[axis + 1 :],
        )

    def without(self, axis: int) -> "SymbolicTensor":
        return SymbolicTensor(
            self.shape[:axis] + self.shape[axis + 1 :], self.axes[:axis] + self.axes[axis + 1 :]
        )

    def with_new(self, axis: int, size: int | None) -> "SymbolicTensor":
        return SymbolicTensor(
            self.shape[:axis] + (size,) + self.shape[axis:],
            self.axes[:axis] + (None,) + self.axes[axis:],
        )


def plain(shape: Shape) -> SymbolicTensor:
    """A tensor without known channels."""
    return SymbolicTensor(tuple(shape), (None,) * len(shape))


def with_last(shape: Shape, ids: Ids | None) -> SymbolicTensor:
    """A tensor with channels along its last axis only."""
    return plain(shape).along(-1, ids)


def tensors(structure: Any) -> Iterator[SymbolicTensor]:
    """Every traced tensor in lists, tuples and dictionaries (by sorted key)."""
    return (one for one in leaves(structure) if isinstance(one, SymbolicTensor))


def pin_all(book: ChannelGraph, values: list[SymbolicTensor], reason: str) -> None:
    for value in values:
        for ids in value.axes:
            book.pin(ids, reason)


def broadcast(
    book: ChannelGraph, values: list[SymbolicTensor], shape: Shape, name: str
) -> SymbolicTensor:
    """Element-wise: channels that meet are one from now on."""
    axes: list[Ids | None] = []
    for axis in range(-len(shape), 0):
        here = [(one.shape[axis], one.axes[axis]) for one in values if len(one.shape) >= -axis]
        repeated = [ids for size, ids in here if size == 1 and shape[axis] != 1]
        for ids in repeated:
            book.pin(ids, f"{name} repeats it along an axis")
        full = [ids for size, ids in here if size != 1 or shape[axis] == 1]
        axes.append(meet(book, full, name))
    return SymbolicTensor(tuple(shape), tuple(axes))


def meet(book: ChannelGraph, candidates: list[Ids | None], name: str) -> Ids | None:
    """The channels of an axis on which all of these meet."""
    known = [ids for ids in candidates if ids is not None]
    for ids in known[1:]:
        book.join(known[0], ids)
    if len(known) < len(candidates):
        for ids in known:
            book.pin(ids, f"meets values without channels in {name}")
    return known[0] if known else None


def concatenated(
    book: ChannelGraph, values: list[SymbolicTensor], axis: int, name: str
) -> SymbolicTensor:
    """One after the other along an axis, element-wise along all others."""
    rank = len(values[0].shape)
    axis %= rank
    axes: list[Ids | None] = []
    for each in range(rank):
        along = [one.axes[each] for one in values]
        if each != axis:
            axes.append(meet(book, along, name))
        elif all(ids is None for ids in along):
            axes.append(None)
        else:
            axes.append(np.concatenate([_known(book, one, each, name) for one in values]))
    sizes = [size for one in values if (size := one.shape[axis]) is not None]
    total = sum(sizes) if len(sizes) == len(values) else None
    first = values[0].shape
    return SymbolicTensor(first[:axis] + (total,) + first[axis + 1 :], tuple(axes))


def _known(book: ChannelGraph, value: SymbolicTensor, axis: int, name: str) -> Ids:
    """The channels of an axis; where there are none, new ones that must stay."""
    ids, size = value.axes[axis], value.shape[axis]
    if ids is not None:
        return ids
    if size is None:
        raise Unsupported(f"{name} appends an axis of unknown size")
    ids = book.fresh(size)
    book.pin(ids, f"values without channels in {name}")
    return ids


def reshaped(book: ChannelGraph, value: SymbolicTensor, shape: Shape, name: str) -> SymbolicTensor:
    """The channels after a reshape in row-major order, by index arithmetic.

    Where one axis becomes several, the channels stay along the only axis along which they
    differ, or else along the last: then those that share a place there become one.
    """
    before, after = list(value.shape), list(shape)
    axes = list(value.axes)
    front: list[Ids | None] = []
    back: list[Ids | None] = []
    while before and after and before[0] == after[0]:
        front.append(axes.pop(0))
        before.pop(0), after.pop(0)
    while before and after and before[-1] == after[-1]:
        back.insert(0, axes.pop())
        before.pop(), after.pop()
    old, new = ([size for size in each if size is not None] for each in (before, after))
    is_known = len(old) == len(before) and len(new) == len(after)
    if is_known and prod(old) != prod(new) and any(ids is not None for ids in front):
        raise Unsupported(f"{name} moves entries to or from the batch axis")
    middle = _regrouped(book, SymbolicTensor(tuple(before), tuple(axes)), tuple(after), name)
    return SymbolicTensor(tuple(shape), (*front, *middle, *back))


def _regrouped(book: ChannelGraph, value: SymbolicTensor, shape: Shape, name: str) -> Axes:
    held = [(axis, ids) for axis, ids in enumerate(value.axes) if ids is not None]
    nothing: list[Ids | None] = [None] * len(shape)
    if not held:
        return tuple(nothing)
    old, new = ([size for size in each if size is not None] for each in (value.shape, shape))
    is_known = len(old) == len(value.shape) and len(new) == len(shape) > 0
    if not is_known or prod(old) != prod(new):
        raise Unsupported(f"{name} reshapes axes of unknown size")
    for _, ids in held[:-1]:
        book.pin(ids, f"{name} merges it with another axis")
    across = [1] * len(old)
    across[held[-1][0]] = -1
    full = np.broadcast_to(held[-1][1].reshape(across), old).reshape(new)
    differing = [axis for axis in range(len(new)) if (full != np.take(full, [0], axis)).any()]
    axis = differing[0] if len(differing) == 1 else len(new) - 1
    rows = np.moveaxis(full, axis, -1).reshape(-1, new[axis])
    book.join(rows[:1], rows)
    nothing[axis] = rows[0].copy()
    return tuple(nothing)


def rearranged(value: SymbolicTensor, order: tuple[int, ...]) -> SymbolicTensor:
    """Axes in another order."""
    return replace(
        value,
        shape=tuple(value.shape[axis] for axis in order),
        axes=tuple(value.axes[axis] for axis in order),
    )
