# SPDX-License-Identifier: Apache-2.0
"""A pruned array as one bit for each element and the elements that are not zero."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

__all__ = ["Bitmap", "bitmap", "unpacked"]


@dataclass(frozen=True)
class Bitmap:
    """A packed array: `bits` one bit for each element, most significant first, set where the
    element is kept; `values` the kept ones in order."""

    bits: bytes
    values: np.ndarray

    @property
    def nbytes(self) -> int:
        """Bytes of bitmap and values."""
        return len(self.bits) + self.values.nbytes


def bitmap(array: np.ndarray, zero: np.ndarray | int = 0) -> Bitmap:
    """Keep the elements that differ from the number that stands for zero.

    A float -0.0 is none of them, and is 0.0 when it is unpacked: masks leave one wherever they cut
    a negative weight.

    Args:
        array: a tensor as it is stored, any shape.
        zero: the stored number that means 0 (the zero point), or one for each channel, of a
            shape that broadcasts to the array's.

    Example:
        >>> bitmap(np.array([[0, 7, 0], [0, 0, -9]], np.int8))
        Bitmap(bits=b'D', values=array([ 7, -9], dtype=int8))
    """
    kept = (array != zero).reshape(-1)
    return Bitmap(np.packbits(kept).tobytes(), array.reshape(-1)[kept])


def unpacked(packed: Bitmap, shape: tuple[int, ...], zero: np.ndarray | int = 0) -> np.ndarray:
    """The array again, with 0.0 for every -0.0; the inverse of `bitmap`.

    Example:
        >>> unpacked(Bitmap(b"D", np.array([7, -9], np.int8)), (2, 3))
        array([[ 0,  7,  0],
               [ 0,  0, -9]], dtype=int8)
    """
    result = np.broadcast_to(np.asarray(zero, packed.values.dtype), shape).copy().reshape(-1)
    kept = np.unpackbits(np.frombuffer(packed.bits, np.uint8), count=result.size).astype(bool)
    result[kept] = packed.values
    return result.reshape(shape)
