"""The tf_keras wrapper: a subclass of TF-MOT's, so that TF-MOT's own tools accept our models."""

from __future__ import annotations

import functools
import inspect
import weakref
from typing import Any

import tensorflow as tf
import tf_keras

from tfprune.adapters import import_tfmot
from tfprune.adapters import tf_keras as adapter
from tfprune.adapters.walk import find
from tfprune.configs import from_config, to_config
from tfprune.driver import Run, resolve
from tfprune.methods.base import Method
from tfprune.registration import register_real
from tfprune.settle import Settle

import_tfmot()
from tensorflow_model_optimization.python.core.sparsity.keras import (  # noqa: E402
    prune_registry,
    pruning_schedule as schedules,
    pruning_wrapper,
)

NOT_DRIVEN = (
    "A layer is wrapped for pruning, but nothing prunes it: add tfprune.PruningCallback() or "
    "TF-MOT's UpdatePruningStep() to the callbacks of model.fit."
)


@functools.partial(register_real, "tf_keras")
class PrunedLayer(pruning_wrapper.PruneLowMagnitude):
    """A layer whose kernels are pruned during training.

    Driven by `tfprune.PruningCallback`, or by TF-MOT's `UpdatePruningStep` alone.

    Args:
        layer: the layer to prune.
        pruning_schedule, block_size, block_pooling_type, sparsity_m_by_n: as in TF-MOT's
            PruneLowMagnitude. `sparsity_m_by_n=(m, n)` counts zeros: m zeros in every n.
        method: a tfprune Method, instead of these four.

    Attributes:
        pruning_vars: one (weight, mask, threshold) for each pruned kernel.
        pruning_step: finished training steps; -1 before the first training.
    """

    def __init__(self, layer, pruning_schedule=None, block_size=(1, 1), block_pooling_type="AVG",
                 sparsity_m_by_n=None, method: Method | None = None, **kwargs: Any):
        if method is not None and isinstance(layer, tf_keras.layers.Layer):
            _offer_our_weights(layer)
        prefix = "prune_low_magnitude" if method is None else f"prune_{method.name}"
        name = kwargs.pop("name", None)
        if isinstance(layer, tf_keras.layers.Layer):
            kwargs.setdefault("dtype", layer._dtype_policy)
            name = name or f"{prefix}_{layer.name}"
        if pruning_schedule is None:
            pruning_schedule = schedules.ConstantSparsity(0.5, 0)
        super().__init__(layer, pruning_schedule, block_size, block_pooling_type, sparsity_m_by_n,
                         **kwargs)
        # TF-MOT overwrites the name by one made from the class name.
        self._name = name
        self.method = method
        self.hidden_vars: tuple = ()
        self._driven = False
        self._clocked: tuple = (None, set())
        self.supports_masking = self.layer.supports_masking

    def drive(self, driven: bool) -> None:
        """Told by the callback that it settles this layer, so that no clock runs in `call`."""
        self._driven = driven

    def __call__(self, inputs, *args, **kwargs):
        # `call` takes what follows the inputs by name only, as SavedModel export needs it.
        names = list(inspect.signature(self.layer.call).parameters)[1:]
        kwargs = {**dict(zip(names, args)), **kwargs}
        if isinstance(self.layer, tf_keras.layers.MultiHeadAttention):
            _build_attention(self.layer, inputs, kwargs)
        return super().__call__(inputs, **kwargs)

    def build(self, input_shape):
        tf_keras.layers.Wrapper.build(self, input_shape)
        _build_inside(self.layer, input_shape)
        if self.method is None:
            self.prunable_weights = self.layer.get_prunable_weights()
        else:
            self.prunable_weights = [item.variable for item in find(self.layer, adapter)[0]]
        # One name twice in a layer cannot be saved as h5; TF-MOT's summaries read these names.
        suffixes = [f"_{index}" if index else "" for index in range(len(self.prunable_weights))]
        self.pruning_vars = [
            (weight, self._add("mask" + suffix, weight, "ones"),
             self._add("threshold" + suffix, weight, "zeros", ()))
            for weight, suffix in zip(self.prunable_weights, suffixes)
        ]
        self._validate_block()
        if self.method is not None and self.method.gate.hides:
            self.hidden_vars = tuple(
                self._add("hidden" + suffix, weight, "zeros")
                for weight, suffix in zip(self.prunable_weights, suffixes)
            )
        self.pruning_step = self.add_weight(
            "pruning_step", shape=[], initializer=tf_keras.initializers.Constant(-1),
            dtype=tf.int64, trainable=False,
        )
        self.pruning_obj = InCallPruning(self)

    def _add(self, name, weight, initializer, shape=None):
        return self.add_weight(
            name, shape=weight.shape if shape is None else shape, initializer=initializer,
            dtype=getattr(weight, "true_dtype", weight.dtype), trainable=False, experimental_autocast=False,
            aggregation=tf.VariableAggregation.MEAN,
        )

    def _validate_block(self):
        if tuple(self.block_size) != (1, 1):
            for weight in self.prunable_weights:
                if weight.shape.rank != 2:
                    raise ValueError(
                        "Block Sparsity can only be used for layers which have 2-dimensional "
                        f"weights: {weight.name} has shape {tuple(weight.shape)}. For kernels of "
                        "any rank use tfprune.prune(..., structure=tfprune.Block(rows, columns))."
                    )

    def call(self, inputs, training=None, **kwargs):
        if training is None:
            training = tf_keras.backend.learning_phase()
        if not self._driven and self.pruning_vars:
            if self._first_call_in_graph():
                self._clock(training)
            self.pruning_obj.weight_mask_op()
        if not self.layer._expects_mask_arg:
            kwargs.pop("mask", None)
        if self.layer._expects_training_arg:
            kwargs["training"] = training
        return self.layer(inputs, **kwargs)

    def _clock(self, training):
        """One training step: count it, and choose masks where the schedule says so."""

        def tick():
            self.pruning_step.assign_add(1)
            step = self.pruning_step.read_value()
            with tf.control_dependencies(
                [tf.debugging.assert_greater_equal(step, tf.constant(1, tf.int64), NOT_DRIVEN)]
            ):
                self.pruning_obj.conditional_mask_update()
            return tf.constant(True)

        tf.__internal__.smart_cond.smart_cond(training, tick, lambda: tf.constant(False))

    def _first_call_in_graph(self) -> bool:
        """Whether this is the first call in the function being traced: a layer that is used
        several times makes one step, not several."""
        if tf.executing_eagerly():
            return True
        graph = tf.compat.v1.get_default_graph()
        context = tf.distribute.get_replica_context()
        replica = None if context is None else str(context.replica_id_in_sync_group)
        known, replicas = self._clocked
        if known is None or known() is not graph:
            replicas = set()
        first = replica not in replicas
        self._clocked = (weakref.ref(graph), replicas | {replica})
        return first

    def compute_mask(self, inputs, mask=None):
        return self.layer.compute_mask(inputs, mask)

    def get_config(self):
        config = tf_keras.layers.Wrapper.get_config(self)
        if self.method is not None:
            return {**config, "method": self.method.get_config()}
        return {
            **config,
            "pruning_schedule": to_config(self.pruning_schedule),
            "block_size": self.block_size,
            "block_pooling_type": self.block_pooling_type,
            "sparsity_m_by_n": self.sparsity_m_by_n,
        }

    @classmethod
    def from_config(cls, config, custom_objects=None):
        config = dict(config)
        layer = tf_keras.layers.deserialize(config.pop("layer"), custom_objects=custom_objects)
        if "method" in config:
            config["method"] = Method.from_config(config["method"])
        else:
            config["pruning_schedule"] = from_config(config["pruning_schedule"])
            config["block_size"] = tuple(config["block_size"])
        return cls(layer, **config)


class InCallPruning:
    """What TF-MOT calls a wrapper's `pruning_obj`: the masks of one layer, settled by itself."""

    def __init__(self, wrapper: PrunedLayer):
        self._wrapper = wrapper

    @functools.cached_property
    def _settle(self) -> Settle:
        method = adapter.method_of(self._wrapper)
        return Settle(adapter.targets(self._wrapper), method, timetable=self._timetable, final=0.0)

    @functools.cached_property
    def _resolved(self) -> tuple:
        method = adapter.method_of(self._wrapper)
        if method.rule.allocation.compares_sites:
            raise ValueError(
                f"{method.rule.allocation} compares the layers of a model, but UpdatePruningStep "
                "prunes each layer by itself: use tfprune.PruningCallback()."
            )
        return resolve(method.schedule, Run())

    def _timetable(self, step):
        timetable, self._settle.final = self._resolved
        return timetable(step)

    def conditional_mask_update(self):
        """Choose the masks anew if the schedule says so for the wrapper's step."""
        try:
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


def _offer_our_weights(layer: Any) -> None:
    """Let TF-MOT's constructor accept a layer that its registry does not know."""
    known = prune_registry.PruneRegistry.supports(layer)
    if not known and not hasattr(layer, "get_prunable_weights"):
        layer.get_prunable_weights = lambda: [item.variable for item in find(layer, adapter)[0]]


def _build_attention(layer: Any, query: Any, kwargs: dict[str, Any]) -> None:
    if not layer._built_from_signature and "value" in kwargs:
        layer._build_from_signature(query, kwargs["value"], kwargs.get("key"))


def _build_inside(layer: Any, input_shape: Any) -> None:
    """A composite layer without a build method is built by its first call."""
    if type(layer).build is not tf_keras.layers.Layer.build or layer.weights:
        return
    if not adapter.sublayers(layer):
        return
    shapes = [input_shape]
    if isinstance(layer, tf_keras.layers.MultiHeadAttention):
        shapes = [layer._query_shape, layer._value_shape, layer._key_shape]
    layer(*[
        tf_keras.Input(batch_shape=tuple(shape), dtype=layer.compute_dtype) for shape in shapes
    ])
