# SPDX-License-Identifier: Apache-2.0
"""The form of `select` for XLA and saved graphs: static shapes, and nothing that calls Python."""

from __future__ import annotations

import functools
import math
from typing import Any

import numpy as np

from tfprune.masks.array_namespace import tf
from tfprune.masks.select_numpy import SHORT, rank

_PARTS = 8  # parts below this share of all are put together: the graph grows with their number
_ROW = 32  # keys are counted in rows of this length, so that a byte can hold the count
_FOLD = 64  # and counts of so many rows are added in 16 bits, in parts that are large
_LARGE = 1 << 16
_SMALL = 1 << 17  # up to this length to compile the use of a sample costs more than it saves


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
    keys = _keys(tf.abs(scores) if magnitude else scores)
    if scores.shape.rank == 1 and groups and groups > _SMALL:
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
    if not all(sizes) or sum(sizes) <= _SMALL:  # of unknown length, empty, or few
        lengths = tf.stack([tf.shape(part)[0] for part in parts])
        mask = select_in_graph(tf.concat(parts, 0), keep, magnitude)
        return tf.split(mask, lengths, num=len(parts))
    bins = _bins(sizes)
    joined = [tf.concat(parts[first:last], 0) for first, last in bins]
    keys = [_keys(tf.abs(part) if magnitude else part) for part in joined]
    masks = _select_parts(keys, tf.minimum(keep, sum(sizes)))
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


def _keys(scores):
    """Integers in the order of the scores: NaN the lowest, both zeros equal."""
    size = scores.dtype.size
    narrow = {2: tf.int16, 4: tf.int32, 8: tf.int64}[size]
    bits = tf.bitcast(scores, narrow)
    sizes = tf.bitwise.bitwise_and(bits, tf.constant(narrow.max, narrow))
    infinity = tf.bitcast(tf.constant(np.inf, scores.dtype), narrow)
    lowest = tf.constant(-narrow.max, narrow)
    keys = tf.where(sizes > infinity, lowest, tf.where(bits < 0, -sizes, sizes))
    return tf.cast(keys, tf.int64 if size == 8 else tf.int32)


def _select_parts(parts, keep):
    """The masks of several rows of keys that are chosen from as if they were one."""
    wide = parts[0].dtype
    sizes = [part.shape[0] for part in parts]
    parts = [_padded(part, _ROW * (_FOLD if part.shape[0] > _LARGE else 1)) for part in parts]
    rows = [tf.reshape(part, [-1, _ROW]) for part in parts]
    cut, excess, at_least, above = _cut(parts, sizes, rows, tf.maximum(keep, 1))
    cut, excess = tf.where(keep > 0, cut, wide.max), tf.where(keep > 0, excess, 0)
    starts = np.cumsum([0] + [part.shape[0] for part in parts])

    def without_last_ties():
        ties = at_least - above  # of each row
        left = tf.reduce_sum(tf.cast(ties, tf.int64)) - excess
        fold = math.gcd(ties.shape[0], _FOLD)
        ties = tf.reshape(ties, [-1, fold])
        group, left = _reached(tf.reduce_sum(ties, 1), left)
        row, left = _reached(tf.gather(ties, group), left)
        row += group * fold
        ties = tf.cast(_row(rows, starts // _ROW, row) == cut, tf.int32)
        first = row * _ROW + _reached(ties, left)[0] + 1
        return [split(keys, first - start) for keys, start in zip(parts, starts, strict=False)]

    def split(keys, first):
        length = keys.shape[0]
        late = tf.range(length, dtype=tf.int64) >= first
        return (keys > cut) | (~late & (keys == cut))

    masks = tf.cond(excess > 0, without_last_ties, lambda: [keys >= cut for keys in parts])
    return [mask[:size] for mask, size in zip(masks, sizes, strict=True)]


def _reached(counts, wanted):
    """Where the running sum of counts reaches `wanted`, and what is wanted there."""
    before = tf.cumsum(tf.cast(counts, tf.int64), exclusive=True)
    index = tf.reduce_sum(tf.cast(before < wanted, tf.int64)) - 1
    return index, wanted - tf.gather(before, index)


def _row(rows, starts, index):
    """One row of all parts, by its number."""
    own = [
        tf.gather(part, tf.clip_by_value(index - start, 0, part.shape[0] - 1))
        for part, start in zip(rows, starts, strict=False)
    ]
    return tf.gather(tf.stack(own), tf.reduce_sum(tf.cast(index >= starts[1:-1], tf.int64)))


def _cut(parts, sizes, rows, keep):
    """Return a key that the `keep` best reach, how many keys too many reach it, and, if any, how
    many keys of each row reach it and exceed it. It is the `keep`-th largest if there are any."""
    wide, size = parts[0].dtype, sum(sizes)
    guess = _quantiles(parts, sizes, keep)

    def unproven(step, low, high, at_low, above, reach, beyond):
        return (low < high) & (reach > keep)

    def prove(step, low, high, at_low, above, reach, beyond):
        middle = _middle(low, high)
        aimed = _aimed(low, high, (reach - keep) / (reach - beyond), reach - beyond)
        probes = tf.switch_case(
            tf.where(step < 5, tf.where(step > 0, 1 + step % 2, 0), 3),
            [
                lambda: guess,
                lambda: aimed([-1.2, -0.4, 0.4, 1.2]),
                # Both ends may be values that are repeated many times.
                lambda: tf.concat([[low + 1], aimed([-2.0, 2.0]), [high]], 0),
                lambda: tf.stack([_middle(low, middle), middle, _middle(middle, high), high]),
            ],
        )
        probes = tf.clip_by_value(probes, low + 1, high)
        counts = _per_row(rows, probes)
        totals = _totals(counts)
        enough = totals >= keep
        best = tf.argmax(tf.where(enough, probes, low))
        least = tf.argmax(tf.where(enough, tf.constant(-1, tf.int64), totals))

        some, fails = tf.reduce_any(enough), ~tf.reduce_all(enough)
        return (
            step + 1,
            tf.where(some, tf.gather(probes, best), low),
            tf.where(fails, tf.gather(probes, least) - 1, high),
            tf.where(some, _byte(counts, best), at_low),
            tf.where(fails, _byte(counts, least), above),
            tf.where(some, tf.gather(totals, best), reach),
            tf.where(fails, tf.gather(totals, least), beyond),
        )

    every = tf.fill([sum(part.shape[0] for part in rows)], _ROW)
    ends = tf.constant(wide.min, wide), tf.constant(wide.max, wide)
    state = (tf.constant(0), *ends, every, tf.zeros_like(every))
    counted = tf.constant(size, tf.int64), tf.constant(0, tf.int64)
    _, low, _, at_low, above, reach, _ = tf.while_loop(unproven, prove, (*state, *counted))
    return low, reach - keep, at_low, above


def _per_row(rows, probes):
    """How many keys of each row reach each of four probes, a byte for each, int32 [rows]."""
    counts = [
        tf.reduce_sum(tf.add_n([tf.where(part >= probes[i], 1 << 8 * i, 0) for i in range(4)]), 1)
        for part in rows
    ]
    return tf.concat(counts, 0)


def _byte(counts, index):
    shifted = tf.bitwise.right_shift(counts, 8 * tf.cast(index, tf.int32))
    return tf.bitwise.bitwise_and(shifted, 255)


def _totals(counts):
    """The sums of the four bytes, int64 [4]."""
    fold = math.gcd(counts.shape[0], _FOLD)  # so many fit into 16 bits
    sums = []
    for pair in (counts, tf.bitwise.right_shift(counts, 8)):
        pair = tf.reshape(tf.bitwise.bitwise_and(pair, 0x00FF00FF), [fold, -1])
        pair = tf.reduce_sum(pair, 0)
        for half in (tf.bitwise.bitwise_and(pair, 0xFFFF), tf.bitwise.right_shift(pair, 16)):
            sums.append(tf.reduce_sum(half))
    return tf.cast(tf.stack([sums[0], sums[2], sums[1], sums[3]]), tf.int64)


def _aimed(low, high, share, inside):
    """Keys beside that which so large a share of those inside should be below."""
    width = 2 * tf.cast(_half(high) - _half(low), tf.float64)
    spread = tf.sqrt(share * (1 - share) / tf.cast(inside, tf.float64))
    return lambda offsets: (
        low
        + tf.cast(
            width * tf.clip_by_value(share + spread * tf.constant(offsets, tf.float64), 0, 1),
            low.dtype,
        )
    )


def _half(key):
    return tf.bitwise.right_shift(key, tf.ones_like(key))


def _middle(low, high):
    """The average, rounded up, without overflow."""
    return tf.bitwise.bitwise_or(low, high) - _half(tf.bitwise.bitwise_xor(low, high))


def _quantiles(parts, sizes, keep):
    """Four keys of a sample that very likely lie around the cut, two and two."""
    size, wide = sum(sizes), parts[0].dtype
    step = stride(size)
    sample = tf.concat([part[:own:step] for part, own in zip(parts, sizes, strict=True)], 0)
    count = sample.shape[0]
    rows = [tf.reshape(_padded(sample, _ROW), [-1, _ROW])]
    share = tf.cast(keep, tf.float64) / size
    spread = tf.sqrt(share * (1 - share) * count)
    offsets = spread * [2.5, 0.7, -0.7, -2.5] + [2.5, 0.0, 0.0, -2.5]
    places = tf.cast(tf.floor(share * count + offsets), tf.int64)

    def halve(low, high):
        middle = _middle(low, high)
        enough = _totals(_per_row(rows, middle)) > places
        found = enough | (low == high)
        return tf.where(enough, middle, low), tf.where(found, high, middle - 1)

    ends = tf.fill([4], tf.constant(wide.min, wide)), tf.fill([4], tf.constant(wide.max, wide))
    found = tf.while_loop(lambda low, high: tf.reduce_any(low < high), halve, ends)[0]
    # The outer two may be values that are repeated many times; so may both inner ones.
    return tf.stack([found[0] + 1, found[1], tf.maximum(found[2], found[1] + 1), found[3]])


def stride(size: int) -> int:
    """Return an odd step for a sample of about 16 sqrt(size) keys, odd to meet every column."""
    return max(int(size**0.5 / 16), 1) | 1


def _padded(keys, multiple):
    """Keys, and lowest ones behind them."""
    gap = -keys.shape[0] % multiple
    return tf.pad(keys, [[0, gap]], constant_values=keys.dtype.min) if gap else keys


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
