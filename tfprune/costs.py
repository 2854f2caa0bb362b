"""What a weight costs: parameters, multiplications and bytes, from its shape and mask."""

import math

import numpy as np

from tfprune.layouts import Layout


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


def bytes_dense(entries: int, bits: int = 32) -> int:
    """Bytes of a dense weight.

    >>> bytes_dense(10, bits=4)
    5
    """
    return -(-entries * bits // 8)


def bytes_csr(mask: np.ndarray, layout: Layout, bits: int = 32,
              block: tuple[int, int] = (1, 1)) -> int:
    """Bytes of a weight in TFLite's sparse encoding.

    Every axis of the TFLite tensor but the last is dense, so a kernel of a convolution has one
    segment for each (output, position): non-zero values (whole blocks), the index of each block
    along the input channels, and one segment boundary per row and one more. Indices and
    boundaries take 1, 2 or 4 bytes, whatever holds the largest of them.

    Args:
        mask: Boolean, of the weight's shape, 1 = keep.
        layout: Layout of the weight.
        bits: Bits of a value.
        block: (rows, columns) of TFLite's blocks: (1, 1), (1, 4) or (1, 16). Of a block with one
            kept weight all values are stored.

    Raises:
        ValueError: If a block has more than one row, or does not divide the input channels.

    >>> from tfprune.layouts import DENSE
    >>> bytes_csr(np.eye(4, dtype=bool), DENSE)  # 4 values, 4 indices, 5 boundaries
    25
    """
    mask = np.asarray(mask)
    layout.matrix_shape(mask.shape)
    inputs = [axis for axis in layout.inputs if axis not in layout.outputs]
    last = math.prod(mask.shape[axis] for axis in inputs)
    if block[0] != 1 or last % block[1]:
        raise ValueError(f"block={tuple(block)}: expected one row, and columns that divide the "
                         f"{last} input channels.")
    rows = mask.transpose(layout.matrix_axes).reshape(-1, last // block[1], block[1]).any(axis=2)
    kept = int(np.count_nonzero(rows))
    indices = kept * _index_bytes(rows.shape[1] - 1)
    boundaries = (len(rows) + 1) * _index_bytes(kept)
    return bytes_dense(kept * block[1], bits) + indices + boundaries


def _index_bytes(largest):
    return 1 if largest < 2**8 else 2 if largest < 2**16 else 4
