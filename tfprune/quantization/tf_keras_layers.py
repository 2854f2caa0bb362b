# SPDX-License-Identifier: Apache-2.0
"""The tf_keras wrappers around layers that see their kernels and inputs on grids."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
import tensorflow as tf
import tf_keras

from tfprune.backend.registration import register_real
from tfprune.backend.tf_keras import BACKEND as adapter
from tfprune.masks.serialization import from_config, to_config
from tfprune.quantization.djpq_layer import LearnedCore, at_least
from tfprune.quantization.quantize_aware import HOOKS
from tfprune.quantization.quantized_layer import MinMaxCore
from tfprune.quantization.settings import Part, QuantizationConfig
from tfprune.training.tf_keras_in_call import NOT_DRIVEN
from tfprune.training.tf_keras_layer import PrunedLayer


@functools.partial(register_real, "tf_keras")
class QuantizedLayer(tf_keras.layers.Wrapper):
    """A layer that computes on the grids of integer inference; made by `quantize_aware`.

    Args:
        layer: the layer.
        settings: the grids.

    Attributes:
        core: masks, ranges and the forward pass.
    """

    wrapper_kind = "quantized"
    hooks = HOOKS

    def __init__(self, layer, settings: QuantizationConfig | dict, **kwargs: Any):
        kwargs.setdefault("dtype", layer._dtype_policy)
        kwargs["name"] = kwargs.get("name") or f"quantize_{layer.name}"
        super().__init__(layer, **kwargs)
        self.core = MinMaxCore(settings, layer, adapter)
        self.supports_masking = layer.supports_masking
        if not hasattr(self, "_batch_input_shape") and hasattr(layer, "_batch_input_shape"):
            self._batch_input_shape = layer._batch_input_shape  # builds a Sequential model

    def build(self, input_shape):
        super().build(input_shape)
        self.core.build(functools.partial(_variable, self), input_shape)

    def call(self, inputs, training=None):
        if training is None:
            training = tf_keras.backend.learning_phase()
        return self.core.run(
            self.layer, inputs, training if tf.is_tensor(training) else bool(training)
        )

    def compute_output_shape(self, input_shape):
        return self.layer.compute_output_shape(input_shape)

    def compute_mask(self, inputs, mask=None):
        return self.layer.compute_mask(inputs, mask)

    def get_config(self):
        return {**super().get_config(), "settings": to_config(self.core.settings)}


@functools.partial(register_real, "tf_keras")
class JointLayer(PrunedLayer):
    """A layer with what joint pruning and quantization puts around it.

    Args:
        layer: the layer.
        method: with a `tfprune.DJPQConfig` gate.
        part: what stands around this layer.

    Attributes:
        core: the variables and the forward pass.
    """

    def __init__(self, layer, method=None, part: Part | dict | None = None, **kwargs: Any):
        for name in ("pruning_schedule", "block_size", "block_pooling_type", "sparsity_m_by_n"):
            kwargs.pop(name, None)
        super().__init__(layer, method=method, **kwargs)
        part = part if isinstance(part, Part) else from_config(part)
        self.core = LearnedCore(method.gate, part, layer)

    @property
    def trainable_weights(self):
        # TF-MOT's wrapper has none of its own, but tracks the kernel once more.
        inner = self.layer.trainable_weights
        held = {id(adapter.raw(one)) for one in self.layer.weights}
        own = self._trainable_weights if self.trainable else []
        return inner + [one for one in own if id(adapter.raw(one)) not in held]

    def build(self, input_shape):
        super().build(input_shape)
        self.core.build(functools.partial(_variable, self), self.memory)
        self.core.step = self.pruning_step
        if self.core.weights is not None:
            kernel, mask, _ = self.pruning_vars[0]
            self.core.bind(adapter.raw(kernel), mask, self.state_vars[0])

    def remembered(self) -> dict[int, Any]:
        """What an earlier version did not save: {id of a variable: its first value}."""
        before = {id(one): np.zeros(one.shape) for one in self.core.before.values()}
        return {**super().remembered(), **before}

    def call(self, inputs, training=None, **kwargs):
        if training is None:
            training = tf_keras.backend.learning_phase()
        if not self.layer._expects_mask_arg:
            kwargs.pop("mask", None)
        known = tf.get_static_value(training) if tf.is_tensor(training) else training
        if known is None:
            choose = tf.__internal__.smart_cond.smart_cond
            return choose(
                training,
                lambda: self._run(inputs, True, kwargs),
                lambda: self._run(inputs, False, kwargs),
            )
        outputs = self._run(inputs, bool(known), kwargs)
        if known and self.core.price is not None:
            self.add_loss(self.core.price())
        return outputs

    def _run(self, inputs, training, kwargs):
        if training and not self._driven:
            # Saving traces a training step, too, and must not fail: only running it may.
            tf.debugging.Assert(tf.constant(False), [NOT_DRIVEN])
        if self.layer._expects_training_arg:
            kwargs = {**kwargs, "training": training}
        return self.core.run(functools.partial(self.layer, **kwargs), inputs, training)

    def get_config(self):
        return {**super().get_config(), "part": to_config(self.core.part)}


def _variable(layer, name, value, *, trainable=False, aggregation="mean", smallest=None):
    return layer.add_weight(
        name,
        shape=value.shape,
        dtype=tf.float32,
        trainable=trainable,
        initializer=tf_keras.initializers.Constant(value),
        experimental_autocast=False,
        constraint=at_least(smallest),
        aggregation=getattr(tf.VariableAggregation, aggregation.upper()),
    )
