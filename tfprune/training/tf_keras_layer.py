# SPDX-License-Identifier: Apache-2.0
"""The tf_keras wrapper: a subclass of TF-MOT's, so that TF-MOT's own tools accept our models."""

from __future__ import annotations

import functools
import inspect
from typing import Any

import tensorflow as tf
import tf_keras

from tfprune.backend.model_view import ModelView
from tfprune.backend.registration import register_real
from tfprune.backend.tf_keras import BACKEND as adapter
from tfprune.masks.serialization import to_config
from tfprune.methods.base import Method
from tfprune.training.model_hooks import ModelHooks, hooks_of
from tfprune.training.tf_keras_in_call import InCallClock, InCallPruning
from tfprune.training.tfmot_words import import_tfmot, saved_schedule
from tfprune.training.wrapper_memory import remembered, with_memory

import_tfmot()
from tensorflow_model_optimization.python.core.sparsity.keras import (  # noqa: E402
    prune_registry,
    pruning_utils,
    pruning_wrapper,
)
from tensorflow_model_optimization.python.core.sparsity.keras import pruning_schedule as schedules  # noqa: E402

Wrapper = tf_keras.layers.Wrapper


@functools.partial(register_real, "tf_keras")
class PrunedLayer(pruning_wrapper.PruneLowMagnitude):
    """A layer whose kernels are pruned during training.

    Driven by `tfprune.PruningCallback`, or by TF-MOT's `UpdatePruningStep` alone.

    Args:
        layer: the layer to prune.
        pruning_schedule, block_size, block_pooling_type, sparsity_m_by_n: as in TF-MOT's
            PruneLowMagnitude. `sparsity_m_by_n=(m, n)` counts zeros: m zeros in every n.
        method: a tfprune Method, instead of these four.
        memory: whether to hold what the method remembers of its measurements; files that were
            written by an earlier version hold none.

    Attributes:
        pruning_vars: one (weight, mask, threshold) for each pruned kernel.
        pruning_step: finished training steps; -1 before the first training.

    Raises:
        ValueError: not a layer, or one that TF-MOT cannot prune; another pooling;
            `sparsity_m_by_n` is not a pair of integers.
    """

    wrapper_kind = "pruned"

    def __init__(
        self,
        layer,
        pruning_schedule=None,
        block_size=(1, 1),
        block_pooling_type="AVG",
        sparsity_m_by_n=None,
        method: Method | None = None,
        memory: bool = True,
        **kwargs: Any,
    ):
        _refuse(layer, block_pooling_type, method)
        if method is None:
            layer = _with_prunable_weights(layer)
        kwargs.setdefault("dtype", layer._dtype_policy)
        kwargs["name"] = kwargs.get("name") or f"{_prefix(method)}_{layer.name}"
        # Not TF-MOT's constructor: it makes the name from the class name, and takes the global
        # dtype policy for layers that have their own.
        Wrapper.__init__(self, layer, **kwargs)
        if pruning_schedule is None:
            pruning_schedule = schedules.ConstantSparsity(0.5, 0)
        if sparsity_m_by_n:
            sparsity_m_by_n = pruning_utils.convert_to_tuple_of_two_int(
                sparsity_m_by_n, "sparsity_m_by_n"
            )
        self.pruning_schedule = pruning_schedule
        self.block_size = block_size
        self.block_pooling_type = block_pooling_type
        self.sparsity_m_by_n = sparsity_m_by_n or None
        self.method = method
        self.memory = memory
        self.pruning_obj = None
        self.pruning_vars: list = []
        self.hidden_vars: tuple = ()
        self.state_vars: tuple = ()
        self.supports_masking = layer.supports_masking
        self._driven = False
        self._clock = InCallClock(self)
        if not hasattr(self, "_batch_input_shape") and hasattr(layer, "_batch_input_shape"):
            self._batch_input_shape = layer._batch_input_shape  # builds a Sequential model

    @property
    def hooks(self) -> ModelHooks:
        """What is done with the whole model for its gate."""
        return hooks_of(getattr(self.method, "gate", None))

    def drive(self, driven: bool) -> None:
        """Told by the callback that it settles this layer, so that no clock runs in `call`."""
        self._driven = driven

    def __call__(self, inputs, *args, **kwargs):
        # `call` takes what follows the inputs by name only, as SavedModel export needs it.
        kwargs = {**dict(zip(_names_after_inputs(self.layer), args, strict=False)), **kwargs}
        if isinstance(self.layer, tf_keras.layers.MultiHeadAttention):
            _build_attention(self.layer, inputs, kwargs)
        return super().__call__(inputs, **kwargs)

    def build(self, input_shape):
        Wrapper.build(self, input_shape)
        _build_inside(self.layer, input_shape)
        if self.method is None:
            self.prunable_weights = self.layer.get_prunable_weights()
        else:
            sites = ModelView(self.layer, adapter).sites
            self.prunable_weights = [item.variable for item in sites]
        # One name twice in a layer cannot be saved as h5; TF-MOT's summaries read these names.
        suffixes = [f"_{index}" if index else "" for index in range(len(self.prunable_weights))]
        self.pruning_vars = [
            (
                weight,
                self._add("mask" + suffix, weight, "ones"),
                self._add("threshold" + suffix, weight, "zeros", ()),
            )
            for weight, suffix in zip(self.prunable_weights, suffixes, strict=True)
        ]
        self._validate_block()
        if self.method is not None and self.method.gate.hides:
            self.hidden_vars = tuple(
                self._add("hidden" + suffix, weight, "zeros")
                for weight, suffix in zip(self.prunable_weights, suffixes, strict=True)
            )
        if self.method is not None:
            self.state_vars = tuple(
                self._keep(self.method.state(item.site, memory=False), suffix)
                for item, suffix in zip(sites, suffixes, strict=True)
            )
        self.pruning_step = self.add_weight(
            "pruning_step",
            shape=[],
            initializer=tf_keras.initializers.Constant(-1),
            dtype=tf.int64,
            trainable=False,
        )
        if self.method is not None and self.memory:
            # A dictionary that is tracked already would not track what is added to it.
            self.state_vars = tuple(
                {**state, **self._keep(self.method.memory(item.site), suffix)}
                for state, item, suffix in zip(self.state_vars, sites, suffixes, strict=True)
            )
        self.pruning_obj = InCallPruning(self)

    def load_own_variables(self, store):
        own = self._trainable_weights + self._non_trainable_weights
        super().load_own_variables(with_memory(store, own, self.remembered()))

    def remembered(self) -> dict[int, Any]:
        """What an earlier version did not save: {id of a variable: its first value}."""
        return remembered(self.state_vars)

    def _add(self, name, weight, initializer, shape=None):
        return self.add_weight(
            name,
            shape=weight.shape if shape is None else shape,
            initializer=initializer,
            dtype=getattr(weight, "true_dtype", weight.dtype),
            trainable=False,
            experimental_autocast=False,
            aggregation=tf.VariableAggregation.MEAN,
        )

    def _keep(self, values, suffix):
        return {
            name: self.add_weight(
                name + suffix,
                shape=value.shape,
                initializer=tf_keras.initializers.Constant(value),
                dtype=value.dtype,
                trainable=False,
                experimental_autocast=False,
                aggregation=tf.VariableAggregation.ONLY_FIRST_REPLICA,
            )
            for name, value in values.items()
        }

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
        if not self._driven:
            self._clock(training)
        if not self.layer._expects_mask_arg:
            kwargs.pop("mask", None)
        if self.layer._expects_training_arg:
            kwargs["training"] = training
        return self.layer(inputs, **kwargs)

    def compute_mask(self, inputs, mask=None):
        return self.layer.compute_mask(inputs, mask)

    def get_config(self):
        config = Wrapper.get_config(self)
        if self.method is not None:
            return {**config, "method": self.method.get_config(), "memory": self.memory}
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
            config = {"memory": False, **config, "method": Method.from_config(config["method"])}
        else:
            config["pruning_schedule"] = saved_schedule(config["pruning_schedule"], custom_objects)
            config["block_size"] = tuple(config["block_size"])
        return cls(layer, **config)


def _names_after_inputs(layer: Any) -> list[str]:
    parameters = list(inspect.signature(layer.call).parameters.values())[1:]
    names = [each.name for each in parameters if each.kind is each.POSITIONAL_OR_KEYWORD]
    return names or ["training"]


def _prefix(method: Method | None) -> str:
    return "prune_low_magnitude" if method is None else f"prune_{method.name}"


def _refuse(layer: Any, block_pooling_type: str, method: Method | None) -> None:
    if block_pooling_type not in ("AVG", "MAX"):
        raise ValueError(
            f"block_pooling_type={block_pooling_type!r} is not supported: pass 'AVG' or 'MAX'."
        )
    if not isinstance(layer, tf_keras.layers.Layer):
        raise ValueError(f"Only a tf_keras layer can be wrapped for pruning, got {layer!r}.")
    known = hasattr(layer, "get_prunable_weights") or prune_registry.PruneRegistry.supports(layer)
    if method is None and not known:
        raise ValueError(
            f"The layer {layer.name!r} ({type(layer).__name__}) is not supported by TF-MOT: give "
            "it a method get_prunable_weights() that returns the variables to prune, or use "
            "tfprune.prune(...), which leaves the layers dense that it does not know."
        )


def _with_prunable_weights(layer: Any) -> Any:
    if hasattr(layer, "get_prunable_weights"):
        return layer
    return prune_registry.PruneRegistry.make_prunable(layer)


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
    layer(
        *[tf_keras.Input(batch_shape=tuple(shape), dtype=layer.compute_dtype) for shape in shapes]
    )
