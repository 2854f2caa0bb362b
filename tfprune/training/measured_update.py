# SPDX-License-Identifier: Apache-2.0
"""Chooses masks from measured scores: between two training steps, with the model at hand."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Callable, Sequence

import tensorflow as tf

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
        self._compiled = tf.function(self._round, autograph=False, reduce_retracing=True)

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
        update, measured = self._asked(tf.constant(at, tf.int64), sparsity)
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

    def _asked(self, at: tf.Tensor, sparsity: float) -> tuple[Update, dict[str, tuple[str, ...]]]:
        """What the rule answers, after the last of its rounds, and notes on what was measured."""
        rule, targets = self.settle.method.rule, self.settle.targets
        dense = [target.kernel.read_value() for target in targets]
        nothing: list[dict[str, Any]] = [{}] * len(targets)
        last = tf.constant(sparsity, tf.float64)
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
                    update = self._in_rounds(measure, nothing, at, sparsity)
                notes = measure.notes()
        finally:
            if rule.rounds > 1:
                for target, value in zip(targets, dense, strict=True):
                    target.kernel.assign(value, read_value=False)
        if rule.changes:  # where measuring no longer holds other weights in the model
            update = rule.update(self._state(found, nothing, at, last))
        return update, notes

    def _in_rounds(
        self, measure: Callable, changed: list[dict[str, Any]], at: tf.Tensor, sparsity: float
    ) -> Update:
        """What the rule answers in the last round; each measures once.

        What needs no pass over data is one compiled function, in which each tensor is freed as soon
        as it can be.
        """
        rule = self.settle.method.rule

        def called(*given: Any) -> Any:
            return self._compiled(measure(), *given)

        def traced(*given: Any) -> Any:
            return self._round(measure(), *given)

        whole = all(one.traceable for one in measured(rule.score.needs)) and not rule.momentum
        ask = tf.function(traced, autograph=False) if whole else called
        groups = rule.groups([target.site for target in self.settle.targets])
        made: list[Any] = []
        for level in rule.course(min(self._reached, sparsity), sparsity, groups):
            made.clear()  # frees the masks of the last round
            made += ask(changed, at, tf.constant(level, tf.float64))
            changed = [{**one, "measured_step": at} if one else one for one in made[1]]
        return Update(*made)

    def _round(self, *given: Any) -> tuple[Sequence[Any], Sequence[dict[str, Any]]]:
        """The masks, and what changes of the states; of several rounds each applies its masks."""
        update = self.settle.method.rule.update(self._state(*given))
        if self.settle.method.rule.rounds > 1:
            for target, mask in zip(self.settle.targets, update.masks, strict=True):
                # Subtracted in place: assigned values would take new memory in every round.
                zero = tf.zeros([], target.kernel.dtype)
                target.kernel.assign_sub(tf.where(mask, zero, target.kernel), read_value=False)
        return update.masks, update.state

    def _state(
        self,
        measured: Sequence[dict[str, Any]],
        changed: Sequence[dict[str, Any]],
        at: tf.Tensor,
        sparsity: tf.Tensor,
    ) -> State:
        settle = self.settle
        now = settle.state([target.variables for target in settle.targets], sparsity, at)
        now = replace(now.after(changed), subject=self.subject)
        return now.after(measured) if measured else now

    def _write(self, update: Update) -> None:
        """Write masks, states and weights, and apply the masks."""
        masks = (target.mask for target in self.settle.targets)
        written = [*update.kernels, *zip(masks, update.masks, strict=True)]
        before = [variable.read_value() for variable, _ in written]
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
