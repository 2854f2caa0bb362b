# SPDX-License-Identifier: Apache-2.0
"""What is remembered of measurements, in the state of the sites: so it is saved with a model."""

from __future__ import annotations

from typing import Any, Sequence

import tensorflow as tf

from tfprune.training.mask_updater import Target, write_state


class Memory:
    """Of the measurements of one settle; see `tfprune.methods.measurement_state`.

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
