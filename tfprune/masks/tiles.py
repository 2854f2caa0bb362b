# SPDX-License-Identifier: Apache-2.0
"""A kernel as a matrix cut into tiles: the one mechanism behind every structure."""

import math
from typing import Any, NamedTuple

import numpy as np

from tfprune.masks.array_namespace import namespace
from tfprune.masks.kernel_layout import Layout


class View(NamedTuple):
    """A kernel, its axes permuted, reshaped to a matrix [rows, columns], cut into tiles [a, b].

    Tiles start at the first row and column; those at the far edges may be smaller.

    Args:
        axes: Permutation of the kernel's axes.
        matrix: (rows, columns).
        tile: (a, b).

    >>> view = View((1, 0), (2, 3), (1, 2))  # Dense W[3, 2], rows of two inputs
    >>> view.tiles, view.sizes.tolist()
    ((2, 2), [[2, 1], [2, 1]])
    """

    axes: tuple[int, ...]
    matrix: tuple[int, int]
    tile: tuple[int, int]

    @classmethod
    def along(cls, members: tuple[int, ...], shape: tuple[int, ...], layout: Layout) -> "View":
        """Groups that extend along whole axes, the members, one for each index of the others.

        Raises:
            ValueError: If the shape does not fit the layout.
        """
        layout.matrix_shape(shape)
        others = tuple(axis for axis in range(len(shape)) if axis not in members)
        rows, columns = (math.prod(shape[axis] for axis in axes) for axes in (members, others))
        if others + members == tuple(range(len(shape))):  # without a transposition
            return cls(others + members, (columns, rows), (1, rows))
        return cls(members + others, (rows, columns), (rows, 1))

    @property
    def tiles(self) -> tuple[int, int]:
        """Number of tiles down and across."""
        (rows, columns), (down, across) = self.matrix, self.tile
        return -(-rows // down), -(-columns // across)

    @property
    def missing(self) -> tuple[int, int]:
        """How much the last tiles lack, down and across."""
        (rows, columns), (down, across) = self.matrix, self.tile
        return -rows % down, -columns % across

    @property
    def sizes(self) -> np.ndarray:
        """Entries of each tile, int64 [tiles down, tiles across]."""
        rows, columns = (
            np.full(count, step, np.int64)
            for count, step in zip(self.tiles, self.tile, strict=True)
        )
        rows[-1] -= self.missing[0]
        columns[-1] -= self.missing[1]
        return np.outer(rows, columns)

    def split(self, array: Any, fill: float) -> Any:
        """Kernel -> [tiles down, a, tiles across, b]; `fill` stands where edge tiles lack."""
        xp = namespace(array)
        if not self._ordered:
            array = xp.transpose(array, self.axes)
        array = xp.reshape(array, self.matrix)
        if any(self.missing):
            array = xp.pad(array, [(0, count) for count in self.missing], constant_values=fill)
        (down, across), (a, b) = self.tiles, self.tile
        return xp.reshape(array, (down, a, across, b))

    def join(self, array: Any, shape: tuple[int, ...]) -> Any:
        """[tiles down, a, tiles across, b], or an axis of 1 in the place of a or b -> kernel."""
        xp = namespace(array)
        (down, across), (a, b) = self.tiles, self.tile
        if (a, b) != (1, 1):
            array = xp.broadcast_to(array, (down, a, across, b))
        if any(self.missing):
            array = xp.reshape(array, (down * a, across * b))[: self.matrix[0], : self.matrix[1]]
        array = xp.reshape(array, tuple(shape[axis] for axis in self.axes))
        if self._ordered:
            return array
        return xp.transpose(array, tuple(int(axis) for axis in np.argsort(self.axes)))

    @property
    def _ordered(self):
        return list(self.axes) == sorted(self.axes)


def to_matrix(kernel: Any, layout: Layout) -> Any:
    """Kernel -> TFLite's matrix [outputs, columns], columns spatial first and inputs last.

    >>> from tfprune.masks.kernel_layout import DENSE
    >>> to_matrix(np.array([[1, 5], [2, 6], [9, 0]]), DENSE)
    array([[1, 2, 9],
           [5, 6, 0]])
    """
    matrix = layout.matrix_shape(tuple(kernel.shape))
    return namespace(kernel).reshape(
        View(layout.matrix_axes, matrix, matrix).split(kernel, 0), matrix
    )


def from_matrix(matrix: Any, shape: tuple[int, ...], layout: Layout) -> Any:
    """TFLite's matrix [outputs, columns] -> kernel of this shape.

    >>> from tfprune.masks.kernel_layout import DENSE
    >>> from_matrix(np.array([[1, 2, 9], [5, 6, 0]]), (3, 2), DENSE).tolist()
    [[1, 5], [2, 6], [9, 0]]
    """
    size = layout.matrix_shape(shape)
    wide = namespace(matrix).reshape(matrix, (1, size[0], 1, size[1]))
    return View(layout.matrix_axes, size, size).join(wide, tuple(shape))
