"""How long a run is, and what a schedule means in it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Callable

import tensorflow as tf

from tfprune.foreign import is_foreign, landing
from tfprune.schedules import Schedule


@dataclass(frozen=True)
class Run:
    """How long the run is.

    Attributes:
        total_steps: steps of the whole run, those before a resumed one included; None: unknown.
        steps_per_epoch: None: unknown.
    """

    total_steps: int | None = None
    steps_per_epoch: int | None = None


def resolve(schedule: Any, run: Run) -> tuple[Callable, float]:
    """A schedule as `(timetable, final sparsity)` for a run.

    Raises:
        ValueError: the schedule needs a length that is not known.
        TypeError: not a schedule.
    """
    if isinstance(schedule, Schedule):
        timetable = schedule.resolve(run.total_steps, run.steps_per_epoch)
        return timetable, timetable.final
    if is_foreign(schedule):
        with tf.init_scope():
            last = run.total_steps if run.total_steps is not None else 2**31 - 1
            final = float(schedule(tf.constant(last, tf.int64))[1])
        return landing(schedule), final
    raise TypeError(
        f"Expected a schedule (tfprune.Polynomial(0.8), ...) or a TF-MOT PruningSchedule, got "
        f"{type(schedule).__name__}: {schedule!r}."
    )
