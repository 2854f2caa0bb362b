# SPDX-License-Identifier: Apache-2.0
"""Chooses masks from measured scores: between two training steps, with the model at hand."""

from __future__ import annotations

from typing import Any, Callable

import numpy as np
import tensorflow as tf

from tfprune.methods.base import Solution
from tfprune.methods.statistics_table import measured
from tfprune.statistics.calibration_data import Feed
from tfprune.statistics.measure import measuring
from tfprune.statistics.measured_model import Subject
from tfprune.training.compensation import Reweighting
from tfprune.training.mask_updater import Settle
from tfprune.training.measurement_memory import Memory
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
        self.memory = Memory(settle.targets)
        known = self.memory.step
        self._step, self._reached = step - 1, 0.0
        if known >= 0:
            self._step = known
            self._reached = float(settle.timetable(tf.constant(known, tf.int64))[1])
        self._averages: list[Any] | None = None
        self._factors: list[Any] = []
        self._reweighting: Reweighting | None = None
        self._cautions: list[str] = []
        self.notes: dict[str, tuple[str, ...]] = {}
        self._choose = tf.function(self._chosen, autograph=False, reduce_retracing=True)
        self._apply = tf.function(self._masked, autograph=False)

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
        (self._solve if self.settle.method.rule.solves else self._measure)(sparsity)
        self._reached = sparsity
        self.memory.note(at, self.feed.taken if self.feed else 0, self._averages)

    def _measure(self, sparsity: float) -> None:
        """Choose masks from measured scores, and apply them."""
        rule = self.settle.method.rule
        self._averages = self.memory.averages
        kernels = [target.kernel for target in self.settle.targets]
        dense = [kernel.read_value() for kernel in kernels]
        begin = min(self._reached, sparsity)
        groups = rule.groups([target.site for target in self.settle.targets])
        try:
            with measuring(
                rule.score.needs,
                self.subject,
                self.feed,
                rule.structure,
                settings=rule.score.settings,
            ) as measure:
                make = self._rounds(measure)
                masks: list[Any] = []
                for level in rule.course(begin, sparsity, groups):
                    masks.clear()  # frees those of the last round
                    masks += make(tf.constant(level, tf.float64))
                self._reweight()
                self.notes = self._noted(measure.notes())
        finally:
            if rule.rounds > 1:
                for kernel, value in zip(kernels, dense):
                    kernel.assign(value, read_value=False)
        for target, mask in zip(self.settle.targets, masks):
            target.mask.assign(tf.cast(mask, target.mask.dtype), read_value=False)
        self.settle.note_masks()
        self.settle.apply(self._step)

    def _solve(self, sparsity: float) -> None:
        """Let the rule find weights, choose masks from them, and write both."""
        rule, targets, final = self.settle.method.rule, self.settle.targets, self.settle.final
        sites = [target.site for target in targets]
        if sparsity or rule.structure.fixed is not None:
            found = rule.solve(self.subject, sparsity, final=final)
        else:
            found = Solution([np.asarray(target.kernel.read_value()) for target in targets])
        ranked = found.kernels if found.ranked is None else found.ranked
        scores = rule.scores([tf.constant(kernel) for kernel in ranked], sites)
        masks = rule.choose(scores, sites, tf.constant(sparsity, tf.float64), final=final)
        written = [
            *found.others,
            *zip((target.kernel for target in targets), found.kernels),
            *zip((target.mask for target in targets), masks),
        ]
        before = [variable.read_value() for variable, _ in written]
        try:
            for variable, value in written:
                variable.assign(tf.cast(value, variable.dtype))
            self.settle.apply(self._step)
        except BaseException:
            for (variable, _), value in zip(written, before):
                variable.assign(value)
            raise
        self.notes, self._cautions = found.notes, list(found.cautions)

    def _rounds(self, measure: Callable) -> Callable:
        """A function of the sparsity that measures once and returns masks.

        Of several rounds each applies its masks to the kernels. What needs no pass over data is
        one compiled function, in which each tensor is freed as soon as it can be.
        """
        rule = self.settle.method.rule

        def traced(level: tf.Tensor) -> list[Any]:
            masks, _, _ = self._chosen(measure(), None, level)
            if rule.rounds > 1:
                self._masked(masks)
            return masks

        if all(one.traceable for one in measured(rule.score.needs)) and not (
            rule.momentum or rule.reweights
        ):
            return tf.function(traced, autograph=False)

        def called(level: tf.Tensor) -> list[Any]:
            masks, self._averages, self._factors = self._choose(measure(), self._averages, level)
            if rule.rounds > 1:
                self._apply(masks)
            return masks

        return called

    def _chosen(
        self, measured: list[dict[str, Any]], averages: list[Any] | None, sparsity: tf.Tensor
    ) -> tuple[list[Any], list[Any] | None, list[Any]]:
        rule, gate = self.settle.method.rule, self.settle.method.gate
        sites = [target.site for target in self.settle.targets]
        weights = [
            gate.dense(
                *(
                    part if part is None else tf.convert_to_tensor(part)
                    for part in (target.kernel, target.hidden)
                )
            )
            for target in self.settle.targets
        ]
        scores = rule.scores(weights, sites, measured)
        if rule.momentum:
            scores = (
                scores
                if averages is None
                else [
                    rule.momentum * tf.cast(old, new.dtype) + (1 - rule.momentum) * new
                    for old, new in zip(averages, scores)
                ]
            )
            averages = scores
        scores, final = rule.below(scores, weights, sites), self.settle.final
        masks = rule.choose(scores, sites, sparsity, final=final)
        factors = rule.factors(scores, sites, sparsity, final=final) if rule.reweights else []
        return masks, averages, factors

    def _reweight(self) -> None:
        """Change the kept weights, if the rule does so."""
        if self.settle.method.rule.reweights:
            if self._reweighting is None:
                sites = [target.site for target in self.settle.targets]
                self._reweighting = Reweighting.of(self.subject.model, sites)
            self._reweighting.multiply([factor.numpy() for factor in self._factors])

    @property
    def cautions(self) -> list[str]:
        """What was not done as asked."""
        undone = self._reweighting.undone if self._reweighting is not None else {}
        return self._cautions + [
            f"What reads the filters of {name} was not re-weighted: {reason}"
            for name, reason in undone.items()
        ]

    def _noted(self, measured: dict[str, tuple[str, ...]]) -> dict[str, tuple[str, ...]]:
        """What is to be reported of each site: from its statistics, and what was re-weighted."""
        notes = dict(measured)
        if self._reweighting is not None:
            for index, target in enumerate(self.settle.targets):
                readers = ", ".join(self._reweighting.readers(index))
                if readers:
                    notes[target.site.name] = (
                        *notes.get(target.site.name, ()),
                        f"what reads it is re-weighted: {readers}",
                    )
        return notes

    def _masked(self, masks: list[Any]) -> None:
        for target, mask in zip(self.settle.targets, masks):
            # Subtracted in place: values that are assigned would take new memory in every round.
            zero = tf.zeros([], target.kernel.dtype)
            target.kernel.assign_sub(tf.where(mask, zero, target.kernel), read_value=False)
