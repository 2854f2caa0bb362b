# SPDX-License-Identifier: Apache-2.0
"""Scores as unsigned integers in the same order, made block by block."""

from __future__ import annotations

from typing import Sequence

import numpy as np


class Scores:
    """One row of scores, or several that are ranked as one, seen as keys.

    The bits of floats from 0 to infinity have the order of the numbers. With them
    key(s) = 2 + bits(inf) + bits(|s|) sign(s), and 1 for NaN: both zeros have one key. Keys are
    made when they are asked for, since those of all scores would take their memory once more.

    Args:
        parts: floating arrays [groups] of one dtype.
        magnitude: rank |scores|.
    """

    def __init__(self, parts: Sequence[np.ndarray], magnitude: bool):
        self.magnitude = magnitude
        dtype = parts[0].dtype
        self.unsigned = np.dtype(f"uint{8 * dtype.itemsize}")
        self._parts = [part.view(self.unsigned) for part in parts]
        self.ends = np.cumsum([len(part) for part in parts])
        self._infinity = int(np.asarray(np.inf, dtype).view(self.unsigned))
        self._magnitude_bits = 2 ** (8 * dtype.itemsize - 1) - 1
        self.zero = 2 + self._infinity

    @property
    def size(self) -> int:
        return int(self.ends[-1])

    @property
    def top(self) -> int:
        """The highest key, that of infinity."""
        return self.zero + self._infinity

    def keys(self) -> np.ndarray:
        """The keys of all scores."""
        return self._ordered(self._bits(0, self.size, np.empty(self.size, self.unsigned)))

    def sample(self, step: int) -> np.ndarray:
        """The keys of every `step`-th score of each part."""
        return self._ordered(np.concatenate([part[::step] for part in self._parts]))

    def above(self, start: int, stop: int, low: int, scratch: np.ndarray) -> np.ndarray:
        """key - low of the scores start ... stop - 1, more than top - low for keys below low.

        Args:
            start: first index.
            stop: last index + 1; fewer where the scores end.
            low: a key.
            scratch: what is written to, of the dtype of keys.
        """
        stop = min(stop, self.size)
        bits, out = self._bits(start, stop, scratch), scratch[: stop - start]
        if low < self.zero + (not self.magnitude):
            return np.subtract(self._ordered(bits), self.unsigned.type(low), out=out)
        # Above zero, bits are in order, and those of negative numbers and NaN are too high.
        if self.magnitude:
            bits = np.bitwise_and(bits, self.unsigned.type(self._magnitude_bits), out=out)
        return np.subtract(bits, self.unsigned.type(low - self.zero), out=out)

    def _bits(self, start, stop, scratch):
        """The bits of some scores: a view, unless several parts have to be put together."""
        first = int(np.searchsorted(self.ends, start, "right"))
        if stop <= self.ends[first]:
            begin = int(self.ends[first]) - len(self._parts[first])
            return self._parts[first][start - begin : stop - begin]
        done = 0
        while start + done < stop:
            begin = int(self.ends[first]) - len(self._parts[first])
            piece = self._parts[first][start + done - begin : stop - begin]
            scratch[done : done + len(piece)] = piece
            done, first = done + len(piece), first + 1
        return scratch[:done]

    def _ordered(self, bits):
        sizes = bits & self.unsigned.type(self._magnitude_bits)
        keys = sizes + self.unsigned.type(self.zero)
        if not self.magnitude:
            np.subtract(self.unsigned.type(self.zero), sizes, out=keys, where=bits != sizes)
        keys[sizes > self._infinity] = 1
        return keys
