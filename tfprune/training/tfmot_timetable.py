# SPDX-License-Identifier: Apache-2.0
"""A schedule of TF-MOT's kind as the timetable of a run, which reaches its end."""

from __future__ import annotations

import copy
import math
import operator
from typing import Any

import numpy as np
import tensorflow as tf

from tfprune.output.argument_checks import plain
from tfprune.training.tfmot_words import name_of

_PART = 1_000_000  # steps that are looked at in one call
_MOST_SINGLY = 20_000  # steps that are looked at where a schedule takes one at a time
_FIRST = 1_000  # of more than these


class ForeignTimetable:
    """Tells for each step whether masks are chosen anew, and how sparse, as TF-MOT's objects do.

    A PolynomialDecay whose span is no multiple of its frequency never fires at `end_step` and so
    stops short of `final_sparsity`. One update is added at `end_step`, only where the sparsity
    there differs from the sparsity of the schedule's own last update.

    Args:
        schedule: a `PruningSchedule`, or an object like it: `step -> (prune now?, sparsity)`. Its
            numbers may be NumPy's.
        total_steps: of the run; None: unknown.

    Attributes:
        name: of the schedule, with its settings.
        span: (step at which it begins, step at which it ends), None for what it does not tell.
        final: its last sparsity; NaN: not known.

    Raises:
        ValueError: it cannot be called with a step, it returns something else than a boolean
            tensor and a number, or it prunes to what is not in [0, 1) within the run.
    """

    def __init__(self, schedule: Any, total_steps: int | None = None):
        self.name = name_of(schedule)
        self._given, self._total_steps = schedule, total_steps
        self._known: dict[int, tuple[np.ndarray, np.ndarray] | None] = {}
        self._schedule = _with_plain_numbers(schedule)
        begin, end, self._every = (
            _step(getattr(schedule, name, None)) for name in ("begin_step", "end_step", "frequency")
        )
        end = None if end is None or end < 0 else end
        self.span = begin, end
        at = next(one for one in (end, total_steps, 2**31 - 1) if one is not None)
        with tf.init_scope():
            self.final = self._one(at)[1]
            if end is not None:
                self._refuse(self.final, end)
            elif not 0 <= self.final < 1:  # of a run without a known end
                self.final = math.nan
            self._lands_at = end if self._stops_short() else None
        if total_steps is not None:
            self._updates(total_steps)

    def __call__(self, step: Any) -> tuple[Any, Any]:
        """(update?, sparsity): scalar tensors, in the schedule's own floating type."""
        due, sparsity = self._ask(step)
        if self._lands_at is not None:
            due = tf.logical_or(due, tf.equal(tf.cast(step, tf.int64), self._lands_at))
        valid = (sparsity >= 0) & (sparsity < 1)
        # XLA compiles no assertion: what is no sparsity prunes nothing there.
        wrong = f"{self._yields} what is none, {_WANTED}. Got"
        tf.debugging.Assert(valid | ~due, [wrong, sparsity])
        return due & valid, sparsity

    def serves(self, schedule: Any, total_steps: int | None) -> bool:
        """Whether it is the timetable of another schedule, too: of its class, with equal values."""
        one, other = self._given, schedule
        if one is other:
            return total_steps == self._total_steps
        try:
            same = type(one) is type(other) and bool(vars(one) == vars(other))
        except (TypeError, ValueError):  # no attributes, or arrays among them
            return False
        return same and total_steps == self._total_steps

    @property
    def ends(self) -> bool:
        """Whether it tells when its last update is."""
        return self.span[1] is not None

    def is_final(self, step: Any) -> Any:
        """Whether the masks chosen by then are the last ones: a bool scalar tensor."""
        last = self.span[1]
        return tf.constant(False) if last is None else tf.cast(step, tf.int64) >= last

    def shortfall(self, steps: int) -> str | None:
        """What is wrong with it in a run of so many steps, in words; None: nothing, or too many
        to look at.

        Raises:
            ValueError: an update in these steps is to what is no sparsity.
        """
        reached, end = self.reached(-1, steps), self.span[1]
        if reached is None:
            return "never fires"
        return "is cut short" if end is not None and steps < end and reached < self.final else None

    def reached(self, after: int, until: int) -> float | None:
        """The sparsity of the last update after one step, up to another one; None if there is
        none, NaN if there are too many steps to look at."""
        known = self._updates(until)
        if known is None:
            return math.nan
        late = known[1][known[0] > after]
        return float(late[-1]) if len(late) else None

    def _updates(self, until: int) -> tuple[np.ndarray, np.ndarray] | None:
        """The update steps up to one, and their sparsities; None if there are too many."""
        if until not in self._known:
            self._known[until] = self._look(until)
        return self._known[until]

    def _look(self, until: int) -> tuple[np.ndarray, np.ndarray] | None:
        parts = []
        for begin in range(0, until + 1, _PART):
            steps = np.arange(begin, min(until + 1, begin + _PART), dtype=np.int64)
            due, sparsities = self._at_once(steps) or self._singly(
                steps if len(steps) <= _MOST_SINGLY else steps[:_FIRST]
            )
            due = due | (steps[: len(due)] == self._lands_at)
            at = np.flatnonzero(due)
            for index in at[~((sparsities[at] >= 0) & (sparsities[at] < 1))][:1]:
                self._refuse(float(sparsities[index]), int(steps[index]))
            if len(due) < len(steps):
                return None
            parts.append((steps[at], sparsities[at]))
        steps, sparsities = zip(*parts, strict=True)
        return np.concatenate(steps), np.concatenate(sparsities)

    def _at_once(self, steps: np.ndarray) -> tuple[np.ndarray, np.ndarray] | None:
        """At many steps in one call; None where the schedule takes them singly only."""
        try:
            with tf.init_scope():
                due, sparsity = self._schedule(tf.constant(steps))
                found = (
                    np.broadcast_to(due, steps.shape).astype(bool),
                    np.broadcast_to(sparsity, steps.shape).astype(np.float64),
                )
                probes = {0, len(steps) // 3, len(steps) // 2, len(steps) - 1}
                same = all(
                    np.array_equal(
                        [found[0][at], found[1][at]], self._one(steps[at]), equal_nan=True
                    )
                    for at in probes
                )
        except Exception:  # it is made for single steps, at which errors are said
            return None
        return found if same else None

    def _singly(self, steps: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        def ask(step):
            due, sparsity = self._ask(step)
            return due, tf.cast(sparsity, tf.float64)

        with tf.init_scope():
            found = tf.function(
                lambda: tf.map_fn(
                    ask, tf.constant(steps), fn_output_signature=(tf.bool, tf.float64)
                ),
                autograph=False,
            )()
            return found[0].numpy(), found[1].numpy()

    def _one(self, step: int) -> tuple[bool, float]:
        due, sparsity = self._ask(tf.constant(step, tf.int64))
        return bool(due), float(sparsity)

    def _stops_short(self) -> bool:
        begin, end = self.span
        if begin is None or end is None or not self._every or end <= begin:
            return False
        at_own_last = self._one(end - (end - begin) % self._every)[1]
        return not self._one(end)[0] and self.final != at_own_last

    def _ask(self, step: Any) -> tuple[Any, Any]:
        """What the schedule returns at a step, as two scalar tensors."""
        try:
            answer = self._schedule(step)
        except Exception as error:
            raise ValueError(self._cannot_be_called(error)) from error
        if not isinstance(answer, (tuple, list)) or len(answer) != 2:
            raise ValueError(
                f"The pruning schedule {self.name} returned {answer!r}: expected a "
                "pair, whether to prune at the step and the sparsity."
            )
        due, sparsity = answer
        if not tf.is_tensor(due) or due.dtype != tf.bool or due.shape.rank not in (0, None):
            raise ValueError(
                f"The pruning schedule {self.name} returned {due!r} for whether to prune at a "
                "step: expected a scalar tensor of booleans, such as tf.equal(step, 10), or "
                "tf.constant(True) where it always prunes."
            )
        return due, self._number(sparsity)

    def _number(self, sparsity: Any) -> tf.Tensor:
        if isinstance(sparsity, (int, float)) and not isinstance(sparsity, bool):
            return tf.constant(float(sparsity), tf.float64)
        is_number = tf.is_tensor(sparsity) or isinstance(sparsity, np.generic)
        tensor = tf.convert_to_tensor(sparsity) if is_number else None
        if tensor is None or not tensor.dtype.is_floating or tensor.shape.rank not in (0, None):
            raise ValueError(
                f"The pruning schedule {self.name} returned {sparsity!r} for the "
                f"sparsity: {_WANTED}."
            )
        return tensor

    def _cannot_be_called(self, error: Exception) -> str:
        times = ("begin_step", "end_step", "frequency")
        floats = [
            f"{name}={getattr(self._schedule, name)}"
            for name in times
            if isinstance(getattr(self._schedule, name, None), float)
        ]
        if floats:
            return (
                f"The pruning schedule {self.name} cannot be called with a step, since "
                f"{' and '.join(floats)} is no integer: pass int(...)."
            )
        if isinstance(error, tf.errors.OperatorNotAllowedInGraphError):
            return (
                f"The pruning schedule {self.name} cannot be called with a step, which is a "
                "tensor in a compiled training step: a Python `if` on it has to be tf.cond or "
                "tf.where."
            )
        return f"The pruning schedule {self.name} cannot be called with a step: {error}"

    @property
    def _yields(self) -> str:
        return f"The pruning schedule {self.name} yields as sparsity"

    def _refuse(self, sparsity: float, step: int) -> None:
        if 0 <= sparsity < 1:
            return
        begin, end = self.span
        once = (
            ""
            if begin is None or begin != end
            else (
                f" It begins where it ends; to prune once take tfprune.OneShot(sparsity, at={end})."
            )
        )
        raise ValueError(f"{self._yields} {sparsity:g} at step {step}: {_WANTED}.{once}")


_WANTED = "expected a number in [0, 1), the fraction to remove"


def _step(value: Any) -> int | None:
    """An integer of any library as Python's; None for what is none."""
    try:
        return None if isinstance(value, (bool, np.bool_)) else operator.index(value)
    except TypeError:
        return None


def _with_plain_numbers(schedule: Any) -> Any:
    """The schedule, its NumPy numbers as Python's: TensorFlow would keep their types, which do not
    mix with those that TF-MOT computes in."""
    held = getattr(schedule, "__dict__", {})
    numbers = {name: plain(value) for name, value in held.items() if plain(value) is not value}
    if not numbers:
        return schedule
    changed = copy.copy(schedule)
    vars(changed).update(numbers)
    return changed
