# SPDX-License-Identifier: Apache-2.0
"""The length of a run, and the timetable of a schedule in it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import tensorflow as tf

from tfprune.masks.resolved_schedule import Timetable
from tfprune.masks.schedules import Schedule
from tfprune.training.tfmot_timetable import ForeignTimetable
from tfprune.training.tfmot_words import is_foreign


@dataclass(frozen=True)
class Run:
    """How long the run is.

    Attributes:
        total_steps: steps of the whole run, those before a resumed one included; None: unknown.
        steps_per_epoch: None: unknown.
        groups: how many groups a schedule that counts them removes from; None: unknown.
    """

    total_steps: int | None = None
    steps_per_epoch: int | None = None
    groups: int | None = None
    known: list[ForeignTimetable] = field(default_factory=list, compare=False, repr=False)
    """Of this run already; to ask a schedule of another library for all its steps takes long."""


def resolve(schedule: Any, run: Run) -> tuple[Timetable | ForeignTimetable, float]:
    """A schedule as `(timetable, final sparsity)` for a run.

    Raises:
        ValueError: the schedule needs a length that is not known; one of another library prunes to
            what is no sparsity.
        TypeError: not a schedule.
    """
    if isinstance(schedule, Schedule):
        timetable = schedule.of_groups(run.groups).resolve(run.total_steps, run.steps_per_epoch)
        return timetable, timetable.final
    if is_foreign(schedule):
        known = next((one for one in run.known if one.serves(schedule, run.total_steps)), None)
        if known is None:
            known = ForeignTimetable(schedule, run.total_steps)
            run.known.append(known)
        return known, known.final
    raise TypeError(
        f"Expected a schedule (tfprune.Polynomial(0.8), ...) or a TF-MOT PruningSchedule, got "
        f"{type(schedule).__name__}: {schedule!r}."
    )


def last_update(timetable: Any, after: int, step: int) -> tuple[int, float] | None:
    """The last update that falls due after one step, up to another one: (its step, sparsity).

    Args:
        timetable: what `resolve` gave: a Timetable or a function like it.
        after, step: numbers of finished steps.

    Example:
        >>> from tfprune.masks.schedules import Polynomial
        >>> timetable, _ = resolve(Polynomial(0.5, end=8, power=1, frequency=4), Run(10))
        >>> last_update(timetable, -1, 5), last_update(timetable, 4, 7)
        ((4, 0.25), None)
    """
    if isinstance(timetable, Timetable):
        at = timetable.last(step)
        return None if at is None or at <= after else (at, timetable.sparsity(at))
    for one in range(step, after, -1):
        is_due, sparsity = timetable(tf.constant(one, tf.int64))
        if bool(is_due):
            return one, float(sparsity)
    return None
