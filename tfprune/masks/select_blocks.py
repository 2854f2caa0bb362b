# SPDX-License-Identifier: Apache-2.0
"""Chooses from long rows in one pass, block by block, on all cores.

A sorted sample brackets the cut. Each block of keys, which stays in the cache, gives its part of
the mask, counts the keys above the bracket, and notes where those inside it are; only these few are
ranked. A sample that misleads costs further passes, never exactness.
"""

from __future__ import annotations

import itertools
import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Callable

import numpy as np

from tfprune.masks.score_keys import Scores

BLOCK = 1 << 17  # keys of a block: what is made of it fits into the cache of a core
_FEW = 16  # a bracket is ranked if at most one of so many keys is in it
_ALONE = 2  # up to so many blocks are not worth a second thread
_GUESSES = 4  # passes that trust the sample

_pool: ThreadPoolExecutor | None = None


@dataclass
class _Found:
    """What one block holds, below a bracket and in it.

    Attributes:
        reach: how many keys reach the lower end of the bracket.
        inside: how many of them are in the bracket.
        places: where those inside are; None if they are too many to be noted.
        keys: theirs, counted from the lower end.
    """

    reach: int
    inside: int
    places: np.ndarray | None = None
    keys: np.ndarray | None = None


def choose(scores: Scores, keep: int) -> np.ndarray:
    """Return the mask of the `keep` best scores, 0 < keep < size; ties by the lower index."""
    mask = np.empty(scores.size, bool)
    sample = np.sort(scores.sample(stride(scores.size)))
    first, last = 1, scores.top  # the cut is in first ... last
    reach, above = scores.size, 0  # keys that reach first, keys above last
    for step in itertools.count():
        low, high = first, last
        if first < last and reach - above > scores.size // _FEW:
            sample = sample[slice(*_positions(sample, first, last + 1))]
            if step < _GUESSES and len(sample):
                low, high = _bracket(sample, (keep - above) / (reach - above), first, last)
            else:
                low = first + (last - first + 1) // 2
        found = _pass(scores, mask, low, high)
        enough = sum(one.reach for one in found)
        beyond = enough - sum(one.inside for one in found)
        if enough < keep:
            last, above = low - 1, enough
        elif beyond >= keep:
            first, reach = high + 1, beyond
        elif low == high:
            _drop_last(scores, mask, found, low, enough - keep)
            return mask
        elif all(one.places is not None for one in found):
            _drop_lowest(mask, found, keep - beyond)
            return mask
        else:
            first, last, reach, above = low, high, enough, beyond
    raise AssertionError("unreachable")


def best(keys: np.ndarray, keep: int) -> np.ndarray:
    """Return the mask of the `keep` highest keys, 0 < keep <= len(keys), by sorting them."""
    cut = np.sort(keys)[len(keys) - keep]
    mask = keys >= cut
    excess = np.count_nonzero(mask) - keep
    if excess:
        mask[np.flatnonzero(keys == cut)[-excess:]] = False
    return mask


def stride(size: int) -> int:
    """Return the step of the sample, of about 2 size^(2/3) keys: to sort them takes as long as to
    rank those in the bracket. It is odd, to meet every column."""
    return max(int(size ** (1 / 3) / 2), 1) | 1


def _bracket(sample, share, first, last):
    """Two keys of first ... last that very likely lie on both sides of the cut, or both on it."""
    count = len(sample)
    place = share * count  # of the cut, from above
    around = 2.5 * (place * (1 - share)) ** 0.5 + 2.5

    def at(place, outside):
        return int(sample[-1 - int(place)]) if 0 <= place < count else outside

    def run(key):  # how many are above it, and how often it is repeated
        begin, end = _positions(sample, key, key + 1)
        return count - end, end - begin

    left, guess, right = at(place + around, first), at(place, first), at(place - around, last)
    # A value that is repeated many times is either the bracket or left out of it: if it is the
    # cut after all, the next pass is for it.
    before, repeated = run(guess)
    if repeated > around:
        deep = place - before > around or run(right)[1] > around
        return (guess, guess) if deep else (guess + 1, right)
    return left + int(run(left)[1] > around), right - int(run(right)[1] > around)


def _positions(ordered, *keys):
    """Where keys would stand among ordered ones; the dtype stays, in which all are exact."""
    return np.searchsorted(ordered, np.array(keys, ordered.dtype)).tolist()


def _pass(scores, mask, low, high):
    """Write mask = (key >= low), and return what is found in each block."""

    def work(start, scratch, bits):
        keys = scores.above(start, start + BLOCK, low, scratch)
        part, inside = mask[start : start + len(keys)], bits[: len(keys)]
        np.less_equal(keys, keys.dtype.type(scores.top - low), out=part)
        np.less_equal(keys, keys.dtype.type(high - low), out=inside)
        found[start // BLOCK] = one = _Found(np.count_nonzero(part), np.count_nonzero(inside))
        room[0] -= one.inside
        if room[0] >= 0:
            bits[len(keys) :] = False
            one.places = _places(bits)
            one.keys = keys[one.places]

    room = [scores.size // _FEW]
    found = [None] * -(-scores.size // BLOCK)
    _everywhere(scores, range(0, scores.size, BLOCK), work)
    return found


def _places(bits):
    """Indices of what is True. NumPy is slow where few are: these are looked for by eights."""
    if len(bits) % 8 or np.count_nonzero(bits) > len(bits) // 8:
        return bits.nonzero()[0]
    eights = bits.view(np.uint64)
    some = _places(eights != 0)
    inner = eights[some].view(bool).nonzero()[0]
    return (some[inner >> 3] << 3) + (inner & 7)


def _drop_lowest(mask, found, keep):
    """Of the noted keys only the `keep` highest stay."""
    kept = best(np.concatenate([one.keys for one in found]), keep)
    stop = 0
    for number, one in enumerate(found):
        start, stop = stop, stop + len(one.places)
        mask[number * BLOCK + one.places[~kept[start:stop]]] = False


def _drop_last(scores, mask, found, cut, excess):
    """Of the keys that equal the cut the last `excess` go."""
    whole = []
    for number in reversed(range(len(found))):
        one, start = found[number], number * BLOCK
        gone = min(excess, one.inside)
        excess -= gone
        if one.places is None and gone == one.inside:
            whole.append(start)
        elif gone:
            places = one.places
            if places is None:
                scratch = np.empty(BLOCK, scores.unsigned)
                places = np.flatnonzero(scores.above(start, start + BLOCK, cut, scratch) == 0)
            mask[start + places[-gone:]] = False

    def work(start, scratch, bits):
        keys = scores.above(start, start + BLOCK, cut, scratch)
        part, differs = mask[start : start + len(keys)], bits[: len(keys)]
        np.not_equal(keys, 0, out=differs)
        np.logical_and(part, differs, out=part)

    _everywhere(scores, whole, work)


def _everywhere(scores, starts, work: Callable) -> None:
    """Call `work` for each block, on this thread and on helpers, if there is enough to do."""
    left = iter(starts)

    def run():
        scratch = np.empty(BLOCK, scores.unsigned)
        bits = np.empty(len(scratch), bool)
        for start in left:
            work(start, scratch, bits)

    helpers = []
    if len(starts) > _ALONE:
        try:
            helpers = [_helpers().submit(run) for _ in range(_cores() - 1)]
        except RuntimeError:  # no more threads: at the end of the process, or at a limit
            pass
    run()
    for helper in helpers:
        if not helper.cancel():
            helper.result()


def _cores() -> int:
    """How many cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _helpers() -> ThreadPoolExecutor:
    global _pool
    if _pool is None:
        _pool = ThreadPoolExecutor(max(_cores() - 1, 1), thread_name_prefix="select")
    return _pool


def _forget_helpers() -> None:
    global _pool
    _pool = None  # threads do not live on in a forked process


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_helpers)
