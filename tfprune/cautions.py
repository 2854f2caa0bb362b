# SPDX-License-Identifier: Apache-2.0
"""What would make a pruning run fail silently, said before or after it."""

from __future__ import annotations

import dataclasses
from typing import Any, Iterable

import numpy as np

from tfprune.couplings import Coupled, is_coupled
from tfprune.timetable import Timetable

_LONGEST_CHECK = 20_000


def of_siblings(callbacks: Iterable[Any]) -> list[str]:
    """Callbacks of the same run that bring back weights from before they were pruned."""
    said = []
    for callback in callbacks:
        name = type(callback).__name__
        if name == "EarlyStopping" and getattr(callback, "restore_best_weights", False):
            said.append(
                "EarlyStopping(restore_best_weights=True) brings back weights from before they "
                "were pruned: the best epoch is usually a dense one. Stop without restoring, or "
                "start it after the schedule has ended (start_from_epoch=...)."
            )
        if name == "ModelCheckpoint" and getattr(callback, "save_best_only", False):
            said.append(
                "ModelCheckpoint(save_best_only=True) keeps the best epoch, which is usually one "
                "before the model was pruned. Save every epoch, or look at `sparsity` in the logs."
            )
    return said


def of_length(timetable: Any, final: float, steps: int, *, ended: bool) -> list[str]:
    """A schedule that does not fire, or does not end, within a run of so many steps."""
    if not isinstance(timetable, Timetable):
        return _of_foreign(timetable, steps) if not ended else []
    first, last = int(timetable.updates[0]), int(timetable.updates[-1])
    if steps >= last:
        return []
    what = "never fires" if steps < first else "is cut short"
    when = f"training ended after {steps} steps" if ended else f"the run has {steps} steps"
    return [
        f"The pruning schedule {what}: it runs from step {first} to step {last} (sparsity "
        f"{final:.4g}), but {when}. Give its times as fractions of the run, or train longer."
    ]


def _of_foreign(schedule: Any, steps: int) -> list[str]:
    if steps > _LONGEST_CHECK:
        return []
    import tensorflow as tf

    with tf.init_scope():
        due = tf.function(
            lambda: tf.map_fn(lambda s: schedule(s)[0], tf.range(1, steps + 1, dtype=tf.int64),
                              fn_output_signature=tf.bool),
            autograph=False,
        )()
    if bool(tf.reduce_any(due)):
        return []
    return [
        f"The pruning schedule never fires in the {steps} steps of this run: check its begin_step "
        "and frequency."
    ]


def of_masks(settle: Any) -> list[str]:
    """A run after which masks are still full, or weights are not what masks say."""
    said, full = [], []
    for target in settle.targets:
        kernel, mask = (np.asarray(variable.read_value())  # without a copy
                        for variable in (target.kernel, target.mask))
        full.append(bool(mask.all()))
        if np.isnan(kernel).any():
            said.append(f"{target.site.name} holds NaN: the training diverged.")
        elif np.count_nonzero(kernel[mask == 0]):
            said.append(f"{target.site.name} has non-zero weights that its mask removes.")
    if settle.final > 0 and all(full):
        names = ", ".join(target.site.name for target in settle.targets)
        said.insert(0, f"Nothing was pruned in {names}: asked was a sparsity of "
                       f"{settle.final:.4g}, but the schedule chose no mask in this run.")
    return said


def of_channels(settle: Any) -> list[str]:
    """Masked channels of which something is left, since they might return until the very end."""
    timetable = settle.timetable
    ends = isinstance(timetable, Timetable) and timetable.repeat is None
    if settle.following is None or not settle.method.gate.hides or ends:
        return []
    names = [target.site.name for target in settle.targets
             if np.count_nonzero(np.asarray(target.mask.read_value())) < target.site.size]
    return [f"Masked channels of {', '.join(names)} may return for as long as masks are chosen, so "
            "they keep their biases and scales: give the schedule an end before that of the run."
            ] if names else []


def of_floors(settle: Any) -> list[str]:
    """A sparsity that the floors of an allocation did not allow, by more than a twentieth of what
    was to be kept."""
    rule, sites = settle.method.rule, [target.site for target in settle.targets]
    floors = _floors(rule.allocation)
    if rule.structure.fixed is not None or not settle.final or not any(floors):
        return []
    masks = (target.mask.numpy().astype("float32") for target in settle.targets)
    kept = [rule.structure.compete(rule.structure.reduce(mask, site.layout)) > 0
            for mask, site in zip(masks, sites)]
    if is_coupled(sites):
        coupled = Coupled.of(sites, [len(one) for one in kept])
        kept = [one > 0 for one in coupled.pool([one.astype("float32") for one in kept])]
        sites = [unit.site for unit in coupled.units]
    if not any(np.count_nonzero(one) <= max(floors) for one in kept):
        return []
    groups = [len(one) for one in kept]
    total, reached = sum(groups), sum(np.count_nonzero(one) for one in kept)
    held, free = (allocation.total(groups, sites, settle.final, settle.final)
                  for allocation in (rule.allocation, _floorless(rule.allocation)))
    if reached != held or held <= 1.05 * free:
        return []
    return [
        f"Asked was a sparsity of {settle.final:.6g}, reached is {1 - reached / total:.6g}: "
        f"{type(rule.allocation).__name__} keeps at least {max(floors)} of the groups of every "
        f"weight, {held} in all instead of {free}. With floor=0 layers may be emptied."
    ]


def _floors(allocation: Any) -> list[int]:
    inner = getattr(allocation, "others", None)
    own = [allocation.floor] if hasattr(allocation, "floor") else []
    return own + (_floors(inner) if inner is not None else [])


def _floorless(allocation: Any) -> Any:
    changes = {"floor": 0} if hasattr(allocation, "floor") else {}
    if getattr(allocation, "others", None) is not None:
        changes["others"] = _floorless(allocation.others)
    return dataclasses.replace(allocation, **changes)
