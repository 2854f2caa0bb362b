# SPDX-License-Identifier: Apache-2.0
"""Single weights, rows of consecutive ones, and blocks of the matrix that TFLite sees."""

import math
from dataclasses import dataclass

from tfprune.masks.array_namespace import namespace
from tfprune.masks.kernel_layout import Layout, View
from tfprune.masks.serialization import register
from tfprune.masks.structures.base import Structure, check_length, check_pooling

PADDED = 16  # what hardware pads a row to that a layer has too few input channels for


@register
@dataclass(frozen=True)
class Element(Structure):
    """Every weight on its own: groups = entries, in the kernel's own order.

    >>> import numpy as np
    >>> from tfprune.masks.kernel_layout import DENSE
    >>> Element().reduce(np.array([[3.0, 1.0], [2.0, 4.0]]), DENSE)
    array([3., 1., 2., 4.])
    """

    def _view(self, shape, layout):
        return View.along((), shape, layout)


@register
@dataclass(frozen=True)
class NofM(Structure):
    """Keeps n of every m consecutive weights along the input channels.

    The rows of m lie within one output channel and one spatial position, as the hardware for 2:4
    wants them. A last row that is shorter keeps min(n, its length); where it is the only one, m may
    be up to 16, to which hardware pads, and a layer that has less for a longer row stays dense,
    named in the report. TF-MOT's `sparsity_m_by_n=(m,
    n)` counts m *zeros* among n: (1, 4) there is NofM(3, 4).

    Paper: Zhou et al., Learning N:M Fine-grained Structured Sparse Neural Networks From Scratch,
    arXiv 2102.04010.

    Args:
        n: Weights kept in each row.
        m: Length of a row.

    Raises:
        ValueError: If not 0 < n < m.

    >>> import numpy as np
    >>> from tfprune.masks.kernel_layout import DENSE
    >>> NofM(2, 4).reduce(np.arange(6.0).reshape(6, 1), DENSE)
    array([[  0.,   1.,   2.,   3.],
           [  4.,   5., -inf, -inf]])
    """

    n: int
    m: int

    def __post_init__(self):
        check_length("NofM(m=...)", self.m, 2)
        check_length("NofM(n=...)", self.n, 1)
        if self.n >= self.m:
            raise ValueError(
                f"NofM({self.n}, {self.m}) keeps all: expected 0 < n < m. n counts "
                "the weights that stay (TF-MOT's first number counts the zeros)."
            )

    @property
    def fixed(self) -> int:
        """The number kept in each row."""
        return self.n

    @property
    def within(self) -> int:
        """The same: the candidates are the weights of the row."""
        return self.n

    @property
    def sparsity(self) -> float:
        """The fraction removed, 1 - n/m, where no row is shorter."""
        return 1 - self.n / self.m

    def reduce(self, scores, layout):
        xp = namespace(scores)
        scores = xp.asarray(scores)
        view = self._view(tuple(scores.shape), layout)
        if view.missing[1]:  # NaN ranks below -inf: it must not lose its place to the padding
            lowest = xp.asarray(-math.inf, scores.dtype)
            scores = xp.where(xp.isnan(scores), lowest, scores)
        return xp.reshape(view.split(scores, -math.inf), (-1, self.m))

    def _lacks(self, layout):
        if set(layout.inputs) <= set(layout.outputs):
            return "no input channels are summed in it, so there are no rows of m weights"
        return None

    def supports(self, shape, layout):
        return super().supports(shape, layout) or self._too_long(_inputs(shape, layout))

    def _too_long(self, channels):
        if self.m <= max(channels, PADDED):
            return None
        return f"rows of m={self.m} weights are longer than its {channels} input channels"

    def _view(self, shape, layout):
        layout.matrix_shape(shape)
        channels = _inputs(shape, layout)
        if self._too_long(channels):  # padding could take any amount of memory
            raise ValueError(f"{self}: {self._too_long(channels)}.")
        return View(layout.matrix_axes, (math.prod(shape) // channels, channels), (1, self.m))


def _inputs(shape, layout):
    return math.prod(shape[axis] for axis in layout.inputs if axis not in layout.outputs)


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
