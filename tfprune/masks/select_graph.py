# SPDX-License-Identifier: Apache-2.0
"""The form of `select` for XLA and saved graphs: static shapes, and nothing that calls Python."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np

from tfprune.masks.array_namespace import tf
from tfprune.masks.select_numpy import SHORT, rank

_PARTS = 8  # parts below this share of all are put together: the graph grows with their number
_ROW = 32  # keys are counted in rows of this length, so that an int8 can hold the count


def _traced(function):
    """As one that graphs call: tensors of equal shapes share a trace."""
    traced = functools.cache(lambda: tf.function(function, autograph=False))
    return lambda *args: traced()(*args)


def select_in_graph(scores: Any, keep: Any, magnitude: bool) -> Any:
    """The mask for a tensor of scores.

    Args:
        scores: [..., groups].
        keep: int64, a scalar or one for each row.
        magnitude: rank |scores|.
    """
    return _select(scores, keep, magnitude)


@_traced
def _select(scores, keep, magnitude):
    shape, groups = tf.shape(scores), scores.shape[-1]
    keep = tf.minimum(keep, tf.cast(shape[-1], tf.int64))
    keep = keep if keep.shape.rank == 0 else tf.reshape(keep, [-1, 1])
    [keys] = _keys([tf.abs(scores) if magnitude else scores])
    if scores.shape.rank == 1 and groups:
        return _select_parts([keys], keep)[0]
    rows = tf.reshape(keys, tf.stack([-1, shape[-1]])) if scores.shape.rank > 1 else keys[None]
    if groups is not None and 0 < groups <= SHORT:
        mask = tf.transpose(tf.cast(rank(tf.transpose(rows), tf.cast), tf.int64)) < keep
    else:
        mask = _select_rows(rows, keep)
    return tf.reshape(mask, shape)


def joint_in_graph(parts: list[Any], keep: Any, magnitude: bool) -> list[Any]:
    """The masks for several tensors of scores, chosen from as if they were one row.

    Args:
        parts: [groups] each.
        keep: int64 scalar.
        magnitude: rank |scores|.
    """
    return _joint(parts, keep, magnitude)


@_traced
def _joint(parts, keep, magnitude):
    sizes = [part.shape[0] for part in parts]
    if not all(sizes):  # of a length that is not known while tracing, or empty
        lengths = tf.stack([tf.shape(part)[0] for part in parts])
        mask = select_in_graph(tf.concat(parts, 0), keep, magnitude)
        return tf.split(mask, lengths, num=len(parts))
    bins = _bins(sizes)
    joined = [tf.concat(parts[first:last], 0) for first, last in bins]
    joined = [tf.abs(part) for part in joined] if magnitude else joined
    masks = _select_parts(_keys(joined), tf.minimum(keep, sum(sizes)))
    return [
        one
        for (first, last), mask in zip(bins, masks, strict=True)
        for one in tf.split(mask, sizes[first:last])
    ]


def _bins(sizes):
    """Small neighbours put together, so that there are few parts: (first, last + 1) of each."""
    limit, starts, held = sum(sizes) // _PARTS, [0], 0
    for index, size in enumerate(sizes):
        if held and held + size > limit:
            starts.append(index)
            held = 0
        held += size
    return list(zip(starts, [*starts[1:], len(sizes)], strict=True))


def _keys(parts):
    """Map scores to integers in the same order: NaN the lowest, both zeros equal."""
    size = parts[0].dtype.size
    wide = tf.int64 if size == 8 else tf.int32
    unsigned = {2: tf.uint16, 4: tf.uint32, 8: tf.uint64}[size]
    infinity = tf.bitcast(tf.constant(np.inf, parts[0].dtype), unsigned)
    narrow = {2: tf.int16, 4: tf.int32, 8: tf.int64}[size]
    plain = [tf.cast(tf.bitcast(part, narrow), wide) for part in parts]

    def ordered(keys):
        magnitude = tf.bitwise.bitwise_and(keys, tf.constant(2 ** (8 * size - 1) - 1, wide))
        signed = tf.where(keys < 0, -magnitude, magnitude)
        return tf.where(magnitude > tf.cast(infinity, wide), -wide.max, signed)

    # Floats from 0 to infinity, such as magnitudes, need no more than this one pass.
    peaks = [tf.reduce_max(tf.bitcast(part, unsigned)) for part in parts]
    is_plain = tf.reduce_all(tf.stack(peaks) <= infinity)
    return tf.cond(is_plain, lambda: plain, lambda: [ordered(keys) for keys in plain])


def _select_parts(parts, keep):
    """The masks of several rows of keys that are chosen from as if they were one."""
    wide = parts[0].dtype
    sizes = [part.shape[0] for part in parts]
    parts = [
        tf.pad(part, [[0, -size % _ROW]], constant_values=wide.min) if size % _ROW else part
        for part, size in zip(parts, sizes, strict=True)
    ]
    rows = [tf.reshape(part, [-1, _ROW]) for part in parts]
    cut, excess, at_least, above = _cut(parts, sizes, rows, tf.maximum(keep, 1))
    cut, excess = tf.where(keep > 0, cut, wide.max), tf.where(keep > 0, excess, 0)
    starts = np.cumsum([0] + [part.shape[0] for part in parts])

    def without_last_ties():
        until = tf.cumsum(tf.cast(at_least - above, tf.int64))  # ties up to the end of each row
        left = until[-1] - excess
        row = tf.reduce_sum(tf.cast(until < left, tf.int64))
        inner = tf.cumsum(tf.cast(_row(rows, starts // _ROW, row) == cut, tf.int64))
        left -= tf.gather(until, row) - inner[-1]
        first = row * _ROW + tf.reduce_sum(tf.cast(inner <= left, tf.int64))
        return [split(keys, first - start) for keys, start in zip(parts, starts, strict=False)]

    def split(keys, first):
        length = keys.shape[0]
        late = tf.range(length, dtype=tf.int64) >= first
        return (keys > cut) | (~late & (keys == cut))

    masks = tf.cond(excess > 0, without_last_ties, lambda: [keys >= cut for keys in parts])
    return [mask[:size] if size % _ROW else mask for mask, size in zip(masks, sizes, strict=True)]


def _row(rows, starts, index):
    """One row of all parts, by its number."""
    own = [
        tf.gather(part, tf.clip_by_value(index - start, 0, part.shape[0] - 1))
        for part, start in zip(rows, starts, strict=False)
    ]
    return tf.gather(tf.stack(own), tf.reduce_sum(tf.cast(index >= starts[1:-1], tf.int64)))


def _per_row(bits):
    """How many are True in each row of all parts, int8 [rows]."""
    return tf.concat([tf.reduce_sum(tf.cast(part, tf.int8), 1) for part in bits], 0)


def _total(per_row):
    return tf.cast(tf.reduce_sum(tf.cast(per_row, tf.int32)), tf.int64)


def _cut(parts, sizes, rows, keep):
    """Return the `keep`-th largest key, how many keys too many reach it, and, if any, how many
    keys of each row reach it and exceed it."""
    wide = parts[0].dtype
    size = sum(sizes)
    left, right = _bracket(parts, sizes, keep)

    def unproven(step, low, high, at_low, above, inside, excess):
        return (low < high) & (excess > 0)

    def prove(step, low, high, at_low, above, inside, excess):
        # Leave out both ends of the bracket, where a value may be repeated many times; where the
        # cut is such a value, the next probe shows it.
        second = tf.where(high == left, left, right)
        probe = tf.where(step == 0, left + 1, tf.where(step == 1, second, low + 1))
        fits = (step < 3) & (low < probe) & (probe <= high)
        probe = tf.where(fits, probe, _middle(low, high))
        counts = _per_row([part >= probe for part in rows])
        enough = _total(counts) >= keep
        low, high = tf.where(enough, probe, low), tf.where(enough, high, probe - 1)
        at_low, above = tf.where(enough, counts, at_low), tf.where(enough, above, counts)
        reach = _total(at_low)
        return step + 1, low, high, at_low, above, reach - _total(above), reach - keep

    every = tf.fill([sum(part.shape[0] for part in rows)], tf.constant(_ROW, tf.int8))
    whole = tf.constant(size, tf.int64)
    ends = tf.constant(wide.min, wide), tf.constant(wide.max, wide)
    state = (tf.constant(0), *ends, every, tf.zeros_like(every), whole, whole)
    _, low, high, at_low, above, _, excess = tf.while_loop(unproven, prove, state)
    return low, excess, at_low, above


def stride(size: int, density: float) -> int:
    """Return an odd step for a sample of about density * sqrt(size), odd to meet every column."""
    return max(int(size**0.5 / density), 1) | 1


def _middle(low, high):
    """The average, rounded up, without overflow."""
    half = tf.bitwise.right_shift(tf.bitwise.bitwise_xor(low, high), tf.ones_like(low))
    return tf.bitwise.bitwise_or(low, high) - half


def _bracket(parts, sizes, keep):
    """Return two keys of a sample that very likely lie on both sides of the cut."""
    size, wide = sum(sizes), parts[0].dtype
    step = stride(size, 8)
    sample = tf.concat([part[:own:step] for part, own in zip(parts, sizes, strict=True)], 0)
    count = sample.shape[0]
    share = tf.cast(keep, tf.float64) / size
    place, spread = share * count, 3 * tf.sqrt(share * (1 - share) * count) + 3
    after, before = tf.cast(place + spread, tf.int32), tf.cast(tf.floor(place - spread), tf.int32)
    at = tf.clip_by_value(tf.stack([after, before]), 0, count - 1)
    found = tf.gather(tf.sort(sample, direction="DESCENDING"), at)
    left = tf.where(after < count, found[0], wide.min)
    return left, tf.where(before >= 0, found[1], wide.max)


def _select_rows(rows, keep):
    """Rows that are long, or of a length not known while tracing."""
    cut = _cuts_by_bits(rows, keep)
    at_least = (rows >= cut) & (keep > 0)

    def without_last_ties():
        above, ties = rows > cut, rows == cut
        left = keep - tf.reduce_sum(tf.cast(above, tf.int64), 1, keepdims=True)
        return above | (ties & (tf.cumsum(tf.cast(ties, tf.int64), 1) <= left))

    exact = tf.reduce_all(tf.math.count_nonzero(at_least, 1, keepdims=True) <= keep)
    return tf.cond(exact, lambda: at_least, without_last_ties)


def _cuts_by_bits(rows, keep):
    """The `keep`-th largest key of each row: all rows are bisected together."""
    low = tf.fill([tf.shape(rows)[0], 1], tf.constant(rows.dtype.min, rows.dtype))
    high = tf.fill([tf.shape(rows)[0], 1], tf.constant(rows.dtype.max, rows.dtype))

    def halve(low, high):
        middle = _middle(low, high)
        count = tf.reduce_sum(tf.cast(rows >= middle, tf.int64), 1, keepdims=True)
        return tf.where(count >= keep, middle, low), tf.where(count >= keep, high, middle - 1)

    return tf.while_loop(lambda low, high: tf.reduce_any(low < high), halve, [low, high])[0]
