# SPDX-License-Identifier: Apache-2.0
"""Pruning from inside a layer's call, for models that only TF-MOT's `UpdatePruningStep` drives."""

from __future__ import annotations

import functools
import weakref
from typing import Any

import tensorflow as tf

from tfprune.training.mask_updater import Settle
from tfprune.training.run_length import Run, resolve
from tfprune.training.wrapped import OWN_LOOP, method_of, targets_of

NOT_DRIVEN = (
    "A layer is wrapped for pruning, but nothing prunes it: to the callbacks of model.fit add "
    f"TF-MOT's UpdatePruningStep() or tfprune.PruningCallback(); {OWN_LOOP}."
)


class InCallPruning:
    """What TF-MOT calls a wrapper's `pruning_obj`: the masks of one layer, settled by itself."""

    def __init__(self, wrapper: Any):
        self._wrapper = wrapper

    @functools.cached_property
    def _settle(self) -> Settle:
        method = method_of(self._wrapper)
        return Settle(targets_of(self._wrapper), method, timetable=self._timetable, final=0.0)

    @functools.cached_property
    def _resolved(self) -> tuple:
        method = method_of(self._wrapper)
        if method.rule.allocation.compares_sites:
            raise ValueError(
                f"{method.rule.allocation} compares the layers of a model, but UpdatePruningStep "
                "prunes each layer by itself: use tfprune.PruningCallback()."
            )
        if method.rule.structure.coupled:
            raise ValueError(
                f"{method.rule.structure} chooses channels across the layers of a model, but "
                "UpdatePruningStep prunes each layer by itself: use tfprune.PruningCallback()."
            )
        if method.rule.is_measured:
            raise ValueError(
                f"The scores of {method.name} are measured on the model between two steps, but "
                "UpdatePruningStep does not: use tfprune.PruningCallback()."
            )
        if method.gate.acts:
            raise ValueError(
                f"{method.gate} acts around a training step, but UpdatePruningStep does not: use "
                "tfprune.PruningCallback()."
            )
        return resolve(method.schedule, Run())

    def _timetable(self, step):
        timetable, self._settle.final = self._resolved
        return timetable(step)

    def conditional_mask_update(self):
        """Choose the masks anew if the schedule says so for the wrapper's step.

        Raises:
            ValueError: a kernel's rank is none that TF-MOT takes for `sparsity_m_by_n`.
        """
        self._refuse_ranks()
        try:
            self._resolved  # what is refused there, a measured method would not ask for
            self._settle.refresh_if_due(self._wrapper.pruning_step)
        except ValueError as error:
            # Saving traces a training step, too, and must not fail for a schedule in fractions
            # of a run: only running the step may.
            tf.debugging.Assert(tf.constant(False), [str(error)])
        return tf.no_op()

    def weight_mask_op(self):
        """weight <- weight * mask"""
        self._settle.apply()
        return tf.no_op()

    def add_pruning_summaries(self):
        """Scalars for TensorBoard: the schedule's sparsity, each mask's, each threshold."""
        step = self._wrapper.pruning_step
        tf.summary.scalar("sparsity", self._timetable(step)[1])
        for _, mask, threshold in self._wrapper.pruning_vars:
            tf.summary.scalar(mask.name + "/sparsity", 1.0 - tf.math.reduce_mean(mask))
            tf.summary.scalar(threshold.name + "/threshold", threshold)

    def _refuse_ranks(self):
        if self._wrapper.sparsity_m_by_n:
            for weight in self._wrapper.prunable_weights:
                if weight.shape.rank not in (2, 4):
                    raise ValueError(
                        f"sparsity_m_by_n takes kernels of rank 2 or 4; {weight.name} has shape "
                        f"{tuple(weight.shape)}. tfprune.PruningCallback() in place of "
                        "UpdatePruningStep() takes kernels of any rank."
                    )


class InCallClock:
    """Counts a wrapper's training steps and prunes at each, from inside its call."""

    def __init__(self, wrapper: Any):
        self._wrapper = wrapper
        self._graph: weakref.ref | None = None
        self._replicas: set = set()

    @tf.autograph.experimental.do_not_convert  # to convert our own code takes longer than to run it
    def __call__(self, training: Any) -> None:
        """In training one step: count it and choose masks if due. Always: apply the masks.

        A layer that is used several times in one traced function makes one step there.
        """
        if self._is_first_call():
            smart_cond = tf.__internal__.smart_cond.smart_cond
            smart_cond(training, self._tick, lambda: tf.constant(False))
        self._wrapper.pruning_obj.weight_mask_op()

    def _tick(self) -> tf.Tensor:
        counter = self._wrapper.pruning_step
        counter.assign_add(1)
        step = counter.read_value()
        driven = tf.debugging.assert_greater_equal(step, tf.constant(1, tf.int64), NOT_DRIVEN)
        with tf.control_dependencies([driven] if driven is not None else []):
            self._wrapper.pruning_obj.conditional_mask_update()
        return tf.constant(True)

    def _is_first_call(self) -> bool:
        if tf.executing_eagerly():
            return True
        graph = tf.compat.v1.get_default_graph()
        context, replica = tf.distribute.get_replica_context(), None
        if context is not None:  # the id is a new tensor at every look, with the same value
            replica = int(tf.get_static_value(context.replica_id_in_sync_group) or 0)
        if self._graph is None or self._graph() is not graph:
            self._graph, self._replicas = weakref.ref(graph), set()
        first = replica not in self._replicas
        self._replicas.add(replica)
        return first
