# SPDX-License-Identifier: Apache-2.0
"""Numbers of a gate that move along the schedule."""

from __future__ import annotations

import math
from dataclasses import dataclass
from numbers import Real
from typing import Any

import tensorflow as tf

from tfprune.masks.serialization import register


@register(name="Course")
@dataclass(frozen=True)
class Annealed:
    """A number that moves in a straight line from one value to another, and then stays.

        begin + (end - begin) min(progress / until, 1)

    Attributes:
        begin, end: the values.
        until: when the end is reached, a fraction of the schedule, in (0, 1].

    Raises:
        ValueError: a value that is not finite; `until` out of range.

    Example:
        >>> [Annealed(5.0, 0.5).at(e / 9) for e in (0, 1, 9)]
        [5.0, 4.5, 0.5]
    """

    begin: float
    end: float
    until: float = 1.0

    def __post_init__(self):
        if not (math.isfinite(self.begin) and math.isfinite(self.end)):
            raise ValueError(f"{self}: expected finite numbers.")
        if not 0 < self.until <= 1:
            raise ValueError(f"until={self.until}: expected a fraction of the schedule in (0, 1].")

    @classmethod
    def of(cls, value: Any, name: str = "value") -> Annealed:
        """A course as it is; a number as the course that stays there.

        Raises:
            ValueError: neither.

        Example:
            >>> Course.of(0.5)
            Annealed(begin=0.5, end=0.5, until=1.0)
        """
        if isinstance(value, cls):
            return value
        if not isinstance(value, Real) or isinstance(value, bool):
            raise ValueError(f"{name}={value!r}: expected a number, or a Annealed(begin, end).")
        return cls(float(value), float(value))

    def at(self, progress: Any) -> Any:
        """The value at a progress between 0 and 1, a number or a scalar tensor."""
        if tf.is_tensor(progress):
            done = tf.minimum(progress / self.until, 1)
        else:
            done = min(progress / self.until, 1)
        return self.begin + (self.end - self.begin) * done
