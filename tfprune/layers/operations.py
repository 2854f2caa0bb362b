# SPDX-License-Identifier: Apache-2.0
"""Rules of raw operations that are written for all of them, and of those that slice and reduce."""

from __future__ import annotations

from typing import Any, Iterator

import numpy as np

from tfprune.layers.call import LayerCall
from tfprune.layers.channel_graph import Role
from tfprune.layers.elementwise import joined
from tfprune.layers.graph import leaves
from tfprune.layers.symbolic_tensor import SymbolicTensor, Unsupported, rearranged


def elementwise(step: LayerCall) -> SymbolicTensor:
    """One operand or several; constants that differ along the channels pin them."""
    result = joined(step, step.values)
    for constant in _constants([*step.args, *step.kwargs.values()]):
        shape = np.shape(constant)
        for axis in range(-min(len(shape), len(result.shape)), 0):
            if shape[axis] > 1:
                step.book.pin(result.axes[axis], f"{step.name} has a constant for each")
    return result


def reduction(step: LayerCall) -> SymbolicTensor:
    """mean, max, sum, ... over some axes."""
    value = step.value
    rank = len(value.shape)
    axes = step.setting("axis", 1)
    axes = range(rank) if axes is None else np.atleast_1d(axes)
    gone = {int(axis) % rank for axis in axes}
    for axis in gone:
        step.book.pin(value.axes[axis], f"{step.name} reduces it")
    stays = len(step.shapes[0]) == rank
    kept = [
        None if axis in gone else ids
        for axis, ids in enumerate(value.axes)
        if stays or axis not in gone
    ]
    return SymbolicTensor(tuple(step.shapes[0]), tuple(kept))


def transpose(step: LayerCall) -> SymbolicTensor:
    """Axes in another order."""
    rank = len(step.value.shape)
    order = step.setting("axes", 99)
    order = step.setting("perm", 1) if order is None else order
    order = tuple(reversed(range(rank))) if order is None else order
    return rearranged(step.value, tuple(int(axis) for axis in order))


def split(step: LayerCall) -> list[SymbolicTensor]:
    """Parts along an axis: each part gets its own channels."""
    value = step.value
    axis = int(step.setting("axis", 2, 0)) % len(value.shape)
    results, start = [], 0
    for shape in step.shapes:
        ids = value.axes[axis]
        if ids is not None:
            ids = ids[start : start + shape[axis]]
            start += shape[axis]
            step.book.passes(step.name, ids)
        part = SymbolicTensor(tuple(shape), value.axes)
        results.append(part if ids is None else part.along(axis, ids))
    return results


def getitem(step: LayerCall) -> SymbolicTensor:
    """x[..., a:b]: slices, integers, Ellipsis and new axes."""
    value = step.value
    key = step.setting("key", 1)
    key = tuple(key) if isinstance(key, (list, tuple)) else (key,)
    used = sum(part is not None and part is not Ellipsis for part in key)
    if Ellipsis not in key:
        key = (*key, Ellipsis)
    axes: list[Any] = []
    axis = 0
    for part in key:
        if part is None:
            axes.append(None)
        elif part is Ellipsis:
            rest = len(value.shape) - used
            axes.extend(value.axes[axis : axis + rest])
            axis += rest
        else:
            axes.extend(_indexed(step, value.axes[axis], part))
            axis += 1
    return SymbolicTensor(tuple(step.shapes[0]), tuple(axes))


def _indexed(step: LayerCall, ids: Any, part: Any) -> list[Any]:
    """What is left of an axis: nothing for an integer."""
    if isinstance(part, dict) and set(part) == {"start", "stop", "step"}:
        part = slice(part["start"], part["stop"], part["step"])
    if isinstance(part, slice):
        bounds = (part.start, part.stop, part.step)
        if ids is None:
            return [None]
        if all(one is None or isinstance(one, (int, np.integer)) for one in bounds):
            step.book.passes(step.name, ids[part])
            return [ids[part]]
    elif isinstance(part, (int, np.integer)):
        is_size = ids is not None and ids[0] in step.book.counted
        step.book.pin(ids[[part]] if is_size else ids, f"{step.name} picks one of them")
        return []
    raise Unsupported(f"{step.name} indexes with a tensor")


def pad(step: LayerCall) -> SymbolicTensor:
    """Padding of axes without channels."""
    widths = step.setting("pad_width", 99)
    widths = step.setting("paddings", 1) if widths is None else widths
    if np.shape(widths) != (len(step.value.shape), 2):
        raise Unsupported(f"{step.name} pads by {widths}")
    for ids, width in zip(step.value.axes, np.asarray(widths), strict=True):
        if width.any():
            step.book.pin(ids, f"{step.name} pads it")
            if ids is not None:
                raise Unsupported(f"{step.name} pads the channels")
    return SymbolicTensor(tuple(step.shapes[0]), step.value.axes)


def resize(step: LayerCall) -> SymbolicTensor:
    """Images in another size."""
    return step.made(step.shapes[0], step.channels(step.value))


def own_variable(step: LayerCall) -> SymbolicTensor:
    """A variable that the layer itself reads: what it meets says whose its entries are."""
    raw, owner = step.args[0], step.operation.owner
    adapter, book = step.tracer.adapter, step.book
    held = next(one for one in owner.weights if adapter.raw(one) is raw)
    site = f"{step.tracer.path(owner)}/{adapter.attribute_of(owner, held)}"
    book.known.add(id(raw))
    book.loose.add(id(raw))
    axes = [book.fresh(size) if size > 1 else None for size in map(int, raw.shape)]
    for axis, ids in enumerate(axes):
        book.use(raw, (id(step), id(owner), step.name), None if ids is None else axis)
        if ids is not None:
            book.enter(raw, (site, axis, Role.FOLLOWER, ids))
    return SymbolicTensor(tuple(raw.shape), tuple(axes))


def sizes(step: LayerCall) -> SymbolicTensor:
    """A tensor's shape: channels stay where something is computed with their number."""
    book, value = step.book, step.value
    made = book.fresh(len(value.shape))
    book.counted.update(zip(made.tolist(), value.axes, strict=True))
    return SymbolicTensor(tuple(step.shapes[0]), (made,))


def _constants(structure: Any) -> Iterator[Any]:
    """Arrays, and lists of numbers."""
    if isinstance(structure, dict):
        structure = list(structure.values())
    if isinstance(structure, (list, tuple)):
        if structure and all(isinstance(one, (int, float)) for one in leaves(structure)):
            yield structure
        else:
            for one in structure:
                yield from _constants(one)
    elif hasattr(structure, "shape") and not isinstance(structure, SymbolicTensor):
        yield structure
