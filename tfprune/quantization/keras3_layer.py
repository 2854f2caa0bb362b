# SPDX-License-Identifier: Apache-2.0
"""The Keras 3 wrapper of quantization-aware fine-tuning."""

from __future__ import annotations

import functools
from typing import Any

import keras

from tfprune.backend.keras3 import BACKEND as adapter
from tfprune.backend.registration import register_real
from tfprune.masks.serialization import to_config
from tfprune.quantization.quantized_layer import Core
from tfprune.quantization.report import HOOKS
from tfprune.quantization.settings import FakeQuantization


@functools.partial(register_real, "keras")
class QuantizedLayer(keras.layers.Wrapper):
    """A layer that computes on the grids of integer inference; made by `quantize_aware`.

    Args:
        layer: the layer.
        settings: the grids.

    Attributes:
        core: masks, ranges and the forward pass.
    """

    wrapper_kind = "quantized"
    hooks = HOOKS

    def __init__(
        self, layer, settings: FakeQuantization | dict, *, name: str | None = None, **kwargs: Any
    ):
        kwargs.setdefault("dtype", layer.dtype_policy)
        kwargs.setdefault("autocast", layer.autocast)
        kwargs.setdefault("trainable", layer.trainable)
        super().__init__(layer, name=name or f"quantize_{layer.name}", **kwargs)
        self.core = Core(settings, layer, adapter)
        self.supports_masking = layer.supports_masking

    def build(self, input_shape):
        super().build(input_shape)
        self.core.build(self._make, input_shape)

    def _make(self, name, value, aggregation):
        return self.add_weight(
            name=name,
            shape=value.shape,
            dtype="float32",
            trainable=False,
            autocast=False,
            initializer=keras.initializers.Constant(value),
            aggregation=aggregation,
        )

    def call(self, inputs, training=None):
        return self.core.run(self.layer, inputs, bool(training))

    def compute_output_spec(self, inputs, training=None):
        return self.layer.compute_output_spec(inputs)

    def compute_mask(self, inputs, previous_mask):
        return self.layer.compute_mask(inputs, previous_mask)

    def get_config(self):
        return {**super().get_config(), "settings": to_config(self.core.settings)}
