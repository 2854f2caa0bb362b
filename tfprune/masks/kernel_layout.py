# SPDX-License-Identifier: Apache-2.0
"""The axes of a kernel: which are output channels, which input channels, which spatial.

Everything that depends on the order of a kernel's axes asks a `Layout`; no other module knows
how Keras stores a kernel. The matrix of a kernel is the one that TFLite sees: one row for each
output channel, columns spatial first and input channels last (OHWI).
"""

import math
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from tfprune.masks.array_namespace import namespace
from tfprune.masks.serialization import register


@register
@dataclass(frozen=True)
class Layout:
    """Names the axes of a kernel.

    Args:
        outputs: Axes of the output channels.
        inputs: Axes of the input channels. An axis may be in both (depthwise kernels: every
            input channel owns its output channels).
        spatial: Axes of the kernel's positions.

    Raises:
        ValueError: If the axes are not 0, 1, ... without gaps or repetitions.

    >>> conv(2).matrix_shape((3, 3, 16, 32))
    (32, 144)
    """

    outputs: tuple[int, ...]
    inputs: tuple[int, ...]
    spatial: tuple[int, ...] = ()

    def __post_init__(self):
        for name in ("outputs", "inputs", "spatial"):  # lists come back from JSON
            object.__setattr__(self, name, tuple(getattr(self, name)))
        if sorted(self.matrix_axes) != list(range(self.rank)):
            raise ValueError(
                f"{self} must name each axis of the kernel once: 0, 1, ... without gaps "
                "(only an input axis may also be an output axis)."
            )

    @property
    def columns(self) -> tuple[int, ...]:
        """Axes of the matrix's columns: spatial, then the inputs that are not outputs."""
        return self.spatial + tuple(axis for axis in self.inputs if axis not in self.outputs)

    @property
    def matrix_axes(self) -> tuple[int, ...]:
        """The permutation of the kernel's axes that the matrix is a reshape of."""
        return self.outputs + self.columns

    @property
    def rank(self) -> int:
        """Number of axes."""
        return len(self.matrix_axes)

    def matrix_shape(self, shape: tuple[int, ...]) -> tuple[int, int]:
        """(rows, columns) of the matrix of a kernel of this shape.

        Raises:
            ValueError: If the shape has another number of axes than the layout.
        """
        shape = tuple(shape)
        if len(shape) != self.rank:
            raise ValueError(f"Shape {shape} has {len(shape)} axes, but {self} has {self.rank}.")
        return _size(shape, self.outputs), _size(shape, self.columns)


def _size(shape, axes):
    return math.prod(shape[axis] for axis in axes)


DENSE = Layout(outputs=(1,), inputs=(0,))
"""W[in, out]: Dense, and the kernels and recurrent kernels of LSTM, GRU, SimpleRNN."""

EMBEDDING = Layout(outputs=(0,), inputs=(1,))
"""W[vocabulary, dimension]: one token's vector is a row, as TFLite stores it."""


def conv(rank: int) -> Layout:
    """W[*kernel, in, out]: ConvND, ConvLSTM, the pointwise kernel of a separable convolution.

    >>> conv(1)
    Layout(outputs=(2,), inputs=(1,), spatial=(0,))
    """
    return Layout(outputs=(rank + 1,), inputs=(rank,), spatial=tuple(range(rank)))


def conv_transpose(rank: int) -> Layout:
    """W[*kernel, out, in]: ConvNDTranspose."""
    return Layout(outputs=(rank,), inputs=(rank + 1,), spatial=tuple(range(rank)))


def depthwise(rank: int) -> Layout:
    """W[*kernel, in, multiplier]: each (in, multiplier) pair is an output channel."""
    return Layout(outputs=(rank, rank + 1), inputs=(rank,), spatial=tuple(range(rank)))


def locally_connected(rank: int, implementation: int = 1) -> Layout:
    """LocallyConnectedND (tf_keras), whose output positions have kernels of their own.

    W[positions, kernel * in, out] for implementation 1, W[*positions in, in, *positions out,
    out] for 2, W[values] for 3. Positions count as spatial, so that a filter is an output
    channel at all positions.

    Raises:
        ValueError: If the implementation is none of these.

    >>> locally_connected(2)
    Layout(outputs=(2,), inputs=(1,), spatial=(0,))
    """
    if implementation == 1:
        return Layout(outputs=(2,), inputs=(1,), spatial=(0,))
    if implementation == 2:
        positions = tuple(range(rank)) + tuple(range(rank + 1, 2 * rank + 1))
        return Layout(outputs=(2 * rank + 1,), inputs=(rank,), spatial=positions)
    if implementation == 3:
        return of_shape((1,))
    raise ValueError(
        f"implementation={implementation!r} of a locally connected layer is unknown: "
        "expected 1, 2 or 3."
    )


def einsum(equation: str) -> Layout:
    """The kernel of an EinsumDense or MultiHeadAttention layer: the equation's second operand.

    Kernel labels that the result keeps are outputs, the contracted ones inputs.

    Raises:
        ValueError: If the equation is not of the form "inputs,kernel->result".

    >>> einsum("abc,cde->abde")
    Layout(outputs=(1, 2), inputs=(0,), spatial=())
    >>> einsum("...ab,abc->...c")
    Layout(outputs=(2,), inputs=(0, 1), spatial=())
    """
    operands, arrow, result = equation.replace(" ", "").partition("->")
    kernel = operands.partition(",")[2]
    if not arrow or not kernel or not kernel.isalpha() or len(set(kernel)) != len(kernel):
        raise ValueError(
            f"Cannot read the kernel's axes from the equation {equation!r}: expected "
            "the form 'ab,bc->ac', with different labels in the kernel 'bc'."
        )
    axes = range(len(kernel))
    return Layout(
        outputs=tuple(axis for axis in axes if kernel[axis] in result),
        inputs=tuple(axis for axis in axes if kernel[axis] not in result),
    )


def of_shape(shape: tuple[int, ...]) -> Layout:
    """The guess for a layer that nobody knows: rank 2 is dense, 3 to 5 a convolution.

    Any other rank has output axes only, so that entries and blocks can be pruned, channels not.

    >>> of_shape((3, 3, 8, 16)) == conv(2)
    True
    """
    rank = len(shape)
    if rank == 2:
        return DENSE
    if 3 <= rank <= 5:
        return conv(rank - 2)
    return Layout(outputs=tuple(range(rank)), inputs=())


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
