# SPDX-License-Identifier: Apache-2.0
"""Groups that extend along whole axes of a kernel, and rows that keep k of n of them."""

import dataclasses
import math
from dataclasses import dataclass

import numpy as np

from tfprune.masks.array_namespace import namespace
from tfprune.masks.kernel_layout import View
from tfprune.masks.serialization import register
from tfprune.masks.structures.base import Pooled, check_length


@register
@dataclass(frozen=True)
class Kernel(Pooled):
    """One spatial kernel: all positions of one (input, output) pair.

    Kernels without spatial axes (Dense) have one entry per pair: the same as `Element`.

    Args:
        pooling: "mean", "max" or "sum" over the entries of a group.
        balanced: Keep equally many kernels in every filter: what the allocation gives the layer,
            divided by its filters and rounded, one at least.

    >>> from tfprune.masks.kernel_layout import conv
    >>> Kernel().groups((3, 3, 16, 32), conv(2))
    512
    """

    balanced: bool = False

    def _view(self, shape, layout):
        return View.along(layout.spatial, shape, layout)


@register
@dataclass(frozen=True)
class Column(Pooled):
    """One column of TFLite's matrix: an (input, position) pair, for all output channels.

    Args:
        pooling: "mean", "max" or "sum" over the entries of a group.

    >>> from tfprune.masks.kernel_layout import conv
    >>> Column().groups((3, 3, 16, 32), conv(2))
    144
    """

    def _view(self, shape, layout):
        return View.along(layout.outputs, shape, layout)

    def _lacks(self, layout):
        return None if layout.columns else "it has neither input channels nor positions"


@register
@dataclass(frozen=True)
class Channel(Pooled):
    """One input channel, for all positions and output channels.

    Args:
        pooling: "mean", "max" or "sum" over the entries of a group.

    >>> from tfprune.masks.kernel_layout import conv
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
class Filter(Pooled):
    """One output channel: a row of TFLite's matrix; of an Embedding, the vector of one token.

    Args:
        pooling: "mean", "max" or "sum" over the entries of a group.
        coupled: Choose filters whose outputs are added, or passed on by a depthwise convolution,
            as one, so that whole channels can be removed. All that belongs to a masked channel is
            zero with it: biases, gammas, betas, means, recurrent weights. Where a method lets
            channels return (`dpf`, `st3`, ...), that waits for its last masks. Needs a model with
            a graph.

    >>> import numpy as np
    >>> from tfprune.masks.kernel_layout import DENSE
    >>> Filter("sum").reduce(np.array([[1.0, 5.0], [2.0, 6.0]]), DENSE)
    array([ 3., 11.])
    """

    coupled: bool = False

    def _view(self, shape, layout):
        return View.along(layout.columns, shape, layout)

    def _lacks(self, layout):
        return None if layout.outputs else "it has no output channels"


_ROWS_OF = ("weights", "kernels", "maps")


@register
@dataclass(frozen=True, repr=False)
class Rows(Pooled):
    """Keeps equally many candidates in every row, k of n.

    | of | a row | its candidates |
    |---|---|---|
    | "weights" | one spatial kernel; of a Dense layer one output | its positions; the inputs |
    | "kernels" | one output map | its spatial kernels, one for each input channel |
    | "maps" | the layer | its output maps |

    Candidates are numbered row by row: rows along the output channels, then the input channels.

    Args:
        of: "weights", "kernels" or "maps".
        k: Candidates kept in every row, whatever sparsity is asked for: leave that out. None: k
            follows from the sparsity, n (1 - sparsity) rounded, one at least. (Precisely: what the
            allocation gives the layer, divided by its rows and rounded.)
        tiles: Cut each row into so many equal parts of neighbours, each of which keeps k: balanced
            banks of memory.
        pooling: "mean", "max" or "sum" over the entries of a candidate.

    Raises:
        ValueError: If an argument is out of its range.

    Paper: L. Gonzalez-Carabarin et al., "Dynamic Probabilistic Pruning", 2021, arXiv 2105.12686
    (granularities, tiles).

    >>> from tfprune.masks.kernel_layout import conv
    >>> Rows("kernels").groups((3, 3, 16, 32), conv(2)), Rows("kernels", 5).rows_of(
    ...     (3, 3, 16, 32), conv(2))
    (512, (32, 16))
    >>> Rows("weights", 3)
    Rows('weights', k=3)
    >>> Rows("weights", 3).supports((1, 1, 16, 32), conv(2))
    'candidates in each of its rows: 1, fewer than k=3'
    """

    of: str = "kernels"
    k: int | None = None
    tiles: int = dataclasses.field(default=1, kw_only=True)
    pooling: str = dataclasses.field(default="mean", kw_only=True)

    def __post_init__(self):
        super().__post_init__()
        if self.of not in _ROWS_OF:
            raise ValueError(f"of={self.of!r}: expected one of {', '.join(_ROWS_OF)}.")
        check_length("Rows(tiles=...)", self.tiles, 1)
        if self.k is not None:
            check_length("Rows(k=...)", self.k, 1)

    @property
    def fixed(self) -> int | None:
        """The number kept in each row, if it is the same in all layers."""
        return self.k

    @property
    def within(self) -> int | None:
        """The same: the candidates are the row's."""
        return self.k

    @property
    def balanced(self) -> bool:
        """Whether k follows from the sparsity."""
        return self.k is None

    @property
    def sparsity(self) -> None:
        """Not known: it depends on the length of a layer's rows."""
        return None

    def rows_of(self, shape: tuple[int, ...], layout) -> tuple[int, int]:
        """(rows, n), tiles counted as rows."""
        across, along = _axes(self.of, layout)
        rows, length = (math.prod(shape[axis] for axis in axes) for axes in (across, along))
        return rows * self.tiles, length // self.tiles

    def groups(self, shape, layout):
        rows, length = self.rows_of(shape, layout)
        return rows if self.k is not None else rows * length

    def sizes(self, shape, layout):
        groups = self.groups(shape, layout)
        return np.full(groups, math.prod(shape) // groups, np.int64)

    def reduce(self, scores, layout):
        shape = tuple(scores.shape)
        pooled = super().reduce(scores, layout)
        xp, (kept, permutation) = namespace(pooled), self._order(shape, layout)
        rows = xp.transpose(xp.reshape(pooled, kept), permutation)
        return xp.reshape(rows, (-1,) if self.k is None else self.rows_of(shape, layout))

    def expand(self, mask, shape, layout):
        xp, (kept, permutation) = namespace(mask), self._order(shape, layout)
        rows = xp.reshape(mask, tuple(kept[axis] for axis in permutation))
        back = tuple(int(axis) for axis in np.argsort(permutation))
        return super().expand(xp.reshape(xp.transpose(rows, back), (-1,)), shape, layout)

    def by_filter(self, values, shape, layout):
        return namespace(values).reshape(values, self.rows_of(shape, layout))

    def of_filters(self, values, shape, layout):
        return namespace(values).reshape(values, (-1,))

    def _alone(self, shape, layout):
        return False

    def supports(self, shape, layout):
        reason = super().supports(shape, layout)
        if reason is not None:
            return reason
        length = math.prod(shape[axis] for axis in _axes(self.of, layout)[1])
        if length % self.tiles:
            return f"its rows of {length} cannot be cut into {self.tiles} equal tiles"
        least = 2 if self.k is None else self.k
        if length // self.tiles < least:
            what = "too few to choose from" if self.k is None else f"fewer than k={self.k}"
            return f"candidates in each of its rows: {length // self.tiles}, {what}"
        return None

    def _lacks(self, layout):
        if not _axes(self.of, layout)[1]:
            what = {"maps": "output channels", "kernels": "input channels that are summed"}
            return f"it has no {what.get(self.of, 'axis along which weights are summed')}"
        return None

    def __repr__(self) -> str:
        others = [field for field in dataclasses.fields(self) if field.name != "of"]
        parts = [
            f"{field.name}={getattr(self, field.name)!r}"
            for field in others
            if getattr(self, field.name) != field.default
        ]
        return f"Rows({', '.join([repr(self.of), *parts])})"

    def _order(self, shape, layout):
        """Lengths of the axes of the candidates as the kernel has them, and which come first."""
        across, along = _axes(self.of, layout)
        axes = sorted(across + along)
        return (
            tuple(shape[axis] for axis in axes),
            tuple(axes.index(axis) for axis in across + along),
        )

    def _view(self, shape, layout):
        candidates = sum(_axes(self.of, layout), ())
        return View.along(
            tuple(axis for axis in range(layout.rank) if axis not in candidates), shape, layout
        )


def _axes(of, layout):
    """The axes of a kernel that number its rows, and those that number a row's candidates."""
    inputs = tuple(axis for axis in layout.inputs if axis not in layout.outputs)
    if of == "maps":
        return (), layout.outputs
    if of == "weights" and layout.spatial:
        others = tuple(
            axis for axis in range(layout.rank) if axis not in layout.spatial + layout.outputs
        )
        return layout.outputs + others, layout.spatial
    return layout.outputs, inputs
