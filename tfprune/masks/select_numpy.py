# SPDX-License-Identifier: Apache-2.0
"""The NumPy form of `select`, and what both forms share."""

from __future__ import annotations

from typing import Any

import numpy as np

from tfprune.masks.score_keys import Scores
from tfprune.masks.select_blocks import best, choose

SHORT = 32  # rows up to this length are ranked by comparing all pairs
_SMALL = 4096  # up to this length a sample does not pay
_AT_ONCE = 1 << 16  # keys of short rows that are ranked together: what fits into a cache
_FLOATS = ("float16", "bfloat16", "float32", "float64")


def select_array(scores: Any, keep: Any, magnitude: bool) -> np.ndarray:
    """The mask for an array of scores; see `tfprune.masks.select.select`."""
    scores = np.asarray(scores)
    check_scores(scores.dtype.name, scores.shape)
    check_keep(keep, scores.shape)
    groups = scores.shape[-1]
    keep = np.minimum(np.asarray(keep, np.int64), groups)
    if scores.ndim == 1:
        return _select_row([scores], int(keep), magnitude)
    rows = scores.reshape(-1, groups)
    if 0 < groups <= SHORT:
        keys = Scores([rows.T.ravel()], magnitude).keys().reshape(groups, -1)
        return (rank(keys, np.ndarray.astype) < keep.reshape(-1)).T.reshape(scores.shape)
    keep = np.broadcast_to(keep.reshape(-1), len(rows))
    if 0 < groups <= _SMALL:
        return _select_rows(rows, keep, magnitude).reshape(scores.shape)
    masks = [_select_row([row], one, magnitude) for row, one in zip(rows, keep, strict=True)]
    return np.array(masks, bool).reshape(scores.shape)


def select_joint_arrays(parts: list[Any], keep: Any, magnitude: bool) -> list[np.ndarray]:
    """The masks for several arrays; see `tfprune.masks.select.select_joint`."""
    parts = [np.asarray(part) for part in parts]
    for part in parts:
        check_scores(part.dtype.name, part.shape)
    check_keep(keep, (sum(map(len, parts)),))
    ends = np.cumsum([len(part) for part in parts])
    return np.split(_select_row(parts, min(int(keep), int(ends[-1])), magnitude), ends[:-1])


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


def _select_rows(rows, keep, magnitude):
    """The masks of rows that are short enough to be ranked several at a time."""
    length, mask = rows.shape[1], np.empty(rows.shape, bool)
    height = max(_AT_ONCE // length, 1)
    for begin in range(0, len(rows), height):
        part, most = rows[begin : begin + height], keep[begin : begin + height]
        keys = Scores([part.reshape(-1)], magnitude).keys().reshape(part.shape)
        places = np.minimum(length - most, length - 1)
        ordered = np.partition(keys, np.unique(places), axis=1)
        cuts = np.take_along_axis(ordered, places[:, None], axis=1)
        kept = np.greater_equal(keys, cuts, out=mask[begin : begin + height])
        excess = np.count_nonzero(kept, axis=1) - most
        for row in np.flatnonzero(excess):  # ties, and rows that keep nothing
            kept[row, np.flatnonzero(keys[row] == cuts[row])[-excess[row] :]] = False
    return mask


def _select_row(parts, keep, magnitude):
    scores = Scores(parts, magnitude)
    if keep in (0, scores.size):
        return np.full(scores.size, keep > 0)
    return best(scores.keys(), keep) if scores.size <= _SMALL else choose(scores, keep)
