# SPDX-License-Identifier: Apache-2.0
"""Rules of raw operations that put entries of tensors to other places, once or several times."""

from __future__ import annotations

from typing import Any, Iterable

import numpy as np

from tfprune.layers.call import LayerCall
from tfprune.layers.symbolic_tensor import (
    SymbolicTensor,
    Unsupported,
    broadcast,
    plain,
    rearranged,
    tensors,
    with_last,
)


def roll(step: LayerCall) -> SymbolicTensor:
    """Entries move along some axes, and come in again at the other end."""
    axes = step.setting("axis", 2)
    if axes is None:
        raise Unsupported(f"{step.name} rolls all axes as one")
    return _moved(step, np.atleast_1d(axes))


def along(step: LayerCall) -> SymbolicTensor:
    """Each entry depends on others along an axis: reversed, summed up."""
    axes = step.setting("axis", 1)
    if axes is None or _holds_tensors(axes):
        raise Unsupported(f"{step.name} works along axes that are not known")
    return _moved(step, np.atleast_1d(axes))


def _moved(step: LayerCall, axes: Iterable[int]) -> SymbolicTensor:
    """Every axis but these as it was."""
    for axis in map(int, axes):
        step.book.pin(step.value.axes[axis], f"{step.name} moves entries along it")
    return step.value


def take(step: LayerCall) -> SymbolicTensor:
    """Entries along an axis, chosen by indices that do not depend on the data."""
    value = step.value
    is_gather = step.raw_kind == "gather"  # of TensorFlow: the axis comes behind `validate_indices`
    axis = step.setting("axis", 3 if is_gather else 2)
    axis = step.setting("batch_dims", 4, 0) if axis is None and is_gather else axis
    if axis is None or _holds_tensors((axis, step.setting("indices", 1))):
        raise Unsupported(f"{step.name} takes entries by a tensor, or of all axes as one")
    axis = int(axis) % len(value.shape)
    step.book.pin(value.axes[axis], f"{step.name} takes some of them")
    new = (None,) * (len(step.shapes[0]) - len(value.shape) + 1)
    return SymbolicTensor(
        tuple(step.shapes[0]), (*value.axes[:axis], *new, *value.axes[axis + 1 :])
    )


def depth_to_space(step: LayerCall) -> SymbolicTensor:
    """[h, w, r r c] -> [r h, r w, c]: r r channels become one, at different places."""
    size, ids = _block(step), step.value.last
    if ids is None:
        return plain(step.shapes[0])
    rows = ids.reshape(size * size, -1)
    step.book.join(rows[:1], rows)
    step.book.passes(step.name, ids)
    return with_last(step.shapes[0], rows[0].copy())


def space_to_depth(step: LayerCall) -> SymbolicTensor:
    """[r h, r w, c] -> [h, w, r r c]: each channel at r r places becomes r r channels."""
    size, ids = _block(step), step.value.last
    if ids is None:
        return plain(step.shapes[0])
    step.book.passes(step.name, ids)
    return with_last(step.shapes[0], np.tile(ids, size * size))


def _block(step: LayerCall) -> int:
    form = str(step.setting("data_format", 2) or "channels_last")
    if form not in ("NHWC", "channels_last") or len(step.value.shape) != 4:
        raise Unsupported(f"{step.name} does not have its channels last")
    for ids in step.value.axes[:-1]:
        step.book.pin(ids, f"{step.name} moves entries along it")
    return int(step.setting("block_size", 1))


def stack(step: LayerCall) -> SymbolicTensor:
    """Tensors of one shape along a new axis."""
    given = step.args[0] if step.args else next(iter(step.kwargs.values()))
    if not isinstance(given, (list, tuple)) or not all(hasattr(one, "shape") for one in given):
        raise Unsupported(f"{step.name} is not called with a list of tensors")
    values = [one if isinstance(one, SymbolicTensor) else plain(tuple(one.shape)) for one in given]
    axis = int(step.setting("axis", 1, 0)) % len(step.shapes[0])
    one = broadcast(step.book, values, values[0].shape, step.name)
    return one.with_new(axis, len(values))


def unstack(step: LayerCall) -> list[SymbolicTensor]:
    """Every entry along an axis as a tensor of its own."""
    value = step.value
    named = step.setting("axis", 99)  # by position it comes after the number in both Kerases
    axis = int(step.setting("axis", 2, 0) if named is None else named) % len(value.shape)
    step.book.pin(value.axes[axis], f"{step.name} picks one of them")
    return [value.without(axis)] * len(step.shapes)


def tile(step: LayerCall) -> SymbolicTensor:
    """A tensor again and again along its axes."""
    times = step.setting("repeats", 99)
    times = step.setting("multiples", 1) if times is None else times
    value = step.value
    if not isinstance(times, (list, tuple, np.ndarray)) or len(times) != len(value.shape):
        raise Unsupported(f"{step.name} repeats a tensor a number of times that is not known")
    axes = []
    for ids, count in zip(value.axes, times, strict=True):
        if ids is not None and not isinstance(count, (int, np.integer)):
            raise Unsupported(f"{step.name} repeats channels a number of times that is not known")
        axes.append(ids if ids is None else np.tile(ids, count))
    return SymbolicTensor(tuple(step.shapes[0]), tuple(axes))


def broadcast_to(step: LayerCall) -> SymbolicTensor:
    """Along axes of size 1 again and again."""
    return broadcast(step.book, [step.value], step.shapes[0], step.name)


def swap(step: LayerCall) -> SymbolicTensor:
    """Two axes change places."""
    order = list(range(len(step.value.shape)))
    one, other = int(step.setting("axis1", 1)), int(step.setting("axis2", 2))
    order[one], order[other] = order[other], order[one]
    return rearranged(step.value, tuple(order))


def _holds_tensors(value: Any) -> bool:
    return any(True for _ in tensors(value))
