# SPDX-License-Identifier: Apache-2.0
"""Measurements remembered in the state of the sites, so that they are saved with a model."""

from __future__ import annotations

from typing import Any, Sequence

import numpy as np
import tensorflow as tf

from tfprune.methods.statistics_table import FIRSTS
from tfprune.training.mask_updater import Target, write_state


class Memory:
    """Of the measurements of one settle; see `tfprune.methods.statistics_table`.

    Args:
        targets: its sites.
    """

    def __init__(self, targets: Sequence[Target]):
        self._states = [target.state for target in targets]

    @property
    def step(self) -> int:
        """The step of the last update; -1: there was none, or nothing is known of it."""
        return min(int(state["measured_step"].numpy()) for state in self._states)

    @property
    def batches(self) -> int:
        """How many batches of the data had been taken after it."""
        return max(int(state["batches_taken"].numpy()) for state in self._states)

    @property
    def averages(self) -> list[tf.Tensor] | None:
        """The running averages of the scores of each site; None: there are none yet."""
        if self.step < 0 or "average_score" not in self._states[0]:
            return None
        return [tf.convert_to_tensor(state["average_score"]) for state in self._states]

    def note(self, step: int, batches: int, averages: Sequence[Any] | None) -> None:
        """Remember an update.

        Args:
            step, batches, averages: what is now to be given by these names.
        """
        for index, state in enumerate(self._states):
            changes = {"measured_step": step, "batches_taken": batches}
            if averages is not None:
                changes["average_score"] = averages[index]
            write_state(state, changes)


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
