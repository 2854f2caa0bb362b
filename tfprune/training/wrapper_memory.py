# SPDX-License-Identifier: Apache-2.0
"""First values for what wrappers out of files of an earlier version do not remember."""

from __future__ import annotations

from typing import Any

import numpy as np

from tfprune.methods.statistics_table import FIRSTS


def with_memory(store: Any, own: list[Any], firsts: dict[int, Any]) -> Any:
    """What is saved of a wrapper; where an earlier version saved it, with the first values of what
    that did not remember.

    Args:
        store: {number as text: value} of the wrapper's own variables.
        own: these variables. What is remembered comes last.
        firsts: {id of a variable that remembers: its first value}.
    """
    missing = {str(n): firsts.get(id(one)) for n, one in enumerate(own) if n >= len(store)}
    if any(value is None for value in missing.values()):
        return store  # it does not fit, as Keras will say
    return {**{name: store[name] for name in store.keys()}, **missing}


def remembered(states: Any) -> dict[int, Any]:
    """{id of a variable: its first value} of what is remembered in the states of some sites."""
    return {
        id(one): np.full(one.shape, FIRSTS[name])
        for state in states
        for name, one in state.items()
        if name in FIRSTS
    }
