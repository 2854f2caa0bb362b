# SPDX-License-Identifier: Apache-2.0
"""Random numbers of single images, whichever images stand beside them."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable

import numpy as np


class Draws:
    """One stream of random numbers for each image, told by a purpose and the image's index.

    The streams are those of Philox, a counter with a cipher: the key is (hash of the purpose,
    index), the counter's highest word is the number of the draw. So neither the order nor the
    number of the images changes a bit, and no generator has to be made for each image.

    Args:
        purpose: what the numbers are for; another text gives independent numbers.
        indices: of the images, each from 0 to 2**64 - 1.

    Example:
        >>> both = Draws("noise", [0, 7]).normal(3)
        >>> bool((both[1] == Draws("noise", [7]).normal(3)[0]).all())
        True
    """

    def __init__(self, purpose: str, indices: Iterable[int]):
        digest = hashlib.blake2b(purpose.encode(), digest_size=8).digest()
        self._key = int.from_bytes(digest, "little")
        self._indices = [int(index) for index in indices]
        self._number = 0
        self._bits = np.random.Philox()
        self._generator = np.random.Generator(self._bits)

    def __len__(self) -> int:
        return len(self._indices)

    def normal(self, *shape: int) -> np.ndarray:
        """Standard normal numbers, float32 [images, *shape]."""
        return self._fill(
            np.empty((len(self), *shape), np.float32),
            lambda row, _: self._generator.standard_normal(out=row, dtype=np.float32),
        )

    def uniform(self, low: float, high: float, *shape: int) -> np.ndarray:
        """Numbers from low to high, float32 [images, *shape]."""
        parts = self._fill(
            np.empty((len(self), *shape), np.float32),
            lambda row, _: self._generator.random(out=row, dtype=np.float32),
        )
        return low + parts * np.float32(high - low)

    def poisson(self, means: np.ndarray) -> np.ndarray:
        """Counts of these means [images, ...], float32."""

        def draw(row: np.ndarray, place: int) -> None:
            row[...] = self._generator.poisson(means[place])

        return self._fill(np.empty(means.shape, np.float32), draw)

    def _fill(self, numbers: np.ndarray, draw: Callable[[np.ndarray, int], object]) -> np.ndarray:
        state = self._bits.state
        state["state"]["counter"][:] = (0, 0, 0, self._number)
        state["buffer_pos"], state["has_uint32"], state["uinteger"] = 4, 0, 0  # nothing left over
        for place, index in enumerate(self._indices):
            state["state"]["key"][:] = (self._key, index)
            self._bits.state = state
            draw(numbers[place, ...], place)
        self._number += 1
        return numbers
