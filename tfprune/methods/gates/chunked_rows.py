# SPDX-License-Identifier: Apache-2.0
"""Rows that take turns, so that a step costs no more than is set however many rows there are."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import tensorflow as tf


@dataclass(frozen=True)
class Turn:
    """The rows whose turn it is in one step: whole rows, and as many in every step.

    Attributes:
        rows, length: of the matrix.
        most: entries that one turn may take; a row is taken whole. None: all.
        step: finished steps, an integer tensor; None where only the counts are asked for.

    Example:
        >>> turn = Turn(5, 10, 20, tf.constant(2))
        >>> turn.some, turn.count, turn.of(tf.reshape(tf.range(50), (5, 10)))[:, 0].numpy().tolist()
        (2, 3, [30, 40])
    """

    rows: int
    length: int
    most: int | None
    step: Any = None

    @property
    def some(self) -> int:
        """How many rows a turn takes."""
        return self.rows if self.most is None else min(self.rows, max(1, self.most // self.length))

    @property
    def count(self) -> int:
        """After how many turns every row has had its own; the last ones may have two."""
        return -(-self.rows // self.some)

    def of(self, values: Any) -> Any:
        """The rows [some, length] of a matrix [rows, length] whose turn it is."""
        if self.count == 1:
            return values
        return tf.slice(values, [self._begin(), 0], [self.some, self.length])

    def put(self, values: Any, into: Any) -> Any:
        """The matrix with these rows in their place."""
        if self.count == 1:
            return values
        places = self._begin() + tf.range(self.some)
        return tf.tensor_scatter_nd_update(into, places[:, None], values)

    def _begin(self) -> Any:
        return tf.minimum(
            tf.cast(self.step % self.count, tf.int32) * self.some, self.rows - self.some
        )
