# SPDX-License-Identifier: Apache-2.0
"""TF-MOT's schedule objects inside this library: they are used as they are.

Custom subclasses are found among the classes that the process already defines. Nothing is
imported because a file names it.
"""

from __future__ import annotations

import dataclasses
from typing import Any

from tfprune.masks.schedules import Schedule, accepts
from tfprune.masks.serialization import from_config
from tfprune.training.tfmot_package import import_tfmot


def schedule_class(name: str) -> type:
    """The TF-MOT schedule class called `name`, custom subclasses included.

    Raises:
        ValueError: no such class is defined in this process.
    """
    pending = [import_tfmot().sparsity.keras.PruningSchedule]
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
    given = (custom_objects or {}).get(config["class_name"])
    return from_config(config) if given is None else given.from_config(config["config"])


def is_foreign(schedule: Any) -> bool:
    """Whether `schedule` is an object of TF-MOT's kind rather than one of this library's."""
    return accepts(schedule) and not isinstance(schedule, Schedule)


def name_of(schedule: Any) -> str:
    """A schedule with its settings, for messages.

    >>> from tfprune.masks.schedules import OneShot
    >>> name_of(OneShot(0.5))
    'OneShot(sparsity=0.5, at=0)'
    """
    if dataclasses.is_dataclass(schedule):
        return repr(schedule)
    try:
        config = schedule.get_config()
        config = config.get("config", config)
        settings = ", ".join(f"{name}={value}" for name, value in config.items())
    except Exception:  # a message must not fail for want of a name
        settings = "..."
    return f"{type(schedule).__name__}({settings})"
