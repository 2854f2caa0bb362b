# SPDX-License-Identifier: Apache-2.0
"""TF-MOT's schedule objects inside this library: they are used as they are.

Custom subclasses are found among the classes that the process already defines. Nothing is
imported because a file names it.
"""

from __future__ import annotations

from typing import Any, Callable


def _schedule_base() -> type:
    from tfprune.adapters import import_tfmot

    return import_tfmot().sparsity.keras.PruningSchedule


def schedule_class(name: str) -> type:
    """The TF-MOT schedule class called `name`, custom subclasses included.

    Raises:
        ValueError: no such class is defined in this process.
    """
    pending = [_schedule_base()]
    while pending:
        cls = pending.pop()
        if cls.__name__ == name:
            return cls
        pending.extend(cls.__subclasses__())
    raise ValueError(
        f"The saved pruning settings use {name!r}, which is neither a setting of tfprune nor a "
        "PruningSchedule subclass defined in this process. Define or import it before loading."
    )


def saved_schedule(config: Any, custom_objects: dict[str, Any] | None = None) -> Any:
    """The schedule that a saved TF-MOT wrapper names.

    Args:
        config: `{"class_name": ..., "config": ...}`.
        custom_objects: classes of the user's, by name; looked up first.

    Raises:
        ValueError: no such class is defined in this process.
    """
    from tfprune.configs import from_config

    given = (custom_objects or {}).get(config["class_name"])
    return from_config(config) if given is None else given.from_config(config["config"])


def is_foreign(schedule: Any) -> bool:
    """Whether `schedule` is an object of TF-MOT's kind rather than one of this library's."""
    from tfprune.schedules import Schedule, accepts

    return accepts(schedule) and not isinstance(schedule, Schedule)


def landing(schedule: Any) -> Callable:
    """A TF-MOT schedule whose last update also reaches its last sparsity.

    A PolynomialDecay whose span is no multiple of its frequency never fires at `end_step` and so
    stops short of `final_sparsity`. This adds one update at `end_step`, only where the sparsity
    there differs from the sparsity of the schedule's own last update.

    Args:
        schedule: a `PruningSchedule`: `step -> (should_prune, sparsity)`.

    Returns:
        A callable of the same kind.
    """
    begin, end, every = (
        getattr(schedule, name, None) for name in ("begin_step", "end_step", "frequency")
    )
    if not all(isinstance(value, int) for value in (begin, end, every)) or end <= begin:
        return schedule
    import tensorflow as tf

    with tf.init_scope():
        due, at_end = schedule(tf.constant(end, tf.int64))
        _, at_last = schedule(tf.constant(end - (end - begin) % every, tf.int64))
        if bool(due) or float(at_end) == float(at_last):
            return schedule

    def landed(step):
        due, sparsity = schedule(step)
        return tf.logical_or(due, tf.equal(step, end)), sparsity

    return landed
