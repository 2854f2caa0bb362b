# SPDX-License-Identifier: Apache-2.0
"""The NumPy form of `select`, and what both forms share."""

from __future__ import annotations

from typing import Any

import numpy as np

SHORT = 32  # rows up to this length are ranked by comparing all pairs
_SMALL = 4096  # up to this length a sample does not pay
_FLOATS = ("float16", "bfloat16", "float32", "float64")


def select_array(scores: Any, keep: Any) -> np.ndarray:
    """The mask for an array of scores; see `tfprune.masks.select.select`."""
    scores = np.asarray(scores)
    check_scores(scores.dtype.name, scores.shape)
    check_keep(keep, scores.shape)
    groups = scores.shape[-1]
    keep = np.minimum(np.asarray(keep, np.int64), groups)
    keys = _keys(scores)
    if scores.ndim == 1:
        return _select_row(keys, int(keep))
    rows = keys.reshape(-1, groups)
    if groups <= SHORT:
        mask = rank(np.ascontiguousarray(rows.T), np.ndarray.astype) < keep.reshape(-1)
        return mask.T.reshape(scores.shape)
    keep = np.broadcast_to(keep.reshape(-1), len(rows))
    return np.stack([_select_row(*pair) for pair in zip(rows, keep, strict=True)]).reshape(
        scores.shape
    )


def check_scores(dtype: str, shape: Any) -> None:
    """Refuse scores that are not floating or have no axis."""
    if dtype not in _FLOATS:
        raise TypeError(f"scores are {dtype}; expected one of {', '.join(_FLOATS)}")
    if len(shape) == 0:
        raise ValueError("scores are a scalar; expected [..., groups]")


def check_keep(keep: Any, shape: Any) -> None:
    """Refuse a `keep` that is not an integer, is negative, or does not fit the rows of `shape`."""
    keep = np.asarray(keep)
    if keep.dtype.kind not in "iu":
        raise TypeError(f"keep is {keep.dtype.name}; expected an integer count per row")
    if (keep < 0).any():
        raise ValueError(f"keep is {keep}; expected 0 or more")
    if keep.shape not in ((), tuple(shape[:-1])):
        raise ValueError(
            f"keep has shape {keep.shape}; expected one integer, or one per row of {tuple(shape)}"
        )


def rank(columns: Any, astype: Any) -> Any:
    """Return how many keys of its row beat each key, for short rows given as columns [m, rows]."""
    length = columns.shape[0]
    places = np.arange(length)[:, None]
    beaten = 0
    for i in range(length):
        # An earlier key wins a tie: it only has to be greater than the later key minus one.
        later = (places > i).astype(columns.dtype.name)
        beaten = beaten + astype(columns[i] > columns - later, np.int8)
    return beaten


def stride(size: int, density: float) -> int:
    """Return an odd step for a sample of about density * sqrt(size), odd to meet every column."""
    return max(int(size**0.5 / density), 1) | 1


def _keys(scores):
    """Map scores to integers in the same order: NaN the lowest, both zeros equal."""
    if scores.dtype.itemsize == 2:
        scores = scores.astype(np.float32)
    scores = np.ascontiguousarray(scores)
    bits = 8 * scores.dtype.itemsize
    keys = scores.view(f"int{bits}")
    infinity = np.asarray(np.inf, scores.dtype).view(keys.dtype)
    if scores.size == 0 or scores.view(f"uint{bits}").max() <= infinity:
        return keys
    top = np.iinfo(keys.dtype).max
    magnitude = keys & top
    return np.where(magnitude > infinity, -top, np.where(keys < 0, -magnitude, magnitude))


def _select_row(keys, keep):
    if keep == 0:
        return np.zeros(keys.shape, bool)
    cut = _cut(keys, keep)
    mask = keys >= cut
    excess = np.count_nonzero(mask) - keep
    if excess:
        ties = keys == cut
        first, last = 0, len(ties)  # the first tie to drop lies in first ... last - 1
        while last - first > 1:
            middle = (first + last) // 2
            behind = np.count_nonzero(ties[middle:last])
            if behind >= excess:
                first = middle
            else:
                last, excess = middle, excess - behind
        mask[first:] = keys[first:] > cut
    return mask


def _cut(keys, keep):
    """Return the `keep`-th largest key, 1 <= keep <= len(keys)."""
    size = len(keys)
    if size <= _SMALL:
        return int(np.sort(keys)[size - keep])
    sample = np.sort(keys[:: stride(size, 8)])
    limits = np.iinfo(keys.dtype)
    low, high = int(limits.min), int(limits.max)  # the cut is in low ... high
    inside, above = size, 0  # keys in low ... high, keys above high
    place = keep / size * len(sample)
    spread = 3 * (place * (1 - keep / size)) ** 0.5 + 3
    left = low if place + spread >= len(sample) else int(sample[-1 - int(place + spread)])
    right = high if place - spread < 0 else int(sample[-1 - int(place - spread)])
    step = 0
    while low < high and inside > size // 16:
        # Leave out both ends of the bracket, where a value may be repeated many times; where the
        # cut is such a value, the next probe shows it.
        probe = (left + 1, left if high == left else right, low + 1)[step] if step < 3 else low
        if not low < probe <= high:
            probe = low + (high - low + 1) // 2
        count = np.count_nonzero(keys >= probe)
        if count >= keep:
            low, inside = probe, count - above
        else:
            high, inside, above = probe - 1, inside + above - count, count
        step += 1
    if low == high:
        return low
    return _cut(keys[(keys >= low) & (keys <= high)], keep - above)
