# SPDX-License-Identifier: Apache-2.0
"""Blocks of the matrix that TFLite sees."""

from dataclasses import dataclass

from tfprune.masks.kernel_layout import Layout, View
from tfprune.masks.serialization import register
from tfprune.masks.structures.base import Structure, check_length, check_pooling


@register
@dataclass(frozen=True)
class Block(Structure):
    """Blocks of the matrix that TFLite sees, [outputs, spatial and inputs], for any kernel.

    Score of a block: mean, maximum or sum over its entries. Blocks start at the first row and
    column; those at the far edges are smaller and are scored over the entries they have.

    TF-MOT's `block_size=(height, width)` counts on the Keras kernel, for a Dense W[in, out] that
    is Block(rows=width, columns=height): see `of_kernel`. It takes kernels of rank 2 only, fails
    where there is a single row or column of blocks, and where the last block lacks two or more
    entries, it scores windows that are shifted against the blocks it removes (SAME padding puts
    half of the gap in front). Here the two are the same.

    Args:
        rows: Output channels per block.
        columns: Weights per block along spatial positions and input channels.
        pooling: "mean", "max" or "sum".

    Raises:
        ValueError: If a length is below 1 or the pooling is unknown.

    >>> import numpy as np
    >>> from tfprune.masks.kernel_layout import DENSE
    >>> kernel = np.array([[1.0, 5.0], [2.0, 6.0], [9.0, 0.0]])  # [in, out]
    >>> Block(1, 2).reduce(kernel, DENSE)
    array([1.5, 9. , 5.5, 0. ])
    >>> Block(1, 2).expand(np.array([False, True, True, False]), (3, 2), DENSE).astype(int)
    array([[0, 1],
           [0, 1],
           [1, 0]])
    """

    rows: int
    columns: int
    pooling: str = "mean"

    def __post_init__(self):
        for name in ("rows", "columns"):
            check_length(f"Block({name}=...)", getattr(self, name), 1)
        check_pooling(self.pooling)

    @classmethod
    def of_kernel(cls, block_size: tuple[int, int], layout: Layout, pooling: str = "mean"):
        """The block that is `block_size` = (axis 0, axis 1) on a Keras kernel of rank 2.

        Raises:
            ValueError: If the kernel has another rank.

        >>> from tfprune.masks.kernel_layout import DENSE
        >>> Block.of_kernel((4, 1), DENSE)
        Block(rows=1, columns=4, pooling='mean')
        """
        if layout.rank != 2:
            raise ValueError(
                f"block_size={tuple(block_size)} is for kernels with 2 axes, this one "
                f"has {layout.rank}: use Block(rows, columns), on TFLite's matrix."
            )
        height, width = block_size
        rows, columns = (height, width) if layout.matrix_axes == (0, 1) else (width, height)
        return cls(rows, columns, pooling)

    def _view(self, shape, layout):
        matrix = layout.matrix_shape(shape)
        tile = min(self.rows, matrix[0]), min(self.columns, matrix[1])
        return View(layout.matrix_axes, matrix, tile)
