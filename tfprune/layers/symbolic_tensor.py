# SPDX-License-Identifier: Apache-2.0
"""Which channels run along the axes of a symbolic tensor."""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import prod
from typing import Any, Iterator

import numpy as np

from tfprune.layers.channel_graph import ChannelGraph, Ids

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
    if isinstance(structure, SymbolicTensor):
        yield structure
    elif isinstance(structure, (list, tuple)):
        for one in structure:
            yield from tensors(one)
    elif isinstance(structure, dict):
        for key in sorted(structure, key=str):
            yield from tensors(structure[key])


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
    sizes = [one.shape[axis] for one in values]
    total = None if None in sizes else sum(sizes)
    first = values[0].shape
    return SymbolicTensor(first[:axis] + (total,) + first[axis + 1 :], tuple(axes))


def _known(book: ChannelGraph, value: SymbolicTensor, axis: int, name: str) -> Ids:
    """The channels of an axis; where there are none, new ones that must stay."""
    if value.axes[axis] is not None:
        return value.axes[axis]
    if value.shape[axis] is None:
        raise Unsupported(f"{name} appends an axis of unknown size")
    ids = book.fresh(value.shape[axis])
    book.pin(ids, f"values without channels in {name}")
    return ids


def reshaped(book: ChannelGraph, value: SymbolicTensor, shape: Shape, name: str) -> SymbolicTensor:
    """The channels after a reshape in row-major order, by index arithmetic.

    Where one axis becomes several, the channels stay along the only axis along which they
    differ, or else along the last: then those that share a place there become one.
    """
    before, after = list(value.shape), list(shape)
    axes, front, back = list(value.axes), [], []
    while before and after and before[0] == after[0]:
        front.append(axes.pop(0))
        before.pop(0), after.pop(0)
    while before and after and before[-1] == after[-1]:
        back.insert(0, axes.pop())
        before.pop(), after.pop()
    middle = _regrouped(book, SymbolicTensor(tuple(before), tuple(axes)), tuple(after), name)
    return SymbolicTensor(tuple(shape), (*front, *middle, *back))


def _regrouped(book: ChannelGraph, value: SymbolicTensor, shape: Shape, name: str) -> Axes:
    held = [axis for axis, ids in enumerate(value.axes) if ids is not None]
    nothing: list[Ids | None] = [None] * len(shape)
    if not held:
        return tuple(nothing)
    if None in value.shape or None in shape or prod(value.shape) != prod(shape) or not shape:
        raise Unsupported(f"{name} reshapes axes of unknown size")
    for axis in held[:-1]:
        book.pin(value.axes[axis], f"{name} merges it with another axis")
    across = [1] * len(value.shape)
    across[held[-1]] = -1
    full = np.broadcast_to(value.axes[held[-1]].reshape(across), value.shape).reshape(shape)
    differing = [axis for axis in range(len(shape)) if (full != np.take(full, [0], axis)).any()]
    axis = differing[0] if len(differing) == 1 else len(shape) - 1
    rows = np.moveaxis(full, axis, -1).reshape(-1, shape[axis])
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
