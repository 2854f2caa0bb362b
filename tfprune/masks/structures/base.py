# SPDX-License-Identifier: Apache-2.0
"""The contract of a structure: entries of a kernel form groups that stay or go together.

    scores of a kernel --reduce--> group scores --select--> group mask --expand--> mask

Every structure is one `View` of the kernel: its axes permuted and reshaped to a matrix, the matrix
cut into tiles. A tile is a group. Not all of a group has to stay with it: where `within` is set,
`reduce` gives candidates (for `NofM` the weights of a row, for `Pattern` the patterns of a kernel).
`reduce` and `expand` take NumPy arrays or TensorFlow tensors and return the same kind; with tensors
they work in graphs and compile under XLA. Groups are numbered along the kernel's own axes
(`Element`, `Kernel`, `Pattern`, `Column`, `Channel`, `Filter`) or along TFLite's matrix (`Block`,
`NofM`).

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

from tfprune.masks.array_namespace import namespace
from tfprune.masks.kernel_layout import Layout, View
from tfprune.masks.select import select

POOLINGS = ("mean", "max", "sum")


@dataclass(frozen=True)
class Structure(abc.ABC):
    """Turns scores of entries into scores of groups, and masks of groups into masks of entries."""

    overlaps: ClassVar[bool] = False
    """Whether candidates share entries: patterns do."""

    coupled = False  # a field of Filter: whether groups of several sites are chosen as one

    @property
    def balanced(self) -> bool:
        """Whether every filter keeps equally many groups: a field of those that can."""
        return False

    @property
    def fixed(self) -> int | None:
        """None: any number of groups may be kept. n: every group is, with n of its candidates."""
        return None

    @property
    def sparsity(self) -> float | None:
        """The fraction that is removed where `fixed` is set; None: it depends on the layer."""
        return None

    @property
    def within(self) -> int | None:
        """None: all of a kept group stays. n: the n highest of what `reduce` gives for it."""
        return None

    @property
    def pooling(self) -> str | None:
        """How scores are pooled: a field of those whose groups have several entries."""
        return None

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
        summing: dict[str, Any] = {"pooling": "sum"}
        return dataclasses.replace(self, **summing).reduce(values, layout)

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

    def compete(self, scores: Any) -> Any:
        """What `reduce` gives -> the scores by which groups compete [groups].

        A group with candidates counts as much as those that would stay with it.
        """
        if self.within is None:
            return scores
        xp = namespace(scores)
        return xp.sum(xp.where(select(scores, self.within), scores, 0), axis=-1)

    def complete(self, kept: Any, scores: Any) -> Any:
        """Mask of groups [groups] -> mask as `expand` takes it, of what `reduce` gave."""
        if self.within is None:
            return kept
        xp = namespace(scores)
        return xp.logical_and(xp.expand_dims(kept, 1), select(scores, self.within))

    def by_filter(self, values: Any, shape: tuple[int, ...], layout: Layout) -> Any:
        """Values of spatial kernels [groups] -> [filters, kernels of each]."""
        xp, (view, pairs) = namespace(values), _pairs(shape, layout)
        return xp.reshape(view.split(xp.reshape(values, pairs), 0), view.matrix)

    def of_filters(self, values: Any, shape: tuple[int, ...], layout: Layout) -> Any:
        """The inverse of `by_filter`."""
        xp, (view, pairs) = namespace(values), _pairs(shape, layout)
        filters, each = view.matrix
        return xp.reshape(view.join(xp.reshape(values, (filters, 1, 1, each)), pairs), (-1,))

    def in_rows(self, values: Any, shape: tuple[int, ...], layout: Layout) -> Any:
        """Values of what `reduce` gives -> [rows, n], where equally many are kept in every row.

        A row is what fixes its own count, else a filter where filters are balanced, else all.
        """
        if self.fixed is not None:
            return values
        if self.balanced:
            return self.by_filter(values, shape, layout)
        return namespace(values).reshape(values, (1, -1))

    def of_rows(self, values: Any, shape: tuple[int, ...], layout: Layout) -> Any:
        """The inverse of `in_rows`."""
        if self.fixed is not None:
            return values
        if self.balanced:
            return self.of_filters(values, shape, layout)
        return namespace(values).reshape(values, (-1,))

    def to_rows(self, values: Any, layout: Layout) -> Any:
        """Values of entries, of the kernel's shape -> [rows, n], of what `reduce` gives."""
        return self.in_rows(self.reduce(values, layout), tuple(values.shape), layout)

    def from_rows(self, values: Any, shape: tuple[int, ...], layout: Layout) -> Any:
        """[rows, n] -> values of entries, of shape `shape`: each has its group's."""
        return self.expand(self.of_rows(values, shape, layout), shape, layout)

    def axis_of_rows(self, shape: tuple[int, ...], layout: Layout) -> int | None:
        """The axis of a kernel whose indices are its rows, so that a part of the kernel along it
        has the rows of `to_rows` of that part; None: rows are something else.

        Example:
            >>> from tfprune.masks.kernel_layout import DENSE
            >>> from tfprune.masks.structures import Rows
            >>> Rows("weights").axis_of_rows((8, 3), DENSE)
            1
        """
        if len(layout.outputs) != 1 or not (self.balanced or self.fixed is not None):
            return None
        [axis], entries = layout.outputs, np.broadcast_to(np.float32(0), shape)
        return axis if self.to_rows(entries, layout).shape[0] == shape[axis] else None

    def supports(self, shape: tuple[int, ...], layout: Layout) -> str | None:
        """None if a kernel of this shape can be pruned this way, else the reason why not."""
        if len(shape) != layout.rank:
            return f"its shape {tuple(shape)} does not have the {layout.rank} axes of its layout"
        if 0 in tuple(shape):
            return f"its shape {tuple(shape)} has no entries"
        if self.balanced and self._alone(shape, layout):
            return "each of its filters has a single kernel, so none can go from every filter"
        return self._lacks(layout)

    def _lacks(self, layout: Layout) -> str | None:
        return None

    def _alone(self, shape: tuple[int, ...], layout: Layout) -> bool:
        return _pairs(shape, layout)[0].matrix[1] < 2

    @abc.abstractmethod
    def _view(self, shape: tuple[int, ...], layout: Layout) -> View:
        """The kernel as a matrix whose tiles are the groups."""


@dataclass(frozen=True)
class Pooled(Structure):
    pooling: str = "mean"

    def __post_init__(self):
        check_pooling(self.pooling)


def check_length(name, value, least):
    if not isinstance(value, Integral) or isinstance(value, bool) or value < least:
        raise ValueError(f"{name}: {value!r} given, expected an integer of at least {least}.")


def check_pooling(pooling):
    if pooling not in POOLINGS:
        raise ValueError(f"pooling={pooling!r}: expected one of {', '.join(POOLINGS)}.")


def _pairs(shape, layout):
    """The (input, output) pairs of a kernel: a view that has the filters as rows, their shape."""
    axes = [axis for axis in range(layout.rank) if axis not in layout.spatial]
    pairs = tuple(shape[axis] for axis in axes)
    outputs = tuple(axes.index(axis) for axis in layout.outputs)
    others = tuple(axis for axis in range(len(axes)) if axis not in outputs)
    filters, each = (math.prod(pairs[axis] for axis in part) for part in (outputs, others))
    return View(outputs + others, (filters, each), (1, max(each, 1))), pairs
