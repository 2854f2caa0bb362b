# SPDX-License-Identifier: Apache-2.0
"""Patterns: every 3x3 kernel keeps one of a few shapes of its positions."""

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from tfprune.masks import pattern_library
from tfprune.masks.array_namespace import namespace
from tfprune.masks.kernel_layout import View
from tfprune.masks.serialization import register
from tfprune.masks.structures.base import Structure


@register
@dataclass(frozen=True, repr=False)
class Pattern(Structure):
    """Every 3x3 kernel keeps the positions of one pattern out of a library.

    A kernel takes the pattern p with the largest energy, the sum over its positions of the squares
    of the scores: by magnitude ||K 1_p||^2. Alone, this fixes how much stays (4 of 9), and only
    the allocation `Uniform()` goes with it. With `connectivity` kernels may go as a whole: those
    with the largest energies stay, as many as sparsity and allocation say, each with its own best
    pattern, which by magnitude is the nearest such kernel in the Euclidean sense. Sparsity is then
    the fraction of the kernels that go. Kernels of other sizes and depthwise ones stay dense.

    Paper: X. Ma et al., "PCONV: The Missing but Desirable Sparsity in DNN Weight Pruning for
    Real-time Execution on Mobile Devices", 2019, arXiv 1909.05073.

    Args:
        library: the patterns, each a tuple of positions in the kernel, row by row: 4 is the
            centre. Three are in `tfprune.masks.pattern_library`; `tfprune.mine_patterns`
            finds one.
        connectivity: Whether kernels may go as a whole.
        balanced: Keep equally many kernels in every filter: what the allocation gives the layer,
            divided by its filters and rounded, one at least.

    Raises:
        ValueError: If the library is empty, positions are not in 0 to 8, or patterns differ in
            their number of positions; if `balanced` is asked for without `connectivity`.

    >>> from tfprune.masks.kernel_layout import conv
    >>> kernel = np.zeros((3, 3, 1, 1))
    >>> kernel[1], kernel[0, 0] = 2.0, 1.0
    >>> library = ((0, 1, 4, 3), (3, 4, 5, 7))
    >>> energies = Pattern(library).reduce(kernel, conv(2))
    >>> energies
    array([[ 9., 12.]])
    >>> Pattern(library).expand(energies > 10, (3, 3, 1, 1), conv(2))[:, :, 0, 0].astype(int)
    array([[0, 0, 0],
           [1, 1, 1],
           [0, 1, 0]])
    """

    overlaps: ClassVar[bool] = True

    library: tuple[tuple[int, ...], ...] = pattern_library.FOUR_OF_NINE
    connectivity: bool = False
    balanced: bool = False

    def __post_init__(self):
        object.__setattr__(self, "library", pattern_library.checked(self.library))
        if self.balanced and not self.connectivity:
            raise ValueError(
                "Pattern(balanced=True) says how many kernels each filter keeps, but "
                "without connectivity=True all kernels stay: pass both, or neither."
            )

    @property
    def within(self) -> int:
        """One pattern of the library."""
        return 1

    @property
    def fixed(self) -> int | None:
        """1: every kernel keeps one pattern; None: kernels may go."""
        return None if self.connectivity else 1

    @property
    def sparsity(self) -> float:
        """The fraction of a kept kernel that is removed."""
        return 1 - len(self.library[0]) / 9

    def reduce(self, scores: Any, layout: Any) -> Any:
        """Scores of entries -> energies of the patterns in every kernel [kernels, patterns].

        Scores count with their squares, which keep the sign: a negative one counts against.
        """
        xp = namespace(scores)
        scores = xp.asarray(scores)
        view = self._view(tuple(scores.shape), layout)
        wide = xp.astype(scores, "float64")
        squares = view.split(xp.multiply(wide, xp.abs(wide)), 0)
        if view.tile[0] > 1:  # positions first
            squares = xp.transpose(xp.reshape(squares, (9, -1)), (1, 0))
        energies = xp.matmul(xp.reshape(squares, (-1, 9)), self._members("float64").T)
        return xp.astype(energies, "float64" if scores.dtype.name == "float64" else "float32")

    def expand(self, mask: Any, shape: tuple[int, ...], layout: Any) -> Any:
        """Mask of the patterns [kernels, patterns] -> mask of entries, of shape `shape`."""
        xp, view = namespace(mask), self._view(shape, layout)
        chosen = xp.matmul(xp.astype(mask, "float32"), self._members("float32"))
        chosen = xp.greater(chosen, 0)
        if view.tile[0] > 1:
            chosen = xp.transpose(chosen, (1, 0))
        (down, across), (a, b) = view.tiles, view.tile
        return view.join(xp.reshape(chosen, (down, a, across, b)), tuple(shape))

    def empty(self, weight: Any, layout: Any) -> Any:
        """Which patterns lie on nothing but zeros: bool [kernels, patterns]."""
        xp = namespace(weight)
        held = xp.astype(xp.not_equal(weight, 0), "float32")
        return xp.less_equal(self.reduce(held, layout), 0)

    def supports(self, shape, layout):
        reason = super().supports(shape, layout)
        if reason is not None:
            return reason
        if set(layout.inputs) <= set(layout.outputs):
            return "it is depthwise, where a kernel is all that a channel has"
        sides = tuple(shape[axis] for axis in layout.spatial)
        if sides != (3, 3):
            size = "x".join(map(str, sides))
            return f"its kernels are {size}, not 3x3" if sides else "it has no spatial kernels"
        return None

    def _members(self, dtype: str) -> np.ndarray:
        """The library as zeros and ones [patterns, 9]."""
        members = np.zeros((len(self.library), 9), dtype)
        for row, positions in zip(members, self.library, strict=True):
            row[list(positions)] = 1
        return members

    def _view(self, shape, layout):
        return View.along(layout.spatial, shape, layout)

    def __repr__(self) -> str:
        parts = [pattern_library.name_of(self.library)]
        parts += [f"{name}=True" for name in ("connectivity", "balanced") if getattr(self, name)]
        return f"Pattern({', '.join(parts)})"
