"""Momenta of an optimizer for a model that has lost channels."""

from __future__ import annotations

from typing import Any

import numpy as np

from tfprune.surgery.rebuild import Rebuild


def copy_slots(model: Any, small: Any, rebuild: Rebuild) -> list[str]:
    """Take over what the optimizer of a model keeps for each weight, and its step; notes.

    What it keeps in other shapes than the weights' starts anew.
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
    missing = 0
    adapter.build_slots(new, small.trainable_variables)
    for before, after in rebuild.pairs:
        if id(after) not in trained:
            continue
        try:
            pairs = list(zip(adapter.momenta(old, before), adapter.momenta(new, after),
                             strict=True))
        except (AttributeError, KeyError, ValueError):
            missing += 1
            continue
        for one, other in pairs:
            value = rebuild.kept.sliced(adapter.raw(before), np.asarray(one))
            other.assign(value.astype(other.dtype.as_numpy_dtype))
    new.iterations.assign(np.asarray(old.iterations))
    return [f"momenta of {missing} weights start anew"] if missing else []
