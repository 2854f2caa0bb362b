# SPDX-License-Identifier: Apache-2.0
"""Warnings of runs that prune nothing, or lose it again, without an error."""

from __future__ import annotations

import dataclasses
from typing import Any, Iterable

import numpy as np

from tfprune.backend import KERAS3, adapter_of
from tfprune.masks.sites import Coupled, is_coupled
from tfprune.training.tfmot_words import name_of


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


def refuse_siblings(callbacks: Iterable[Any], model: Any) -> None:
    """Refuses callbacks of the same run that take no model of Keras 3.

    Raises:
        TypeError: TF-MOT's PruningSummaries is to read one.
    """
    kinds = {cls.__name__ for callback in callbacks for cls in type(callback).__mro__}
    if "PruningSummaries" in kinds and adapter_of(model).NAME == KERAS3:
        raise TypeError(
            "TF-MOT's PruningSummaries reads tf_keras models only. For a keras model put "
            "tfprune.SparsityLog(log_dir) behind PruningCallback(): it writes the sparsity of each "
            "weight to TensorBoard."
        )


def of_length(timetable: Any, schedule: Any, steps: int, when: str) -> list[str]:
    """A schedule that does not fire, or does not end, within a run.

    Args:
        timetable: what the schedule is in this run.
        schedule: named in the text.
        steps: finished steps at the end of the run, those before it included.
        when: the end of the run in words.
    """
    what = timetable.shortfall(steps)
    if what is None:
        return []
    first, last = timetable.span
    runs = "" if first is None else f"it begins at step {first}, but "
    if last is not None:
        when_due = (
            f"its one update is at step {last}"
            if first == last
            else f"it runs from step {first} to step {last}"
        )
        runs = f"{when_due} (sparsity {timetable.final:.4g}), but "
    return [
        f"The pruning schedule {name_of(schedule)} {what}: {runs}{when}. Train longer, or give it "
        "times within the run; those of tfprune's schedules may be fractions of it."
    ]


def of_resumed(settles: Iterable[Any], step: int) -> list[str]:
    """Methods that keep more than the zeros, in a sparse model that holds no more than these."""
    said = []
    for settle in settles:
        method = settle.method
        keeps = (
            method.gate.hides
            or method.gate.acts
            or (method.rule.is_measured and method.rule.momentum)
        )
        if keeps and any(not np.asarray(one.mask.read_value()).all() for one in settle.targets):
            said.append(
                f"The run goes on after step {step} without what {method.name!r} may have kept "
                "beside the weights, which nobody saved: only a wrapped model, "
                f"tfprune.prune(model, {method.name!r}, ...), resumes exactly."
            )
    return said


def of_masks(settle: Any, begin: int, steps: int) -> list[str]:
    """A run after which masks are still full, or weights are not what masks say.

    Args:
        settle: its sites.
        begin: finished steps before the run.
        steps: finished steps after it.
    """
    said, full = [], []
    for target in settle.targets:
        kernel, mask = (
            np.asarray(variable.read_value())  # without a copy
            for variable in (target.kernel, target.mask)
        )
        full.append(bool(mask.all()))
        if np.isnan(kernel).any():
            said.append(f"{target.site.name} holds NaN: the training diverged.")
        elif np.logical_and(kernel, mask == 0).any():
            said.append(f"{target.site.name} has non-zero weights that its mask removes.")
    if settle.final > 0 and all(full):
        names = ", ".join(target.site.name for target in settle.targets)
        reached = settle.timetable.reached(begin or -1, steps)
        said.insert(
            0,
            f"Nothing was pruned in {names}: asked was a sparsity of "
            f"{settle.final:.4g}{_why_full(settle, reached)}.",
        )
    return said


def _why_full(settle: Any, reached: float | None) -> str:
    if reached is None:
        return f", but the schedule {name_of(settle.method.schedule)} chose no mask in this run"
    if reached == 0:
        return (
            f", but in this run the schedule {name_of(settle.method.schedule)} came to a "
            "sparsity of 0 only"
        )
    if reached > 0:
        return (
            f", but at {reached:.4g} {settle.method.rule.allocation} keeps every group that "
            f"{settle.method.rule.structure} makes of them"
        )
    return ""


def of_channels(settle: Any, steps: int) -> list[str]:
    """Masked channels of which something is left, since they might return until the very end.

    Args:
        settle: its sites.
        steps: finished steps after the run.
    """
    if settle.following is None or bool(settle.is_final(np.int64(steps))):
        return []
    names = [
        target.site.name
        for target in settle.targets
        if np.count_nonzero(np.asarray(target.mask.read_value())) < target.site.size
    ]
    return (
        [
            f"Masked channels of {', '.join(names)} may return for as long as masks are chosen, so "
            "they keep their biases and scales: give the schedule an end before that of the run."
        ]
        if names
        else []
    )


def of_floors(settle: Any) -> list[str]:
    """A sparsity that the floors of an allocation did not allow, by more than a twentieth of what
    was to be kept."""
    rule, sites = settle.method.rule, [target.site for target in settle.targets]
    floors = _floors(rule.allocation)
    if rule.structure.fixed is not None or not settle.final > 0 or not any(floors):
        return []
    most = max(floors)
    if not is_coupled(sites) and all(_keeps_more(rule.structure, t, most) for t in settle.targets):
        return []
    kept = [_kept(rule.structure, target) for target in settle.targets]
    if is_coupled(sites):
        coupled = Coupled.of(sites, [len(one) for one in kept])
        kept = [one > 0 for one in coupled.pool([one.astype("float32") for one in kept])]
        sites = [unit.site for unit in coupled.units]
    if not any(np.count_nonzero(one) <= most for one in kept):
        return []
    groups = [len(one) for one in kept]
    total, reached = sum(groups), sum(np.count_nonzero(one) for one in kept)
    held, free = (
        allocation.total(groups, sites, settle.final, settle.final)
        for allocation in (rule.allocation, _floorless(rule.allocation))
    )
    if reached != held or held <= 1.05 * free:
        return []
    return [
        f"Asked was a sparsity of {settle.final:.6g}, reached is {1 - reached / total:.6g}: "
        f"{type(rule.allocation).__name__} keeps at least {most} of the groups of every "
        f"weight, {held} in all instead of {free}. With min_keep=0 layers may be emptied."
    ]


def _keeps_more(structure: Any, target: Any, groups: int) -> bool:
    """Whether the number of kept weights tells that more than so many groups of a site are kept:
    none is four times as large as their mean, padded as they may be along two axes."""
    site, weights = target.site, np.count_nonzero(np.asarray(target.mask.read_value()))
    return weights * structure.groups(site.shape, site.layout) > 4 * groups * site.size


def _kept(structure: Any, target: Any) -> np.ndarray:
    """Which groups of a site are kept."""
    mask = np.asarray(target.mask.read_value()).astype("float32")
    return structure.compete(structure.reduce(mask, target.site.layout)) > 0


def _floors(allocation: Any) -> list[int]:
    inner = getattr(allocation, "others", None)
    own = [allocation.min_keep] if hasattr(allocation, "min_keep") else []
    return own + (_floors(inner) if inner is not None else [])


def _floorless(allocation: Any) -> Any:
    changes = {"min_keep": 0} if hasattr(allocation, "min_keep") else {}
    if getattr(allocation, "others", None) is not None:
        changes["others"] = _floorless(allocation.others)
    return dataclasses.replace(allocation, **changes)
