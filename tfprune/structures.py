"""How the entries of a kernel form groups that stay or go together.

    scores of a kernel --reduce--> group scores --select--> group mask --expand--> mask

Every structure is one `View` of the kernel: its axes permuted and reshaped to a matrix, the matrix
cut into tiles. A tile is a group (for `NofM` a row of candidates). `reduce` and `expand` take NumPy
arrays or TensorFlow tensors and return the same kind; with tensors they work in graphs and compile
under XLA. Groups are numbered along the kernel's own axes (`Element`, `Kernel`, `Column`,
`Channel`, `Filter`) or along TFLite's matrix (`Block`, `NofM`).

Group scores are summed in float64 and returned in float32 (float64 for float64 scores), so that
half precision does not overflow and the order of the summation does not show.
"""

import abc
import dataclasses
import math
from dataclasses import dataclass
from numbers import Integral
from typing import Any, ClassVar

import numpy as np

from tfprune.arrays import namespace
from tfprune.configs import register
from tfprune.layouts import Layout
from tfprune.views import View

_POOLINGS = ("mean", "max", "sum")


@dataclass(frozen=True)
class Structure(abc.ABC):
    """Turns scores of entries into scores of groups, and masks of groups into masks of entries."""

    fixed: ClassVar[int | None] = None
    """None: any number of groups may be kept. n: exactly n of every row (`NofM`)."""

    coupled = False  # a field of Filter: whether groups of several sites are chosen as one
    pooling = None  # a field of those whose groups have several entries: how scores are pooled

    def groups(self, shape: tuple[int, ...], layout: Layout) -> int:
        """Number of groups of a kernel."""
        return math.prod(self._view(shape, layout).tiles)

    def sizes(self, shape: tuple[int, ...], layout: Layout) -> np.ndarray:
        """Entries of each group, int64 [groups]; their sum is the number of weights."""
        return self._view(shape, layout).sizes.reshape(-1)

    def reduce(self, scores: Any, layout: Layout) -> Any:
        """Scores of entries, of the kernel's shape -> scores of groups [groups].

        `NofM` returns its candidates, [groups, m], with -inf where the last row has no entry.
        """
        xp = namespace(scores)
        scores = xp.asarray(scores)
        view = self._view(tuple(scores.shape), layout)
        if view.tile == (1, 1):
            return xp.reshape(view.split(scores, 0), (-1,))
        wide = view.split(xp.astype(scores, "float64"), -math.inf if self.pooling == "max" else 0)
        if self.pooling == "max":  # XLA's maximum overlooks NaN
            unknown = xp.any(xp.isnan(wide), axis=(1, 3))
            pooled = xp.where(unknown, math.nan, xp.max(wide, axis=(1, 3)))
        else:
            pooled = xp.sum(wide, axis=(1, 3))
        if self.pooling == "mean":
            pooled = pooled / view.sizes.astype("float64")
        dtype = "float64" if scores.dtype.name == "float64" else "float32"
        return xp.reshape(xp.astype(pooled, dtype), (-1,))

    def total(self, values: Any, layout: Layout) -> Any:
        """Sums over the entries of each group [groups], whatever the pooling."""
        if self.pooling in (None, "sum"):
            return self.reduce(values, layout)
        return dataclasses.replace(self, pooling="sum").reduce(values, layout)

    def empty(self, weight: Any, layout: Layout) -> Any:
        """Which groups hold nothing but zeros: bool, as `reduce` orders them."""
        xp = namespace(weight)
        if self._view(tuple(weight.shape), layout).tile == (1, 1):
            return xp.equal(self.reduce(weight, layout), 0)
        return xp.less_equal(self.reduce(xp.abs(weight), layout), 0)

    def expand(self, mask: Any, shape: tuple[int, ...], layout: Layout) -> Any:
        """Mask of groups, as `reduce` orders them -> mask of entries, of shape `shape`."""
        view = self._view(shape, layout)
        down, across = view.tiles
        return view.join(namespace(mask).reshape(mask, (down, 1, across, -1)), tuple(shape))

    def supports(self, shape: tuple[int, ...], layout: Layout) -> str | None:
        """None if a kernel of this shape can be pruned this way, else the reason why not."""
        if len(shape) != layout.rank:
            return f"its shape {tuple(shape)} does not have the {layout.rank} axes of its layout"
        if 0 in tuple(shape):
            return f"its shape {tuple(shape)} has no entries"
        return self._lacks(layout)

    def _lacks(self, layout: Layout) -> str | None:
        return None

    @abc.abstractmethod
    def _view(self, shape: tuple[int, ...], layout: Layout) -> View:
        """The kernel as a matrix whose tiles are the groups."""


@register
@dataclass(frozen=True)
class Element(Structure):
    """Every weight on its own: groups = entries, in the kernel's own order.

    >>> Element().reduce(np.array([[3.0, 1.0], [2.0, 4.0]]), Layout((1,), (0,)))
    array([3., 1., 2., 4.])
    """

    def _view(self, shape, layout):
        return View.along((), shape, layout)


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

    >>> from tfprune.layouts import DENSE
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
            _check_length(f"Block({name}=...)", getattr(self, name), 1)
        _check_pooling(self.pooling)

    @classmethod
    def of_kernel(cls, block_size: tuple[int, int], layout: Layout, pooling: str = "mean"):
        """The block that is `block_size` = (axis 0, axis 1) on a Keras kernel of rank 2.

        Raises:
            ValueError: If the kernel has another rank.

        >>> from tfprune.layouts import DENSE
        >>> Block.of_kernel((4, 1), DENSE)
        Block(rows=1, columns=4, pooling='mean')
        """
        if layout.rank != 2:
            raise ValueError(f"block_size={tuple(block_size)} is for kernels with 2 axes, this one "
                             f"has {layout.rank}: use Block(rows, columns), on TFLite's matrix.")
        height, width = block_size
        rows, columns = (height, width) if layout.matrix_axes == (0, 1) else (width, height)
        return cls(rows, columns, pooling)

    def _view(self, shape, layout):
        matrix = layout.matrix_shape(shape)
        tile = min(self.rows, matrix[0]), min(self.columns, matrix[1])
        return View(layout.matrix_axes, matrix, tile)


@register
@dataclass(frozen=True)
class NofM(Structure):
    """Keeps n of every m consecutive weights along the input channels.

    The rows of m lie within one output channel and one spatial position, as the hardware for 2:4
    wants them. A last row that is shorter keeps min(n, its length). TF-MOT's `sparsity_m_by_n=(m,
    n)` counts m *zeros* among n: (1, 4) there is NofM(3, 4).

    Paper: Zhou et al., Learning N:M Fine-grained Structured Sparse Neural Networks From Scratch,
    arXiv 2102.04010.

    Args:
        n: Weights kept in each row.
        m: Length of a row.

    Raises:
        ValueError: If not 0 < n < m.

    >>> from tfprune.layouts import DENSE
    >>> NofM(2, 4).reduce(np.arange(6.0).reshape(6, 1), DENSE)
    array([[  0.,   1.,   2.,   3.],
           [  4.,   5., -inf, -inf]])
    """

    n: int
    m: int

    def __post_init__(self):
        _check_length("NofM(m=...)", self.m, 2)
        _check_length("NofM(n=...)", self.n, 1)
        if self.n >= self.m:
            raise ValueError(f"NofM({self.n}, {self.m}) keeps all: expected 0 < n < m. n counts "
                             "the weights that stay (TF-MOT's first number counts the zeros).")

    @property
    def fixed(self) -> int:
        """The number kept in each row."""
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

    def _view(self, shape, layout):
        layout.matrix_shape(shape)
        inputs = tuple(axis for axis in layout.inputs if axis not in layout.outputs)
        columns = math.prod(shape[axis] for axis in inputs)
        matrix = math.prod(shape) // max(columns, 1), columns
        return View(layout.matrix_axes, matrix, (1, self.m))


@dataclass(frozen=True)
class _Pooled(Structure):
    pooling: str = "mean"

    def __post_init__(self):
        _check_pooling(self.pooling)


@register
@dataclass(frozen=True)
class Kernel(_Pooled):
    """One spatial kernel: all positions of one (input, output) pair.

    Kernels without spatial axes (Dense) have one entry per pair: the same as `Element`.

    Args:
        pooling: "mean", "max" or "sum" over the entries of a group.

    >>> from tfprune.layouts import conv
    >>> Kernel().groups((3, 3, 16, 32), conv(2))
    512
    """

    def _view(self, shape, layout):
        return View.along(layout.spatial, shape, layout)


@register
@dataclass(frozen=True)
class Column(_Pooled):
    """One column of TFLite's matrix: an (input, position) pair, for all output channels.

    Args:
        pooling: "mean", "max" or "sum" over the entries of a group.

    >>> from tfprune.layouts import conv
    >>> Column().groups((3, 3, 16, 32), conv(2))
    144
    """

    def _view(self, shape, layout):
        return View.along(layout.outputs, shape, layout)

    def _lacks(self, layout):
        return None if layout.columns else "it has neither input channels nor positions"


@register
@dataclass(frozen=True)
class Channel(_Pooled):
    """One input channel, for all positions and output channels.

    Args:
        pooling: "mean", "max" or "sum" over the entries of a group.

    >>> from tfprune.layouts import conv
    >>> Channel().groups((3, 3, 16, 32), conv(2))
    16
    """

    def _view(self, shape, layout):
        members = tuple(axis for axis in range(layout.rank) if axis not in layout.inputs)
        return View.along(members, shape, layout)

    def _lacks(self, layout):
        return None if layout.inputs else "it has no input channels"


@register
@dataclass(frozen=True)
class Filter(_Pooled):
    """One output channel: a row of TFLite's matrix; of an Embedding, the vector of one token.

    Args:
        pooling: "mean", "max" or "sum" over the entries of a group.
        coupled: Choose filters whose outputs are added, or passed on by a depthwise convolution,
            as one, so that whole channels can be removed. Needs a model with a graph.

    >>> from tfprune.layouts import DENSE
    >>> Filter("sum").reduce(np.array([[1.0, 5.0], [2.0, 6.0]]), DENSE)
    array([ 3., 11.])
    """

    coupled: bool = False

    def _view(self, shape, layout):
        return View.along(layout.columns, shape, layout)

    def _lacks(self, layout):
        return None if layout.outputs else "it has no output channels"


def _check_length(name, value, least):
    if not isinstance(value, Integral) or isinstance(value, bool) or value < least:
        raise ValueError(f"{name}: {value!r} given, expected an integer of at least {least}.")


def _check_pooling(pooling):
    if pooling not in _POOLINGS:
        raise ValueError(f"pooling={pooling!r}: expected one of {', '.join(_POOLINGS)}.")
