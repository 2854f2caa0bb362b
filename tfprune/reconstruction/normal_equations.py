# SPDX-License-Identifier: Apache-2.0
"""The normal equations of a product of patches with a matrix, summed up batch by batch.

    G = [X 1]^T [X 1],  C = [X 1]^T R,  R = Y - X W - 1 b

X are the patches of the inputs that a layer has, Y what it is wanted to give, and W and b the
weights that it has. Of the columns of R only what is missing of Y counts, so that nothing is lost
to rounding where little is missing, and weights that are right already do not move at all.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import tensorflow as tf

_ROWS = 1 << 14  # patches of one product in float32, whose sums are taken in float64


class NormalEquations:
    """G and C of one product; of several side by side where a kernel falls into groups of channels.

    Args:
        columns: of the patches, d.
        outputs: of all groups together.
        groups: that do not mix: those of a convolution, or the channels of a depthwise one.
        has_bias: whether there is a column of ones behind those of the patches.

    Attributes:
        gram: G, float64 [groups, d (+ 1), d (+ 1)].
        cross: C, float64 [groups, d (+ 1), outputs / groups].
        rows: how many patches there were.
        energy: the sum of Y^2, float64 [outputs].
        missing: the sum of R^2, float64 [outputs].

    Example:
        >>> found = NormalEquations(columns=2, outputs=1)
        >>> found.add(np.array([[1.0, 2.0], [3.0, 4.0]]), np.array([[5.0], [6.0]]))
        >>> found.gram[0].astype(int).tolist(), found.cross[0].astype(int).ravel().tolist()
        ([[10, 14, 4], [14, 20, 6], [4, 6, 2]], [23, 34, 11])
    """

    def __init__(self, columns: int, outputs: int, *, groups: int = 1, has_bias: bool = True):
        if outputs % groups:
            raise ValueError(f"{outputs} outputs do not fall into {groups} equal groups.")
        self.columns, self.outputs, self.groups = columns, outputs, groups
        self.has_bias, self.rows = has_bias, 0
        unknowns = columns + has_bias
        self.gram = np.zeros((groups, unknowns, unknowns))
        self.cross = np.zeros((groups, unknowns, outputs // groups))
        self.energy, self.missing = np.zeros(outputs), np.zeros(outputs)

    def add(self, patches: Any, missing: Any = None, wanted: Any = None) -> None:
        """Take some more patches into account.

        Args:
            patches: X, [n, d], or [n, groups, d].
            missing: R, [n, outputs]; None: nothing is.
            wanted: Y, [n, outputs], whose energy is summed up.
        """
        patches = tf.convert_to_tensor(patches)
        patches = tf.reshape(patches, (-1, self.groups, self.columns))
        count = int(patches.shape[0])
        for start in range(0, count, _ROWS):
            part = slice(start, start + _ROWS)
            self._add(patches[part], None if missing is None else missing[part])
            if wanted is not None:
                self.energy += _squares(wanted[part])
        self.rows += count

    def _add(self, patches: tf.Tensor, missing: Any) -> None:
        rows = by_group(patches, self.groups)
        own = slice(self.columns)
        self.gram[:, own, own] += tf.matmul(rows, rows, transpose_a=True).numpy()
        if self.has_bias:  # the column of ones, which nobody has to write down
            sums = tf.reduce_sum(rows, axis=1).numpy()
            self.gram[:, own, -1] += sums
            self.gram[:, -1, own] += sums
            self.gram[:, -1, -1] += rows.shape[1]
        if missing is not None:
            each = by_group(tf.cast(missing, patches.dtype), self.groups)
            self.cross[:, own] += tf.matmul(rows, each, transpose_a=True).numpy()
            if self.has_bias:
                self.cross[:, -1] += tf.reduce_sum(each, axis=1).numpy()
            self.missing += _squares(missing)

    def is_finite(self) -> bool:
        """Whether no NaN and no infinity was among the patches or in what is missing."""
        return bool(np.isfinite(self.gram).all() and np.isfinite(self.cross).all())

    def damping(self, ridge: float) -> np.ndarray:
        """What is added to the diagonal of G, for each group: float64 [groups].

        Args:
            ridge: relative to the mean of G's diagonal, without the entry of the ones.
        """
        scale = np.einsum("gii->gi", self.gram)[:, : self.columns].mean(axis=1)
        return ridge * np.where(scale > 0, scale, 1.0)


def by_group(values: tf.Tensor, groups: int) -> tf.Tensor:
    """[n, ...] -> [groups, n, numbers of a group], without a copy where there is one group."""
    if groups == 1:
        return tf.reshape(values, (1, values.shape[0], -1))
    return tf.transpose(tf.reshape(values, (values.shape[0], groups, -1)), (1, 0, 2))


def _squares(values: Any) -> np.ndarray:
    return tf.reduce_sum(tf.square(values), axis=0).numpy().astype(np.float64)
