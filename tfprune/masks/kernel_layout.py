# SPDX-License-Identifier: Apache-2.0
"""The axes of a kernel: which are output channels, which input channels, which spatial.

Everything that depends on the order of a kernel's axes asks a `Layout`; no other module knows
how Keras stores a kernel. The matrix of a kernel is the one that TFLite sees: one row for each
output channel, columns spatial first and input channels last (OHWI).
"""

import math
from dataclasses import dataclass

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
