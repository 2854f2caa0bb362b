# SPDX-License-Identifier: Apache-2.0
"""The TensorFlow form of `select`: the same algorithm and the same masks, in graph operations."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np

from tfprune.masks.array_namespace import tf
from tfprune.masks.select_numpy import SHORT, check_keep, check_scores, rank, stride

_SMALL = 1 << 16  # up to this length a sample does not pay
_PARTS = 8  # parts below this share of all are put together: the graph grows with their number
_ROW = 32  # keys are counted in rows of this length, so that an int8 can hold the count


def select_tensor(scores: Any, keep: Any, xla: bool | None = None) -> Any:
    """Return the mask for a tensor of scores; see `tfprune.masks.select.select`.

    `xla` asks for the form with static shapes, which is slower outside XLA; None finds out by
    itself whether the graph is being traced for `jit_compile=True`.
    """
    scores = tf.convert_to_tensor(scores)
    check_scores(scores.dtype.name, scores.shape)
    keep = _counts(keep, scores.shape)
    xla = in_xla() if xla is None else xla
    return (_select if tf.executing_eagerly() else _traced(_select))(scores, keep, xla)


@functools.cache
def _traced(choose):
    """As a function that graphs call: scores of equal shapes share one trace."""
    return tf.function(choose, autograph=False)


def _select(scores, keep, xla):
    shape = tf.shape(scores)
    keep = tf.clip_by_value(keep, 0, tf.cast(shape[-1], tf.int64))
    [keys] = _keys([scores])
    groups = scores.shape[-1]
    if scores.shape.rank == 1 and groups is not None and groups > 0:
        return _select_parts([keys], keep, xla)[0]
    rows = tf.reshape(keys, tf.stack([-1, shape[-1]])) if scores.shape.rank > 1 else keys[None]
    if groups is not None and 0 < groups <= SHORT:
        mask = tf.transpose(tf.cast(rank(tf.transpose(rows), tf.cast), tf.int64))
        mask = mask < (keep if keep.shape.rank == 0 else keep[:, None])
    else:
        mask = _select_rows(rows, keep if keep.shape.rank == 0 else keep[:, None], xla)
    return tf.reshape(mask, shape)


def select_joint_tensor(parts: list[Any], keep: Any) -> list[Any]:
    """Return the masks for several tensors of scores; see `tfprune.masks.select.select_joint`."""
    parts = [tf.convert_to_tensor(part) for part in parts]
    sizes = [part.shape[0] for part in parts]
    if not all(sizes):  # of a length that is not known while tracing, or empty
        lengths = tf.stack([tf.shape(part)[0] for part in parts])
        return tf.split(select_tensor(tf.concat(parts, 0), keep), lengths, num=len(parts))
    keep = tf.clip_by_value(_counts(keep, tf.TensorShape([sum(sizes)])), 0, sum(sizes))
    return (_joint if tf.executing_eagerly() else _traced(_joint))(parts, keep, in_xla())


def _joint(parts, keep, xla):
    sizes = [part.shape[0] for part in parts]
    bins = _bins(sizes)
    joined = [tf.concat(parts[first:last], 0) for first, last in bins]
    masks = _select_parts(_keys(joined), keep, xla)
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


def _counts(keep, shape):
    """Check `keep` as far as it is known while tracing: -> int64, scalar or [rows]."""
    if tf.is_tensor(keep) or isinstance(keep, tf.Variable):
        if not keep.dtype.is_integer:
            raise TypeError(f"keep is {keep.dtype.name}; expected an integer count per row")
    else:
        check_keep(keep, shape)
    keep = tf.cast(keep, tf.int64)
    return keep if keep.shape.rank == 0 else tf.reshape(keep, [-1])


def in_xla():
    """Tell whether this trace will be compiled. Without an answer: True, which is always right."""
    if tf.executing_eagerly():
        return False
    graph = tf.compat.v1.get_default_graph()
    while graph is not None:
        try:
            context = graph._get_control_flow_context()
        except AttributeError:
            return True
        while context is not None:
            if context.IsXLAContext():
                return True
            context = context.outer_context
        graph = getattr(graph, "outer_graph", None)
    return False


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


def _select_parts(parts, keep, xla):
    """The masks of several rows of keys that are chosen from as if they were one."""
    wide = parts[0].dtype
    sizes = [part.shape[0] for part in parts]
    parts = [
        tf.pad(part, [[0, -size % _ROW]], constant_values=wide.min) if size % _ROW else part
        for part, size in zip(parts, sizes, strict=True)
    ]
    rows = [tf.reshape(part, [-1, _ROW]) for part in parts]
    cut, excess, at_least, above = _cut(parts, sizes, rows, tf.maximum(keep, 1), xla)
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
        if xla:
            late = tf.range(length, dtype=tf.int64) >= first
            return (keys > cut) | (~late & (keys == cut))
        first = tf.clip_by_value(first, 0, length)
        return tf.ensure_shape(tf.concat([keys[:first] >= cut, keys[first:] > cut], 0), [length])

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


def _cut(parts, sizes, rows, keep, xla):
    """Return the `keep`-th largest key, how many keys too many reach it, and, if any, how many
    keys of each row reach it and exceed it."""
    wide = parts[0].dtype
    size = sum(sizes)
    if size <= _SMALL and not xla:
        joint = tf.concat(parts, 0)
        cut = tf.raw_ops.NthElement(input=joint, n=tf.cast(keep - 1, tf.int32), reverse=True)
        at_least = _per_row([part >= cut for part in rows])
        return cut, _total(at_least) - keep, at_least, _per_row([part > cut for part in rows])
    left, right = _bracket(parts, sizes, keep, xla)
    limit = 0 if xla else size // 16

    def unproven(step, low, high, at_low, above, inside, excess):
        return (low < high) & (inside > limit) & (excess > 0)

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
    if xla:
        return low, excess, at_low, above

    def ranked():
        differs = at_low != above
        where = tf.where(differs)
        some = tf.split(differs, [part.shape[0] for part in rows])
        near = [tf.gather_nd(part, tf.where(one)) for part, one in zip(rows, some, strict=True)]
        found = tf.concat(
            [tf.gather_nd(part, tf.where((part >= low) & (part <= high))) for part in near], 0
        )
        place = keep - 1 - _total(above)
        cut = tf.raw_ops.NthElement(input=found, n=tf.cast(place, tf.int32), reverse=True)
        excess = tf.math.count_nonzero(found >= cut) - 1 - place

        def plus(compare):
            more = _per_row([compare(part, cut) & (part <= high) for part in near])
            return tf.tensor_scatter_nd_add(above, where, more)

        return (
            cut,
            excess,
            *tf.cond(
                excess > 0,
                lambda: (plus(tf.greater_equal), plus(tf.greater)),
                lambda: (above, above),
            ),
        )

    proven = (low == high) | (excess == 0)
    return tf.cond(proven, lambda: (low, excess, at_low, above), ranked)


def _middle(low, high):
    """The average, rounded up, without overflow."""
    half = tf.bitwise.right_shift(tf.bitwise.bitwise_xor(low, high), tf.ones_like(low))
    return tf.bitwise.bitwise_or(low, high) - half


def _bracket(parts, sizes, keep, xla):
    """Return two keys of a sample that very likely lie on both sides of the cut."""
    size, wide = sum(sizes), parts[0].dtype
    step = stride(size, 8 if xla else 32)
    sample = tf.concat([part[:own:step] for part, own in zip(parts, sizes, strict=True)], 0)
    count = sample.shape[0]
    share = tf.cast(keep, tf.float64) / size
    place, spread = share * count, 3 * tf.sqrt(share * (1 - share) * count) + 3
    after, before = tf.cast(place + spread, tf.int32), tf.cast(tf.floor(place - spread), tf.int32)
    at = tf.clip_by_value(tf.stack([after, before]), 0, count - 1)
    if xla:
        found = tf.gather(tf.sort(sample, direction="DESCENDING"), at)
    else:
        found = [tf.raw_ops.NthElement(input=sample, n=n, reverse=True) for n in tf.unstack(at)]
    left = tf.where(after < count, found[0], wide.min)
    return left, tf.where(before >= 0, found[1], wide.max)


def _select_rows(rows, keep, xla):
    """Rows that are long, or of a length not known while tracing."""
    alike = keep.shape.rank == 0 and rows.shape[1]  # its operation takes one place, of some
    cut = _cuts(rows, keep) if alike and not xla else _cuts_by_bits(rows, keep)
    at_least = (rows >= cut) & (keep > 0)

    def without_last_ties():
        above, ties = rows > cut, rows == cut
        left = keep - tf.reduce_sum(tf.cast(above, tf.int64), 1, keepdims=True)
        return above | (ties & (tf.cumsum(tf.cast(ties, tf.int64), 1) <= left))

    exact = tf.reduce_all(tf.math.count_nonzero(at_least, 1, keepdims=True) <= keep)
    return tf.cond(exact, lambda: at_least, without_last_ties)


def _cuts(rows, keep):
    """The `keep`-th largest key of each row, of the same place in all of them."""
    place = tf.cast(tf.maximum(keep - 1, 0), tf.int32)
    return tf.raw_ops.NthElement(input=rows, n=place, reverse=True)[:, None]


def _cuts_by_bits(rows, keep):
    """The same, of any place in each of them: all rows are bisected together."""
    low = tf.fill([tf.shape(rows)[0], 1], tf.constant(rows.dtype.min, rows.dtype))
    high = tf.fill([tf.shape(rows)[0], 1], tf.constant(rows.dtype.max, rows.dtype))

    def halve(low, high):
        middle = _middle(low, high)
        count = tf.reduce_sum(tf.cast(rows >= middle, tf.int64), 1, keepdims=True)
        return tf.where(count >= keep, middle, low), tf.where(count >= keep, high, middle - 1)

    return tf.while_loop(lambda low, high: tf.reduce_any(low < high), halve, [low, high])[0]
