# SPDX-License-Identifier: Apache-2.0
"""Optimizer slots of a model that has lost channels."""

from __future__ import annotations

from typing import Any

import numpy as np

from tfprune.surgery.rebuild import Rebuild


def copy_slots(model: Any, small: Any, rebuild: Rebuild) -> list[str]:
    """Take over what the optimizer of a model keeps for each weight, and its counters; notes.

    What it keeps in other shapes than the weight's starts anew where the weight lost channels;
    a note names it.
    """
    adapter = rebuild.adapter
    old, new = (adapter.innermost_optimizer(one) for one in (model, small))
    if old is None or new is None:
        return ["no momenta to take over: the model is not compiled"]
    if not hasattr(old, "build"):
        return [f"no momenta taken over: {type(old).__name__} is a legacy optimizer"]
    if not old.variables:
        return ["no momenta to take over: the model has not been trained"]
    trained = {id(one) for one in small.trainable_variables}
    adapter.build_slots(small.optimizer, small.trainable_variables)
    anew = {
        adapter.raw(before).name.split(":")[0]: _copied(before, after, (old, new), rebuild)
        for before, after in rebuild.pairs
        if id(after) in trained
    }
    given, found = (adapter.counters(one.optimizer) for one in (model, small))
    for name in given.keys() & found.keys():
        found[name].assign(given[name])
    anew["the whole model"] = sorted(name.strip("_") for name in given.keys() - found.keys())
    starting: dict[str, list[str]] = {}
    for name, slots in anew.items():
        if slots:
            starting.setdefault(", ".join(slots), []).append(name)
    return [
        f"{slots} of {', '.join(names)} in the optimizer start anew"
        for slots, names in starting.items()
    ]


def _copied(before: Any, after: Any, optimizers: tuple[Any, Any], rebuild: Rebuild) -> list[str]:
    """Take over what is kept for one weight; the names of what starts anew."""
    adapter = rebuild.adapter
    try:
        given, found = (
            adapter.slots(optimizer, variable)
            for optimizer, variable in zip(optimizers, (before, after), strict=True)
        )
    except (AttributeError, KeyError):  # was not trained, or is kept in another way
        return ["all slots"]
    anew = [name for name in given if name not in found]
    raw = adapter.raw(before)
    for name in found.keys() & given.keys():
        value, slot = np.asarray(given[name]), found[name]
        if value.shape == tuple(raw.shape):
            value = rebuild.kept.sliced(raw, value)
        elif value.ndim and rebuild.kept.masks(raw):
            anew.append(name)
            continue
        slot.assign(value.astype(slot.dtype.as_numpy_dtype))
    return sorted(anew)
