# SPDX-License-Identifier: Apache-2.0
"""The forward pass of a layer that sees its kernels and inputs on grids, for both Kerases."""

from __future__ import annotations

import abc
from typing import Any, Callable

import numpy as np
import tensorflow as tf

from tfprune.backend.base import Backend
from tfprune.backend.substitute import Change, replaced, shown_as
from tfprune.masks.serialization import from_config
from tfprune.quantization.fake_quant import on_activation_grid, on_weight_grid, tracked
from tfprune.quantization.settings import QuantizationConfig
from tfprune.quantization.supported_layers import kernels


class Core(abc.ABC):
    """What a wrapper adds to its layer: in the forward pass, kernels and inputs are quantized.

    Args:
        layer: the layer.
    """

    def __init__(self, layer: Any):
        self.layer = layer

    @abc.abstractmethod
    def see_inputs(self, inputs: Any, training: Any) -> Any:
        """What the layer reads, quantized; in training ranges are observed."""

    @abc.abstractmethod
    def see_kernels(self) -> list[Change]:
        """The changes that put quantized kernels in the place of the layer's own."""

    def run(self, call: Callable, inputs: Any, training: Any) -> Any:
        """The forward pass.

        Args:
            call: that of the layer, a function of its inputs.
            inputs: one tensor, or a list of them.
            training: a bool, or a tensor of one.
        """
        inputs = self.see_inputs(inputs, training)
        with replaced(self.see_kernels()):
            return call(inputs)


class MinMaxCore(Core):
    """Grids between the lowest and the highest value, under the masks of a pruned layer.

    Args:
        settings: the grids; as a configuration, too.
        layer: the layer; what is zero in its kernels now, stays zero.
        home: the adapter of its Keras.

    Attributes:
        masks: one variable per kernel, by the name of the kernel's attribute.
        ranges: variable [inputs, 2]: the lowest and highest value of each tensor that is read.
    """

    def __init__(self, settings: QuantizationConfig | dict, layer: Any, home: Backend):
        super().__init__(layer)
        self.settings = (
            settings if isinstance(settings, QuantizationConfig) else from_config(settings)
        )
        self.home = home
        self.masks: dict[str, Any] = {}
        self.ranges: Any = None
        # Read now: a layer out of a file is not built yet, and its masks come with its weights.
        self._first = (
            {
                name: np.asarray(home.value(home.attribute(layer, name))) != 0
                for name, _ in kernels(layer, home)
            }
            if layer.built
            else {}
        )

    def build(self, make: Callable[..., Any], shapes: Any) -> None:
        """Create the variables.

        Args:
            make: `make(name, value, aggregation="mean")` -> a variable in float32, not trained.
            shapes: of the inputs, as `build` is given them.
        """
        for name, layout in kernels(self.layer, self.home):
            shape = tuple(self.home.attribute(self.layer, name).shape)
            first = self._first.get(name, np.ones(shape, bool))
            self.masks[name] = make(
                f"{name}_mask", first.astype(np.float32), aggregation="only_first_replica"
            )
        if self.settings.activations:
            ranges = np.zeros((_count(shapes), 2), np.float32)
            self.ranges = make("ranges", ranges)

    def apply_masks(self) -> None:
        """Zeros back into the kernels, should anything but gradients have moved them."""
        for name, mask in self.masks.items():
            kernel = self.home.attribute(self.layer, name)
            kept = np.asarray(self.home.value(mask)) != 0
            value = np.asarray(self.home.value(kernel))
            if value[~kept].any():
                kernel.assign(np.where(kept, value, np.zeros_like(value)))

    def see_inputs(self, inputs: Any, training: Any) -> Any:
        bits = self.settings.activations
        if bits is None:
            return inputs
        tensors = tf.nest.flatten(inputs)
        held = tf.unstack(tf.convert_to_tensor(self.home.value(self.ranges)), len(tensors))
        bounds = [tf.unstack(one, 2) for one in held]
        floats = [isinstance(one, tf.Tensor) and one.dtype.is_floating for one in tensors]
        if training is not False:
            learning = tf.cast(training, tf.bool)
            for index in (at for at, is_float in enumerate(floats) if is_float):
                low, high = bounds[index]
                new = tracked(low, high, tensors[index], self.settings.momentum)
                bounds[index] = [
                    tf.where(learning, *one) for one in zip(new, (low, high), strict=True)
                ]
            self.ranges.assign(tf.stack([tf.stack(one) for one in bounds]))
        shown = [
            on_activation_grid(one, low, high, bits) if is_float else one
            for one, (low, high), is_float in zip(tensors, bounds, floats, strict=True)
        ]
        return tf.nest.pack_sequence_as(inputs, shown)

    def see_kernels(self) -> list[Change]:
        changes = []
        for name, layout in kernels(self.layer, self.home):
            kernel = self.home.attribute(self.layer, name)
            shown = on_weight_grid(
                self.home.value(kernel),
                self.home.value(self.masks[name]),
                layout,
                self.settings.weights,
            )
            changes.append(shown_as(self.layer, kernel, shown))
        return changes


def _count(shapes: Any) -> int:
    """The number of shapes in what `build` is given; files have lists in place of tuples."""
    if isinstance(shapes, dict):
        shapes = list(shapes.values())
    if isinstance(shapes, (list, tuple)) and any(
        isinstance(one, (list, tuple, tf.TensorShape)) for one in shapes
    ):
        return len(shapes)
    return 1
