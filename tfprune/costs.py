"""What a weight costs: parameters and multiplications, from its shape and mask."""

import math

import numpy as np


def parameters(shape: tuple[int, ...], mask: np.ndarray | None = None) -> int:
    """Number of entries of a weight, or of those that its mask keeps.

    >>> parameters((3, 4)), parameters((3, 4), np.eye(3, 4, dtype=bool))
    (12, 3)
    """
    return math.prod(shape) if mask is None else int(np.count_nonzero(mask))


def macs(shape: tuple[int, ...], positions: int | None,
         mask: np.ndarray | None = None) -> int | None:
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
