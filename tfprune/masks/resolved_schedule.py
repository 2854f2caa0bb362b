# SPDX-License-Identifier: Apache-2.0
"""The times of a run, and the update steps with their sparsities that a schedule resolves to."""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from tfprune.masks.serialization import register
from tfprune.output.argument_checks import is_integer, is_real, plain


@dataclass(frozen=True, eq=False)
class Timetable:
    """Tells for each step whether masks are chosen anew, and how sparse.

    Args:
        updates: Update steps, ascending, int64 [updates].
        sparsities: Fraction to remove at each of them, float64 [updates].
        repeat: After the last update, one more every `repeat` steps, at the final sparsity;
            None for none.

    Raises:
        ValueError: If there is no update, the steps do not ascend, or the lengths differ.

    >>> timetable = Timetable([0, 50, 100], [0.0, 0.7, 0.8])
    >>> timetable.is_update(50), timetable.sparsity(99), timetable.final
    (True, 0.7, 0.8)
    """

    updates: np.ndarray
    sparsities: np.ndarray
    repeat: int | None = None

    def __post_init__(self):
        for name, dtype in (("updates", np.int64), ("sparsities", np.float64)):
            array = np.array(getattr(self, name), dtype)
            array.flags.writeable = False
            object.__setattr__(self, name, array)
        updates = self.updates
        if updates.ndim != 1 or not updates.size or updates.shape != self.sparsities.shape:
            raise ValueError(
                "A timetable needs at least one update and a sparsity for each, got "
                f"shapes {updates.shape} and {self.sparsities.shape}."
            )
        if np.any(np.diff(updates) <= 0):
            raise ValueError(f"The update steps {updates} must ascend.")

    @property
    def final(self) -> float:
        """The last sparsity."""
        return float(self.sparsities[-1])

    @property
    def span(self) -> tuple[int, int]:
        """The steps of the first and of the last update."""
        return int(self.updates[0]), int(self.updates[-1])

    @property
    def ends(self) -> bool:
        """Whether there is a last update."""
        return self.repeat is None

    def shortfall(self, steps: int) -> str | None:
        """What is wrong with it in a run of so many steps, in words; None: nothing.

        >>> timetable = Timetable([10, 20], [0.4, 0.8])
        >>> timetable.shortfall(5), timetable.shortfall(15), timetable.shortfall(20)
        ('never fires', 'is cut short', None)
        """
        first, last = self.span
        if steps >= last:
            return None
        return "never fires" if steps < first else "is cut short"

    def reached(self, after: int, until: int) -> float | None:
        """The sparsity of the last update after one step, up to another one; None: there is none.

        >>> timetable = Timetable([10, 20], [0.4, 0.8], repeat=10)
        >>> timetable.reached(-1, 15), timetable.reached(15, 19), timetable.reached(20, 30)
        (0.4, None, 0.8)
        """
        steps = self.updates[self.updates <= until]
        last = int(steps[-1]) if len(steps) else -math.inf
        if self.repeat is not None and until >= self.updates[-1]:
            last = until - (until - last) % self.repeat
        return self.sparsity(until) if last > after else None

    def progress(self, step: Any) -> Any:
        """How far the updates have come at a step: 0 at the first, 1 at the last; 0 throughout if
        there is no last one.

        Args:
            step: int64 scalar tensor.

        Returns:
            float64 scalar tensor.
        """
        import tensorflow as tf

        first, last = self.span
        span = np.inf if self.repeat is not None else max(last - first, 1)
        done = tf.cast(tf.cast(step, tf.int64) - first, tf.float64)
        return tf.clip_by_value(done / span, 0.0, 1.0)

    def is_final(self, step: Any) -> Any:
        """Whether the masks chosen by then are the last ones.

        Args:
            step: int64 scalar tensor.

        Returns:
            bool scalar tensor.
        """
        import tensorflow as tf

        last = np.inf if self.repeat is not None else int(self.updates[-1])
        return tf.cast(step, tf.float64) >= last

    def sparsity(self, step: int) -> float:
        """The sparsity in force after `step` steps: the last update's, 0 before the first."""
        index = int(np.searchsorted(self.updates, step, side="right")) - 1
        return float(self.sparsities[index]) if index >= 0 else 0.0

    def last(self, step: int) -> int | None:
        """The last update step up to `step`; None if there is none yet.

        >>> Timetable([0, 50], [0.0, 0.8], repeat=20).last(99)
        90
        """
        index = int(np.searchsorted(self.updates, step, side="right")) - 1
        if index < 0:
            return None
        past = step - int(self.updates[-1])
        if self.repeat is None or past < 0:
            return int(self.updates[index])
        return step - past % self.repeat

    def is_update(self, step: int) -> bool:
        """Whether masks are chosen anew after `step` steps."""
        index = int(np.searchsorted(self.updates, step))
        if index < len(self.updates):
            return bool(self.updates[index] == step)
        return self.repeat is not None and (step - int(self.updates[-1])) % self.repeat == 0

    def __call__(self, step):
        """The same in TensorFlow ops, as TF-MOT's schedules are called; compiles under XLA.

        Args:
            step: Integer scalar tensor (or Python int).

        Returns:
            (update?, sparsity): bool and float64 scalar tensors.
        """
        import tensorflow as tf

        step = tf.cast(step, tf.int64)
        updates = tf.constant(self.updates)
        index = tf.searchsorted(updates, step[None], side="right")[0] - 1
        latest = tf.maximum(index, 0)
        due = tf.equal(tf.gather(updates, latest), step)
        if self.repeat is not None:
            past = step - int(self.updates[-1])
            due = due | ((past >= 0) & tf.equal(tf.math.floormod(past, self.repeat), 0))
        sparsity = tf.gather(tf.constant(self.sparsities), latest)
        return due, tf.where(index >= 0, sparsity, tf.zeros_like(sparsity))


@register
@dataclass(frozen=True)
class Epochs:
    """A time in epochs.

    Args:
        number: Number of epochs since the start of training; may have a fraction.

    >>> from tfprune import Polynomial
    >>> Polynomial(0.8, begin=Epochs(2), end=Epochs(5)).resolve(steps_per_epoch=10).updates[[0, -1]]
    array([20, 50])
    """

    number: float

    def __post_init__(self):
        object.__setattr__(self, "number", plain(self.number))
        if not is_real(self.number) or not 0 <= self.number < math.inf:
            raise ValueError(f"Epochs({self.number!r}): expected a number of at least 0.")


Time = int | float | Epochs


def check_sparsity(name: str, value: float) -> None:
    """Refuses what is no sparsity.

    Raises:
        ValueError: If the value is not a number in [0, 1); NaN is none.

    >>> check_sparsity("sparsity", 1.0)
    Traceback (most recent call last):
    ...
    ValueError: sparsity=1.0: expected a fraction to remove in [0, 1); 0.8 removes 80 %.
    """
    if not is_real(value) or not 0 <= value < 1:
        raise ValueError(
            f"{name}={value!r}: expected a fraction to remove in [0, 1); 0.8 removes 80 %."
        )


def as_number(time):
    return time.number if isinstance(time, Epochs) else time


def check_time(name, time):
    valid = isinstance(time, Epochs) or (is_integer(time) and time >= 0)
    if not valid and is_real(time) and not is_integer(time):
        valid = 0 <= time <= 1
    if not valid:
        raise ValueError(
            f"{name}={time!r}: expected a step (an integer of at least 0), a fraction "
            "of the run (a float in [0, 1]) or Epochs(n)."
        )


def in_steps(name, time, total_steps, steps_per_epoch):
    if is_integer(time):
        return int(time)
    unit, number = (
        ("epochs", steps_per_epoch)
        if isinstance(time, Epochs)
        else ("a fraction of the run", total_steps)
    )
    if number is None:
        argument = "steps_per_epoch" if isinstance(time, Epochs) else "total_steps"
        raise ValueError(
            f"{name}={time!r} is given in {unit}, and the length is unknown: pass "
            f"{argument}=..., or give {name} in steps (an integer)."
        )
    return round(as_number(time) * number)
