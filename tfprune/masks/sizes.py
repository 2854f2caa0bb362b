# SPDX-License-Identifier: Apache-2.0
"""Sizes of arrays as functions of how many channels each group of a model has."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from tfprune.masks.array_namespace import namespace


@dataclass(frozen=True)
class Sizes:
    """Sizes of arrays, each a product over its axes of a number that is linear in the counts.

        size_i(n) = base_i  prod over axes a of (fixed_ia + sum over groups g of each_iag n_g)

    Attributes:
        base: int64 [arrays].
        fixed: int64 [arrays, axes].
        each: int64 [arrays, axes, groups].

    Example:
        >>> kernel = Sizes(np.array([9]), np.array([[3, 0]]), np.array([[[0], [1]]]))
        >>> kernel.of(np.array([16])), kernel.savings(np.array([16]), np.array([64]))
        (array([432]), array([1728.]))
    """

    base: np.ndarray
    fixed: np.ndarray
    each: np.ndarray

    def of(self, counts: np.ndarray) -> np.ndarray:
        """int64 [arrays], of counts int64 [groups]."""
        return self.base * (self.fixed + self.each @ counts).prod(axis=1)

    def savings(self, counts: Any, uses: np.ndarray) -> Any:
        """By how much the sum of uses_i size_i falls if one channel of a group goes.

        Args:
            counts: [groups], NumPy or a tensor.
            uses: [arrays].

        Returns:
            float64 [groups].
        """
        xp = namespace(counts)
        counts = xp.astype(counts, "float64")
        each = self.each.astype(np.float64)
        along = self.fixed + xp.sum(each * counts, axis=2)
        one_less = xp.prod(xp.expand_dims(along, 2) - each, axis=1)
        saved = xp.expand_dims(xp.prod(along, axis=1), 1) - one_less
        return xp.sum((self.base * uses).astype(np.float64)[:, None] * saved, axis=0)
