# SPDX-License-Identifier: Apache-2.0
"""The Keras 3 wrapper of joint pruning and quantization."""

from __future__ import annotations

import functools
import inspect
from typing import Any

import keras
import numpy as np

from tfprune.backend.keras3 import BACKEND as adapter
from tfprune.backend.registration import register_real
from tfprune.masks.serialization import from_config, to_config
from tfprune.quantization.djpq_layer import Core, at_least
from tfprune.quantization.settings import Part
from tfprune.training.keras3_layer import NOT_DRIVEN, PrunedLayer


@functools.partial(register_real, "keras")
class JointLayer(PrunedLayer):
    """A layer with what joint pruning and quantization puts around it.

    Args:
        layer: the layer.
        method: with a `tfprune.Joint` gate.
        part: what stands around this layer.

    Attributes:
        core: the variables and the forward pass.
    """

    def __new__(cls, layer, *args, **kwargs):
        self = super().__new__(cls, layer, *args, **kwargs)
        self.call = functools.partial(_call, self)
        self.call.__signature__ = inspect.signature(layer.call)
        self.call.__name__ = "call"
        return self

    def __init__(self, layer, method, part: Part | dict, **kwargs: Any):
        super().__init__(layer, method, **kwargs)
        self.core = Core(method.gate, part if isinstance(part, Part) else from_config(part), layer)

    def build(self, *args, **kwargs):
        super().build(*args, **kwargs)
        self.core.build(self._make, self.memory)
        if self.core.weights is not None:
            self.core.scale = self.core_variables()[2]["scale"]

    def remembered(self) -> dict[int, Any]:
        """What an earlier version did not save: {id of a variable: its first value}."""
        before = {
            id(one): np.zeros(one.shape)
            for one in self._non_trainable_variables
            if any(adapter.raw(one) is kept for kept in self.core.before.values())
        }
        return {**super().remembered(), **before}

    def core_variables(self) -> tuple:
        """(kernel, mask, state) of the quantized kernel."""
        kernel, mask, _ = self.pruning_vars[0]
        state = {name: adapter.raw(one) for name, one in self.state_vars[0].items()}
        return adapter.raw(kernel), adapter.raw(mask), state

    def _make(self, name, value, trainable=True, smallest=None):
        return adapter.raw(
            self.add_weight(
                name=name,
                shape=value.shape,
                dtype="float32",
                trainable=trainable,
                autocast=False,
                initializer=keras.initializers.Constant(value),
                aggregation="mean",
                constraint=at_least(smallest),
            )
        )

    def get_config(self):
        return {**super().get_config(), "part": to_config(self.core.part)}


def _call(self, inputs, *args, **kwargs):
    training = bool(kwargs.get("training", self._get_call_context().get_value("training")))
    if training and not self._held.driven and not adapter.is_tracing_symbolically():
        raise RuntimeError(NOT_DRIVEN.format(name=self.layer.name))
    kernel, state = None, {}
    if self.core.weights is not None:
        kernel, _, state = self.core_variables()
    outputs = self.core.run(
        lambda given: self.layer(given, *args, **kwargs),
        inputs,
        kernel,
        state,
        adapter.raw(self.pruning_step),
        training,
    )
    if training and self.core.price is not None:
        self.add_loss(self.core.price())
    return outputs
