# SPDX-License-Identifier: Apache-2.0
"""New sizes for raw operations that have sizes among their arguments: reshape, split, slices."""

from __future__ import annotations

from typing import Any

import numpy as np

from tfprune.layers.call import KeptChannels, LayerCall
from tfprune.layers.symbolic_tensor import SymbolicTensor, Unsupported

Sizes = dict[str, Any]


def reshape(step: LayerCall, results: list[SymbolicTensor], kept: KeptChannels) -> Sizes:
    """The new target."""
    given = step.setting("newshape", 99)
    given = step.setting("shape", 1) if given is None else given
    new = kept.shape(results[0])
    if not isinstance(given, (list, tuple, np.ndarray)) or len(given) != len(new):
        raise Unsupported(f"{step.name} takes its shape from a tensor")
    entries = [
        size if isinstance(old, (int, np.integer)) and old != -1 else old
        for old, size in zip(given, new, strict=True)
    ]  # the others stay: tensors, None, -1
    for old, entry, size in zip(results[0].shape, entries, new, strict=True):
        if old != size and isinstance(entry, SymbolicTensor):
            raise Unsupported(f"{step.name} takes its shape from a tensor")
    return {"newshape": tuple(entries), "shape": entries}


def split(step: LayerCall, results: list[SymbolicTensor], kept: KeptChannels) -> Sizes:
    """The new places between the parts."""
    axis = int(step.setting("axis", 2, 0)) % len(step.value.shape)
    new = [kept.shape(one)[axis] for one in results]
    bounds = tuple(int(bound) for bound in np.cumsum(np.array(new))[:-1])
    return {"indices_or_sections": bounds, "num_or_size_splits": new}


def getitem(step: LayerCall, results: list[SymbolicTensor], kept: KeptChannels) -> Sizes:
    """The new slices."""
    value, key = step.value, step.setting("key", 1)
    is_one = not isinstance(key, (list, tuple))
    parts = [key] if is_one else list(key)
    used = sum(part is not None and part is not Ellipsis for part in parts)
    axis = 0
    for place, part in enumerate(parts):
        if part is Ellipsis:
            axis += len(value.shape) - used
        elif part is not None:
            ids = value.axes[axis]
            if ids is not None:
                parts[place] = _part(step, part, kept.mask(ids))
            axis += 1
    return {"key": parts[0] if is_one else tuple(parts)}


def _part(step: LayerCall, part: Any, mask: np.ndarray) -> Any:
    """The same entries of a shorter axis."""
    is_dict = isinstance(part, dict)
    bounds = slice(part["start"], part["stop"], part["step"]) if is_dict else part
    if not isinstance(bounds, slice):
        raise Unsupported(f"{step.name} picks one of them")
    taken = np.arange(len(mask))[bounds]
    places = (np.cumsum(mask) - 1)[taken[mask[taken]]]
    if mask.all():
        return part
    apart = np.unique(np.diff(places))
    if len(apart) > 1 or not len(places):
        raise Unsupported(f"{step.name} does not take neighbours")
    stride = int(apart[0]) if len(apart) else 1
    stop = int(places[-1]) + stride
    new = slice(int(places[0]), stop if stop >= 0 else None, stride)
    return {"start": new.start, "stop": new.stop, "step": new.step} if is_dict else new
