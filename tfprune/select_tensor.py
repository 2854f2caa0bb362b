"""The TensorFlow form of `select`: the same algorithm and the same masks, in graph operations."""

from __future__ import annotations

from typing import Any

import numpy as np
import tensorflow as tf

from tfprune.select import SHORT, check_keep, check_scores, rank, stride

_SMALL = 1 << 16  # up to this length a sample does not pay
_ROW = 32  # keys are counted in rows of this length, so that an int8 can hold the count


def select_tensor(scores: Any, keep: Any, xla: bool | None = None) -> tf.Tensor:
    """Return the mask for a tensor of scores; see `tfprune.select.select`.

    `xla` asks for the form with static shapes, which is slower outside XLA; None finds out by
    itself whether the graph is being traced for `jit_compile=True`.
    """
    scores = tf.convert_to_tensor(scores)
    check_scores(scores.dtype.name, scores.shape)
    keep = _counts(keep, scores.shape)
    shape = tf.shape(scores)
    keep = tf.clip_by_value(keep, 0, tf.cast(shape[-1], tf.int64))
    xla = _in_xla() if xla is None else xla
    keys = _keys(scores)
    groups = scores.shape[-1]
    if scores.shape.rank == 1 and groups is not None and groups > 0:
        return _select_row(keys, keep, groups, xla)
    rows = tf.reshape(keys, tf.stack([-1, shape[-1]])) if scores.shape.rank > 1 else keys[None]
    if groups is not None and 0 < groups <= SHORT:
        mask = tf.transpose(tf.cast(rank(tf.transpose(rows), tf.cast), tf.int64))
        mask = mask < (keep if keep.shape.rank == 0 else keep[:, None])
    else:
        mask = _select_rows(rows, keep if keep.shape.rank == 0 else keep[:, None])
    return tf.reshape(mask, shape)


def _counts(keep, shape):
    """Check `keep` as far as it is known while tracing: -> int64, scalar or [rows]."""
    if tf.is_tensor(keep) or isinstance(keep, tf.Variable):
        if not keep.dtype.is_integer:
            raise TypeError(f"keep is {keep.dtype.name}; expected an integer count per row")
    else:
        check_keep(keep, shape)
    keep = tf.cast(keep, tf.int64)
    return keep if keep.shape.rank == 0 else tf.reshape(keep, [-1])


def _in_xla():
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


def _keys(scores):
    """Map scores to integers in the same order: NaN the lowest, both zeros equal."""
    size = scores.dtype.size
    wide = tf.int64 if size == 8 else tf.int32
    unsigned = {2: tf.uint16, 4: tf.uint32, 8: tf.uint64}[size]
    bits = tf.bitcast(scores, {2: tf.int16, 4: tf.int32, 8: tf.int64}[size])
    infinity = tf.bitcast(tf.constant(np.inf, scores.dtype), bits.dtype)
    keys = tf.cast(bits, wide)

    def ordered():
        magnitude = tf.bitwise.bitwise_and(keys, tf.constant(2 ** (8 * size - 1) - 1, wide))
        signed = tf.where(keys < 0, -magnitude, magnitude)
        return tf.where(magnitude > tf.cast(infinity, wide), -wide.max, signed)

    # Floats from 0 to infinity, such as magnitudes, need no more than this one pass.
    largest = tf.reduce_max(tf.bitcast(scores, unsigned))
    plain = largest <= tf.bitcast(infinity, unsigned)
    return tf.cond(plain, lambda: keys, ordered)


def _select_row(keys, keep, size, xla):
    wide = keys.dtype
    spare = -size % _ROW
    if spare:
        keys = tf.pad(keys, [[0, spare]], constant_values=wide.min)
    rows = tf.reshape(keys, [-1, _ROW])
    cut, excess, at_least, above = _cut(keys, rows, tf.maximum(keep, 1), size, xla)
    cut, excess = tf.where(keep > 0, cut, wide.max), tf.where(keep > 0, excess, 0)

    def without_last_ties():
        until = tf.cumsum(tf.cast(at_least - above, tf.int64))  # ties up to the end of each row
        left = until[-1] - excess
        row = tf.reduce_sum(tf.cast(until < left, tf.int64))
        inner = tf.cumsum(tf.cast(tf.gather(rows, row) == cut, tf.int64))
        left -= tf.gather(until, row) - inner[-1]
        first = row * _ROW + tf.reduce_sum(tf.cast(inner <= left, tf.int64))
        if xla:
            late = tf.range(size + spare, dtype=tf.int64) >= first
            return (keys > cut) | (~late & (keys == cut))
        return tf.concat([keys[:first] >= cut, keys[first:] > cut], 0)

    mask = tf.cond(excess > 0, without_last_ties, lambda: keys >= cut)
    return tf.ensure_shape(mask, [size + spare])[:size]


def _per_row(bits):
    return tf.reduce_sum(tf.cast(bits, tf.int8), 1)


def _total(per_row):
    return tf.cast(tf.reduce_sum(tf.cast(per_row, tf.int32)), tf.int64)


def _cut(keys, rows, keep, size, xla):
    """Return the `keep`-th largest key, how many keys too many reach it, and, if any, how many
    keys of each row reach it and exceed it."""
    wide = keys.dtype
    if size <= _SMALL and not xla:
        cut = tf.raw_ops.NthElement(input=keys, n=tf.cast(keep - 1, tf.int32), reverse=True)
        at_least = _per_row(rows >= cut)
        return cut, _total(at_least) - keep, at_least, _per_row(rows > cut)
    left, right = _bracket(keys, keep, size, xla)
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
        counts = _per_row(rows >= probe)
        enough = _total(counts) >= keep
        low, high = tf.where(enough, probe, low), tf.where(enough, high, probe - 1)
        at_low, above = tf.where(enough, counts, at_low), tf.where(enough, above, counts)
        reach = _total(at_low)
        return step + 1, low, high, at_low, above, reach - _total(above), reach - keep

    every = tf.fill([rows.shape[0]], tf.constant(_ROW, tf.int8))
    whole = tf.constant(size, tf.int64)
    ends = tf.constant(wide.min, wide), tf.constant(wide.max, wide)
    state = (tf.constant(0), *ends, every, tf.zeros_like(every), whole, whole)
    _, low, high, at_low, above, _, excess = tf.while_loop(unproven, prove, state)
    if xla:
        return low, excess, at_low, above

    def ranked():
        where = tf.where(at_low != above)
        near = tf.gather(rows, where[:, 0])
        found = tf.boolean_mask(near, (near >= low) & (near <= high))
        place = keep - 1 - _total(above)
        cut = tf.raw_ops.NthElement(input=found, n=tf.cast(place, tf.int32), reverse=True)
        excess = tf.math.count_nonzero(found >= cut) - 1 - place

        def plus(bits):
            return tf.tensor_scatter_nd_add(above, where, _per_row(bits & (near <= high)))

        return cut, excess, *tf.cond(
            excess > 0, lambda: (plus(near >= cut), plus(near > cut)), lambda: (above, above)
        )

    proven = (low == high) | (excess == 0)
    return tf.cond(proven, lambda: (low, excess, at_low, above), ranked)


def _middle(low, high):
    """The average, rounded up, without overflow."""
    half = tf.bitwise.right_shift(tf.bitwise.bitwise_xor(low, high), tf.ones_like(low))
    return tf.bitwise.bitwise_or(low, high) - half


def _bracket(keys, keep, size, xla):
    """Return two keys of a sample that very likely lie on both sides of the cut."""
    sample = keys[: size : stride(size, 8 if xla else 32)]
    count = sample.shape[0]
    part = tf.cast(keep, tf.float64) / size
    place, spread = part * count, 3 * tf.sqrt(part * (1 - part) * count) + 3
    after, before = tf.cast(place + spread, tf.int32), tf.cast(tf.floor(place - spread), tf.int32)
    at = tf.clip_by_value(tf.stack([after, before]), 0, count - 1)
    if xla:
        found = tf.gather(tf.sort(sample, direction="DESCENDING"), at)
    else:
        found = [tf.raw_ops.NthElement(input=sample, n=n, reverse=True) for n in tf.unstack(at)]
    left = tf.where(after < count, found[0], keys.dtype.min)
    return left, tf.where(before >= 0, found[1], keys.dtype.max)


def _select_rows(rows, keep):
    """Rows that are long, or of a length not known while tracing: bisect all rows together."""
    low = tf.fill([tf.shape(rows)[0], 1], tf.constant(rows.dtype.min, rows.dtype))
    high = tf.fill([tf.shape(rows)[0], 1], tf.constant(rows.dtype.max, rows.dtype))

    def halve(low, high):
        middle = _middle(low, high)
        count = tf.reduce_sum(tf.cast(rows >= middle, tf.int64), 1, keepdims=True)
        return tf.where(count >= keep, middle, low), tf.where(count >= keep, high, middle - 1)

    cut, _ = tf.while_loop(lambda low, high: tf.reduce_any(low < high), halve, [low, high])
    above, ties = rows > cut, rows == cut
    left = keep - tf.reduce_sum(tf.cast(above, tf.int64), 1, keepdims=True)
    return above | (ties & (tf.cumsum(tf.cast(ties, tf.int64), 1) <= left))
