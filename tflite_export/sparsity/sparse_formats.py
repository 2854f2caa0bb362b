# SPDX-License-Identifier: Apache-2.0
"""Arrays <-> the sparse formats of TFLite. Arithmetic only: NumPy in, NumPy out."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

__all__ = ["Sparse", "block", "csr", "decode", "narrow", "smallest_csr"]


@dataclass(frozen=True)
class Sparse:
    """A compressed array.

    `order` is the traversal order: original axes, the compressed one last, then the block axis
    if `width` > 1. `segments` [rows + 1] says where a row starts in `indices`; `indices` has the
    position of every kept entry (or block) in its row; `values` are the kept entries in order.
    """

    shape: tuple[int, ...]
    order: tuple[int, ...]
    width: int
    segments: np.ndarray
    indices: np.ndarray
    values: np.ndarray

    @property
    def nbytes(self) -> int:
        """Bytes of values and index arrays."""
        return self.segments.nbytes + self.indices.nbytes + self.values.nbytes

    @property
    def label(self) -> str:
        """Name of the encoding, as reports print it."""
        return f"block 1x{self.width}" if self.width > 1 else "csr"


def narrow(numbers: np.ndarray) -> np.ndarray:
    """The same integers in the narrowest type that the file format has (uint8, uint16, int32).

    Example:
        >>> narrow(np.array([0, 255])).dtype, narrow(np.array([256])).dtype
        (dtype('uint8'), dtype('uint16'))
    """
    largest = int(numbers.max(initial=0))
    if largest <= np.iinfo(np.uint8).max:
        return numbers.astype(np.uint8)
    if largest <= np.iinfo(np.uint16).max:
        return numbers.astype(np.uint16)
    return numbers.astype(np.int32)


def csr(array: np.ndarray, axis: int = -1) -> Sparse:
    """Keep the non-zero entries, row by row, rows running along `axis`.

    Args:
        array: any shape of rank 1 or more; zero means bit value 0 (or -0.0).
        axis: the axis that is compressed.

    Example:
        >>> packed = csr(np.array([[0, 7, 0], [8, 0, 9]], np.int8))
        >>> packed.segments, packed.indices, packed.values
        (array([0, 1, 3], dtype=uint8), array([1, 0, 2], dtype=uint8), array([7, 8, 9], dtype=int8))
    """
    axis %= array.ndim
    order = tuple(a for a in range(array.ndim) if a != axis) + (axis,)
    matrix = array.transpose(order).reshape(-1, array.shape[axis])
    rows, columns = np.nonzero(matrix)
    return Sparse(
        array.shape, order, 1, _segments(rows, len(matrix)), narrow(columns), matrix[rows, columns]
    )


def smallest_csr(array: np.ndarray) -> Sparse:
    """The smallest of the encodings `csr(array, axis)` over all axes; the last axis wins ties.

    Short rows cost: every row has an entry in `segments`, so a 3x3 kernel with 3 input channels
    is better compressed along its output channels.

    Example:
        >>> kernel = np.zeros((64, 3, 3, 3), np.float32); kernel[5, 1, 1, 2] = 1
        >>> smallest_csr(kernel).order
        (1, 2, 3, 0)
    """
    return min((csr(array, axis) for axis in reversed(range(array.ndim))), key=lambda s: s.nbytes)


def block(matrix: np.ndarray, width: int) -> Sparse:
    """Keep the non-zero blocks of 1 x width of a matrix.

    Args:
        matrix: [rows, columns], columns a multiple of width.
        width: entries per block, at least 2.
    Raises:
        ValueError: not a matrix, or columns not a multiple of width.

    Example:
        >>> block(np.array([[0, 0, 1, 0], [0, 0, 0, 0]], np.int8), 2).values
        array([1, 0], dtype=int8)
    """
    if matrix.ndim != 2 or width < 2 or matrix.shape[1] % width:
        raise ValueError(
            f"got shape {matrix.shape}, expected [rows, columns] with columns a multiple of {width}"
        )
    blocks = matrix.reshape(len(matrix), -1, width)
    rows, columns = np.nonzero(blocks.any(axis=2))
    return Sparse(
        matrix.shape,
        (0, 1, 2),
        width,
        _segments(rows, len(matrix)),
        narrow(columns),
        blocks[rows, columns].reshape(-1),
    )


def decode(sparse: Sparse) -> np.ndarray:
    """The dense array again; the inverse of `csr` and `block`.

    Example:
        >>> decode(csr(np.array([[0, 2], [3, 0]])))
        array([[0, 2],
               [3, 0]])
    """
    axes = sparse.order[: len(sparse.shape)]
    permuted = tuple(sparse.shape[a] for a in axes)
    starts = sparse.segments.astype(np.int64)
    rows = np.repeat(np.arange(len(starts) - 1), starts[1:] - starts[:-1])
    result = np.zeros(
        (len(starts) - 1, permuted[-1] // sparse.width, sparse.width), sparse.values.dtype
    )
    result[rows, sparse.indices.astype(np.int64)] = sparse.values.reshape(-1, sparse.width)
    return result.reshape(permuted).transpose(np.argsort(axes))


def _segments(rows: np.ndarray, count: int) -> np.ndarray:
    return narrow(np.concatenate([[0], np.cumsum(np.bincount(rows, minlength=count))]))
