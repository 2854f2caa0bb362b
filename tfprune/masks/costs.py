# SPDX-License-Identifier: Apache-2.0
"""Costs of weights: parameters, multiplications, bit operations, sizes by counts of channels."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Sequence

import numpy as np

from tfprune.masks.array_namespace import namespace


def parameters(shape: tuple[int, ...], mask: np.ndarray | None = None) -> int:
    """Number of entries of a weight, or of those that its mask keeps.

    >>> parameters((3, 4)), parameters((3, 4), np.eye(3, 4, dtype=bool))
    (12, 3)
    """
    if mask is None:
        return math.prod(shape)
    return int(np.count_nonzero(np.not_equal(mask, 0)))  # booleans are counted faster


def macs(
    shape: tuple[int, ...], positions: int | None, mask: np.ndarray | None = None
) -> int | None:
    """Multiply-accumulates of one example: parameters (kept ones, with a mask) * positions.

    Args:
        shape: Shape of the weight.
        positions: How often each weight is used for one example: 1 for Dense on a vector, the
            number of output pixels for a convolution. None if it is not known.
        mask: Boolean, of the weight's shape, 1 = keep.

    Returns:
        The number, or None if `positions` is None.

    >>> macs((3, 3, 64, 128), positions=8 * 8)
    4718592
    """
    return None if positions is None else parameters(shape, mask) * positions


INPUT_BITS = 8
"""What the first layer is counted with: images have 8 bits."""
FLOAT_BITS = 32


def bops(macs: Any, weight_bits: Any, input_bits: Any, kept: tuple[Any, Any] = (1.0, 1.0)) -> Any:
    """Bit operations of one layer: MAC b_w b_a kept_in kept_out.

    Paper: M. van Baalen et al., "Bayesian Bits: Unifying Quantization and Pruning", 2020,
    arXiv 2005.07093.

    Args:
        macs: Multiply-accumulates of the whole layer for one example.
        weight_bits, input_bits: Widths of its weights and of what it reads.
        kept: Fractions of its input channels (what the layer before it kept) and of its output
            channels that are left. Numbers or scalar tensors.

    >>> bops(macs((3, 3, 64, 128), positions=8 * 8), 4, 8, (0.5, 0.75))
    56623104.0
    """
    return macs * weight_bits * input_bits * kept[0] * kept[1]


def relative_bops(layers: Sequence[tuple[Any, Any, Any, tuple[Any, Any]]]) -> Any:
    """Bit operations of a model as a fraction of those in float32 without pruning.

    Args:
        layers: The arguments of `bops` for each layer.

    >>> relative_bops([(100, 8, 8, (1, 1)), (300, 4, 8, (1, 0.5))])
    0.0273...
    """
    dense = sum(bops(one[0], FLOAT_BITS, FLOAT_BITS) for one in layers)
    return sum(bops(*one) for one in layers) / dense


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
