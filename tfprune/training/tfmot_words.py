# SPDX-License-Identifier: Apache-2.0
"""TF-MOT's settings and schedules in this library's words, and TF-MOT itself, without side effects.

Its schedule objects are used as they are. Custom subclasses are found among the classes that the
process already defines. Nothing is imported because a file names it.
"""

from __future__ import annotations

import dataclasses
import functools
import os
import sys
from types import ModuleType
from typing import Any

from tfprune.masks import kernel_layout
from tfprune.masks.kernel_layout import Layout
from tfprune.masks.schedules import OneShot, Schedule, accepts
from tfprune.masks.serialization import from_config
from tfprune.masks.sites import Site
from tfprune.masks.structures import Block, Element, NofM, Structure
from tfprune.methods import Method, get_method

_POOLINGS = {"AVG": "mean", "MAX": "max"}


def structure_of_tfmot(
    block_size: Any,
    block_pooling_type: str,
    sparsity_m_by_n: Any,
    *,
    layout: Layout = kernel_layout.DENSE,
) -> Structure:
    """TF-MOT's block and m-by-n arguments as a structure.

    Args:
        block_size: (height, width) on the Keras kernel.
        block_pooling_type: "AVG" or "MAX".
        sparsity_m_by_n: (m, n) = m ZEROS in every n consecutive weights; None: not wanted.
        layout: of the kernel, which says how it lies in TFLite's matrix.

    Raises:
        ValueError: another pooling; m not below n.

    Example:
        >>> structure_of_tfmot((1, 1), "AVG", (1, 4))
        NofM(n=3, m=4)
    """
    if sparsity_m_by_n:
        zeros, group = sparsity_m_by_n
        return NofM(group - zeros, group)
    if tuple(block_size) == (1, 1):
        return Element()
    if block_pooling_type not in _POOLINGS:
        raise ValueError(
            f"Unsupported pooling type '{block_pooling_type}'. Should be 'AVG' or 'MAX'."
        )
    return Block.of_kernel(block_size, layout, _POOLINGS[block_pooling_type])


def method_of_tfmot(
    pruning_schedule: Any,
    block_size: Any,
    block_pooling_type: str,
    sparsity_m_by_n: Any,
    *,
    layout: Layout = kernel_layout.DENSE,
) -> Method:
    """The method that TF-MOT's arguments describe: magnitude, per layer.

    With `sparsity_m_by_n` TF-MOT chooses the mask once, at step 1, whatever the schedule says.
    """
    structure = structure_of_tfmot(block_size, block_pooling_type, sparsity_m_by_n, layout=layout)
    if isinstance(structure, NofM):
        pruning_schedule = OneShot(1 - structure.n / structure.m, at=1)
    return get_method("magnitude", structure=structure, schedule=pruning_schedule)


def site_of_tfmot(site: Site, wrapper: Any) -> Site:
    """The site with the axes along which TF-MOT looks for its m zeros in n.

    TF-MOT reads every kernel of rank 2 as Dense, every kernel of rank 4 as Conv2D.
    """
    layout = {2: kernel_layout.DENSE, 4: kernel_layout.conv(2)}.get(len(site.shape))
    if not wrapper.sparsity_m_by_n or layout is None:
        return site
    return dataclasses.replace(site, layout=layout)


@functools.cache
def import_tfmot() -> ModuleType:
    """Import TF-MOT without its side effects on the user's own `tf.keras`.

    TF-MOT sets TF_USE_LEGACY_KERAS, which would turn an untouched `tf.keras` into tf_keras for
    the rest of the process. `tf.keras` is therefore resolved first, under the user's own setting.
    """
    if "tensorflow_model_optimization" in sys.modules:
        import tensorflow_model_optimization

        return tensorflow_model_optimization
    import tensorflow as tf

    getattr(tf.keras, "version", None)
    variable = "TF_USE_LEGACY_KERAS"
    before = os.environ.get(variable)
    try:
        import tensorflow_model_optimization
    finally:
        if before is None:
            os.environ.pop(variable, None)
        else:
            os.environ[variable] = before
    return tensorflow_model_optimization


def tfmot_wrapper() -> type:
    """TF-MOT's class."""
    import_tfmot()
    from tensorflow_model_optimization.python.core.sparsity.keras import pruning_wrapper

    return pruning_wrapper.PruneLowMagnitude


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
