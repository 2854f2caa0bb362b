# SPDX-License-Identifier: Apache-2.0
"""Chooses masks from measured scores: between two training steps, with the model at hand."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Callable, Sequence

import numpy as np
import tensorflow as tf

from tfprune.masks.array_namespace import array
from tfprune.methods.statistics_table import measured
from tfprune.methods.update import State, Update
from tfprune.statistics.calibration_data import Feed
from tfprune.statistics.measure import measuring
from tfprune.statistics.measured_model import Subject
from tfprune.training.mask_updater import Settle, write_state
from tfprune.training.run_length import last_update


class Updates:
    """The updates of one settle whose scores are measured.

    Args:
        settle: its sites, its method and its timetable.
        subject: the model with these sites.
        feed: the data; None: none.
        step: finished steps at the beginning of the run.
    """

    def __init__(self, settle: Settle, subject: Subject, feed: Feed | None, *, step: int):
        self.settle = settle
        self.subject = subject
        self.feed = feed
        self._states = [target.state for target in settle.targets]
        known = min(int(state["measured_step"].numpy()) for state in self._states)
        self._step, self._reached = step - 1, 0.0
        if known >= 0:
            self._step = known
            self._reached = float(settle.timetable(tf.constant(known, tf.int64))[1])
        self.cautions: Sequence[str] = ()
        self.notes: dict[str, tuple[str, ...]] = {}

    def update(self, step: int) -> None:
        """Make the last update that fell due since the last call, if any; the first call since
        the last update that is remembered. If that is interrupted, nothing has changed.

        Args:
            step: finished steps.

        Raises:
            ValueError: data is needed and there is none, or it does not fit the model.
        """
        due = last_update(self.settle.timetable, self._step, step)
        self._step = step
        if due is None:
            return
        at, sparsity = due
        update, measured = self._asked(at, sparsity)
        self._write(update)
        self.notes, self.cautions = _merged(measured, update.notes), update.cautions
        self._reached = sparsity
        # What is remembered is in the state of the sites, so it is saved with a model.
        memory = {"measured_step": at, "batches_taken": self.feed.taken if self.feed else 0}
        for state, changes in zip(self._states, update.state, strict=True):
            write_state(state, {**changes, **memory})

    @property
    def batches(self) -> int:
        """How many batches of the data had been taken after the last update."""
        return max(int(state["batches_taken"].numpy()) for state in self._states)

    def _asked(self, at: int, sparsity: float) -> tuple[Update, dict[str, tuple[str, ...]]]:
        """What the rule answers, after the last of its rounds, and notes on what was measured."""
        rule, targets = self.settle.method.rule, self.settle.targets
        dense = [tf.convert_to_tensor(target.kernel) for target in targets]
        try:
            with measuring(
                rule.score.needs,
                self.subject,
                self.feed,
                rule.structure,
                settings=rule.score.settings,
            ) as measure:
                if rule.changes:
                    found = measure()
                else:
                    update = self._in_rounds(measure, at, sparsity)
                notes = measure.notes()
        finally:
            if rule.rounds > 1:
                for target, value in zip(targets, dense, strict=True):
                    target.kernel.assign(value, read_value=False)
        if rule.changes:  # where measuring no longer holds other weights in the model
            update = rule.update(self._state(found, at, sparsity))
        return update, notes

    def _in_rounds(self, measure: Callable, at: int, sparsity: float) -> Update:
        """What the rule answers in the last round; each measures once, and applies its masks where
        another one follows."""
        rule, targets = self.settle.method.rule, self.settle.targets
        if rule.rounds > 1 and all(one.traceable for one in measured(rule.score.needs)):
            measure = tf.function(measure, autograph=False)
        changed: Sequence[dict[str, Any]] = [{}] * len(targets)
        groups = rule.groups([target.site for target in targets])
        for level in rule.course(min(self._reached, sparsity), sparsity, groups):
            update = rule.update(self._state(measure(), at, level, changed))
            if rule.rounds > 1:
                for target, mask in zip(targets, update.masks, strict=True):
                    kept = np.where(mask, array(target.kernel), 0)
                    target.kernel.assign(kept, read_value=False)
            changed = [{**one, "measured_step": at} if one else one for one in update.state]
        return update

    def _state(
        self,
        measured: Sequence[dict[str, Any]],
        at: int,
        sparsity: float,
        changed: Sequence[dict[str, Any]] = (),
    ) -> State:
        """What the rule sees, in arrays: what was measured counts most, then what has changed."""
        settle = self.settle
        variables = [target.variables for target in settle.targets]
        now = settle.state(variables, np.float64(sparsity), np.int64(at), read=array)
        now = replace(now.after(changed) if changed else now, subject=self.subject, feed=self.feed)
        arrays = [{name: array(one) for name, one in site.items()} for site in measured]
        return now.after(arrays) if arrays else now

    def _write(self, update: Update) -> None:
        """Write masks, states and weights, and apply the masks."""
        masks = (target.mask for target in self.settle.targets)
        written = [*update.kernels, *zip(masks, update.masks, strict=True)]
        before = [tf.convert_to_tensor(variable) for variable, _ in written]
        try:
            for variable, value in written:
                variable.assign(tf.cast(value, variable.dtype), read_value=False)
            self.settle.note_masks()
            self.settle.apply(self._step)
        except BaseException:
            for (variable, _), value in zip(written, before, strict=True):
                variable.assign(value, read_value=False)
            raise


def _merged(*parts: dict[str, tuple[str, ...]]) -> dict[str, tuple[str, ...]]:
    """The texts on each site, of all parts one after another."""
    return {
        name: tuple(text for part in parts for text in part.get(name, ()))
        for name in dict.fromkeys(name for part in parts for name in part)
    }
