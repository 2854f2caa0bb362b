"""Chooses masks from measured scores: between two training steps, with the model at hand."""

from __future__ import annotations

from typing import Any, Callable

import tensorflow as tf

from tfprune.batches import Feed
from tfprune.runs import updates_between
from tfprune.settle import Settle
from tfprune.statistics import is_traceable
from tfprune.statistics.measuring import measuring
from tfprune.statistics.subject import Subject


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
        self._step = step - 1
        self._reached = 0.0
        self._averages: list[Any] | None = None
        self._choose = tf.function(self._chosen, autograph=False, reduce_retracing=True)
        self._apply = tf.function(self._masked, autograph=False)

    def update(self, step: int) -> None:
        """Make the last update that fell due since the last call, if any.

        Args:
            step: finished steps.

        Raises:
            ValueError: data is needed and there is none, or it does not fit the model.
        """
        due = updates_between(self.settle.timetable, self._step, step)
        self._step = step
        if due:
            self.to(due[-1])

    def to(self, sparsity: float) -> None:
        """Prune to a sparsity now. If that is interrupted, nothing has changed.

        Args:
            sparsity: fraction of groups to remove.
        """
        rule = self.settle.method.rule
        kernels = [target.kernel for target in self.settle.targets]
        masks = [target.mask for target in self.settle.targets]
        before = [mask.numpy() for mask in masks]
        dense = [kernel.read_value() for kernel in kernels]
        begin = min(self._reached, sparsity)
        try:
            with measuring(rule.score.needs, self.subject, self.feed, rule.structure) as measure:
                make = self._rounds(measure)
                for level in rule.course(begin, sparsity):
                    make(tf.constant(level, tf.float64))
                    if level != sparsity:
                        self._apply()
        except BaseException:
            for mask, value in zip(masks, before):
                mask.assign(value)
            raise
        finally:
            if rule.rounds > 1:
                for kernel, value in zip(kernels, dense):
                    kernel.assign(value, read_value=False)
        self._reached = sparsity
        self.settle.apply()

    def _rounds(self, measure: Callable) -> Callable:
        """A function of the sparsity that measures and chooses once.

        What needs no pass over data is one compiled function, in which each tensor is freed as
        soon as it can be.
        """
        rule = self.settle.method.rule
        if is_traceable(rule.score.needs) and not rule.momentum:
            return tf.function(lambda level: self._write(*self._chosen(measure(), None, level)),
                               autograph=False)
        return lambda level: self._write(*self._choose(measure(), self._averages, level))

    def _write(self, chosen: list[Any], averages: list[Any] | None) -> None:
        self._averages = averages
        for target, mask in zip(self.settle.targets, chosen):
            target.mask.assign(mask, read_value=False)

    def _chosen(self, measured: list[dict[str, Any]], averages: list[Any] | None,
                sparsity: tf.Tensor) -> tuple[list[Any], list[Any] | None]:
        rule, gate = self.settle.method.rule, self.settle.method.gate
        sites = [target.site for target in self.settle.targets]
        weights = [gate.dense(*(part if part is None else tf.convert_to_tensor(part)
                                for part in (target.kernel, target.hidden)))
                   for target in self.settle.targets]
        scores = rule.scores(weights, sites, measured)
        if rule.momentum:
            scores = scores if averages is None else [
                rule.momentum * old + (1 - rule.momentum) * new
                for old, new in zip(averages, scores)
            ]
            averages = scores
        masks = rule.choose(rule.below(scores, weights, sites), sites, sparsity,
                            final=self.settle.final)
        dtypes = [target.mask.dtype for target in self.settle.targets]
        return [tf.cast(mask, dtype) for mask, dtype in zip(masks, dtypes)], averages

    def _masked(self) -> None:
        for target in self.settle.targets:
            kept = target.kernel * tf.cast(target.mask, target.kernel.dtype)
            target.kernel.assign(kept, read_value=False)
