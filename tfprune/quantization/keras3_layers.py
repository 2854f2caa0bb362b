# SPDX-License-Identifier: Apache-2.0
"""The Keras 3 wrappers around layers that see their kernels and inputs on grids."""

from __future__ import annotations

import functools
from typing import Any

import keras
import numpy as np

from tfprune.backend.keras3 import BACKEND as adapter
from tfprune.backend.registration import register_real
from tfprune.masks.serialization import from_config, to_config
from tfprune.quantization.djpq_layer import LearnedCore, at_least
from tfprune.quantization.quantize_aware import HOOKS
from tfprune.quantization.quantized_layer import MinMaxCore
from tfprune.quantization.settings import Part, QuantizationConfig
from tfprune.training.keras3_layer import PrunedLayer, add_weight


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
        self, layer, settings: QuantizationConfig | dict, *, name: str | None = None, **kwargs: Any
    ):
        kwargs.setdefault("dtype", layer.dtype_policy)
        kwargs.setdefault("autocast", layer.autocast)
        kwargs.setdefault("trainable", layer.trainable)
        super().__init__(layer, name=name or f"quantize_{layer.name}", **kwargs)
        self.core = MinMaxCore(settings, layer, adapter)
        self.supports_masking = layer.supports_masking

    def build(self, input_shape):
        super().build(input_shape)
        self.core.build(functools.partial(_variable, self), input_shape)

    def call(self, inputs, training=None):
        return self.core.run(self.layer, inputs, bool(training))

    def compute_output_spec(self, inputs, training=None):
        return self.layer.compute_output_spec(inputs)

    def compute_mask(self, inputs, previous_mask):
        return self.layer.compute_mask(inputs, previous_mask)

    def get_config(self):
        return {**super().get_config(), "settings": to_config(self.core.settings)}


@functools.partial(register_real, "keras")
class JointLayer(PrunedLayer):
    """A layer with what joint pruning and quantization puts around it.

    Args:
        layer: the layer.
        method: with a `tfprune.DJPQConfig` gate.
        part: what stands around this layer.

    Attributes:
        core: the variables and the forward pass.
    """

    def __init__(self, layer, method, part: Part | dict, **kwargs: Any):
        super().__init__(layer, method, **kwargs)
        part = part if isinstance(part, Part) else from_config(part)
        self.core = LearnedCore(method.gate, part, layer)

    def build(self, *args, **kwargs):
        super().build(*args, **kwargs)

        def make(*args: Any, **settings: Any) -> Any:
            return adapter.raw(_variable(self, *args, **settings))

        self.core.build(make, self.memory)
        self.core.step = adapter.raw(self.pruning_step)
        if self.core.weights is not None:
            (kernel, mask, _), state = self.pruning_vars[0], self.state_vars[0]
            held = {name: adapter.raw(one) for name, one in state.items()}
            self.core.bind(adapter.raw(kernel), adapter.raw(mask), held)

    def remembered(self) -> dict[int, Any]:
        """What an earlier version did not save: {id of a variable: its first value}."""
        before = {
            id(one): np.zeros(one.shape)
            for one in self._non_trainable_variables
            if any(adapter.raw(one) is kept for kept in self.core.before.values())
        }
        return {**super().remembered(), **before}

    def forward(self, in_training, /, inputs, *args, **kwargs):
        outputs = self.core.run(
            lambda given: self.layer(given, *args, **kwargs), inputs, bool(in_training)
        )
        if in_training and self.core.price is not None:
            self.add_loss(self.core.price())
        return outputs

    def get_config(self):
        return {**super().get_config(), "part": to_config(self.core.part)}


def _variable(layer, name, value, *, trainable=False, aggregation="mean", smallest=None):
    return add_weight(
        layer,
        name,
        shape=value.shape,
        dtype="float32",
        trainable=trainable,
        autocast=False,
        initializer=keras.initializers.Constant(value),
        aggregation=aggregation,
        constraint=at_least(smallest),
    )
