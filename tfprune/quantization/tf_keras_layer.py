# SPDX-License-Identifier: Apache-2.0
"""The tf_keras wrapper of quantization-aware fine-tuning."""

from __future__ import annotations

import functools
from typing import Any

import tensorflow as tf
import tf_keras

from tfprune.backend.registration import register_real
from tfprune.backend.tf_keras import BACKEND as adapter
from tfprune.masks.serialization import to_config
from tfprune.quantization.quantized_layer import Core
from tfprune.quantization.report import HOOKS
from tfprune.quantization.settings import FakeQuantization


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

    def __init__(self, layer, settings: FakeQuantization | dict, **kwargs: Any):
        kwargs.setdefault("dtype", layer._dtype_policy)
        kwargs["name"] = kwargs.get("name") or f"quantize_{layer.name}"
        super().__init__(layer, **kwargs)
        self.core = Core(settings, layer, adapter)
        self.supports_masking = layer.supports_masking
        if not hasattr(self, "_batch_input_shape") and hasattr(layer, "_batch_input_shape"):
            self._batch_input_shape = layer._batch_input_shape  # builds a Sequential model

    def build(self, input_shape):
        super().build(input_shape)
        self.core.build(self._make, input_shape)

    def _make(self, name, value, aggregation):
        return self.add_weight(
            name,
            shape=value.shape,
            dtype=tf.float32,
            trainable=False,
            initializer=tf_keras.initializers.Constant(value),
            experimental_autocast=False,
            aggregation=getattr(tf.VariableAggregation, aggregation.upper()),
        )

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
