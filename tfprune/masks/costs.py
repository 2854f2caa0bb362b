# SPDX-License-Identifier: Apache-2.0
"""What a weight costs: parameters, multiplications and bit operations."""

import math
from typing import Any, Sequence

import numpy as np


def parameters(shape: tuple[int, ...], mask: np.ndarray | None = None) -> int:
    """Number of entries of a weight, or of those that its mask keeps.

    >>> parameters((3, 4)), parameters((3, 4), np.eye(3, 4, dtype=bool))
    (12, 3)
    """
    return math.prod(shape) if mask is None else int(np.count_nonzero(mask))


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
