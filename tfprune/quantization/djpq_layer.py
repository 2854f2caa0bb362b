# SPDX-License-Identifier: Apache-2.0
"""Learned quantizers and gates around one layer, for both Kerases."""

from __future__ import annotations

import math
from typing import Any, Callable

import numpy as np
import tensorflow as tf

from tfprune.backend.substitute import Change, shown_as
from tfprune.quantization.bottleneck import Bottleneck
from tfprune.quantization.quantized_layer import Core
from tfprune.quantization.quantizers import bits, bounded, quantize, restricted, scaled, step_for
from tfprune.quantization.settings import DJPQConfig, Part

_LOWEST, _HIGHEST = 2.0, 32.0  # bits
_POWERS = 0.5, 1.5
_OBSERVED = 50  # steps in which the range of activations is taken from their maximum


class Quantizer:
    """One quantizer, of values that are divided by a scale first.

    Args:
        gate: the settings.
        signed: whether values are below zero, too.
        held: its variables by name: `step` and `top` (logarithms divided by the rate), `power`.
    """

    def __init__(self, gate: DJPQConfig, signed: bool, held: dict[str, Any]):
        self.gate = gate
        self.signed = signed
        self._held = held

    @classmethod
    def made(cls, gate: DJPQConfig, signed: bool, make: Callable, name: str) -> "Quantizer":
        """With variables that `make(name, value, trainable=True)` creates."""
        firsts = {"step": -math.log(2.0 ** (gate.width - signed) - 1) / gate.rate, "top": 0.0}
        if gate.learn_power:
            firsts["power"] = 1.0 / gate.rate
        held = {
            key: make(f"quantizer_{name}_{key}", np.float32(value), trainable=True)
            for key, value in firsts.items()
        }
        return cls(gate, signed, held)

    def settings(self) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor, tf.Tensor]:
        """(d, q, t, bits), d in its bounds, restricted if that is asked."""
        gate, signed = self.gate, self.signed
        top = tf.exp(scaled(self._held["top"], gate.rate))
        power = tf.ones([])
        if gate.learn_power:
            power = _bounded(scaled(self._held["power"], gate.rate), *_POWERS)
        step = bounded(
            tf.exp(scaled(self._held["step"], gate.rate)),
            tf.stop_gradient(step_for(_HIGHEST, top, power, signed=signed)),
            tf.stop_gradient(step_for(_LOWEST, top, power, signed=signed)),
        )
        if gate.restricted:
            step, width = restricted(step, top, power, signed=signed)
        else:
            width = bits(step, top, power, signed=signed)
        return step, top, power, width

    def __call__(self, values: Any, scale: Any) -> tf.Tensor:
        """The quantized values in float32; untouched where the scale is still zero."""
        step, top, power, _ = self.settings()
        values = tf.cast(values, tf.float32)
        known = scale > 0
        safe = tf.where(known, scale, tf.ones_like(scale))
        if self.gate.learn_power:
            shown = quantize(values / safe, step, top, power) * safe
        else:
            shown = quantize(values, step * safe, top * safe)
        return tf.where(known, shown, values)


class LearnedCore(Core):
    """Learned quantizers of a kernel and of what reads it, and a gate on the channels.

    Args:
        gate: the settings.
        part: what stands around the layer.
        layer: the layer itself.

    Attributes:
        weights, inputs: the quantizers; None where there is none.
        kernel, mask, rest, scale: of the quantized kernel.
        step: finished steps of training.
        range: the largest magnitude of what is read.
        hard: 1 after the end of a run, when the weights are quantized.
        bottleneck: the gate on the channels.
        before: what the end of a run overwrites, see `tfprune.quantization.djpq_state`: `check`
            [2], of the weights that it left, and whether the mask was full; with a bottleneck
            `factors` [channels, 4]. Empty in models of an earlier version.
        price: the price of the whole model, in one of its wrappers and during a run only.
        variables: all that it has created.
    """

    def __init__(self, gate: DJPQConfig, part: Part, layer: Any):
        super().__init__(layer)
        self.gate = gate
        self.part = part
        self.weights: Quantizer | None = None
        self.inputs: Quantizer | None = None
        self.bottleneck: Bottleneck | None = None
        self.kernel: Any = None
        self.mask: Any = None
        self.rest: Any = None
        self.scale: Any = None
        self.step: Any = None
        self.range: Any = None
        self.hard: Any = None
        self.before: dict[str, Any] = {}
        self.price: Callable[[], tf.Tensor] | None = None
        self.is_running = False
        self.variables: list[Any] = []

    @property
    def gate_variables(self) -> list[Any]:
        """Those of the gate on the channels."""
        return [] if self.bottleneck is None else list(self.bottleneck.held.values())

    def release(self) -> None:
        """Forget what a run has put up."""
        self.price = None
        self.is_running = False
        if self.bottleneck is not None:
            self.bottleneck.copies = (self.bottleneck,)

    def build(self, make: Callable[..., Any], memory: bool) -> None:
        """Create the variables.

        Args:
            make: `make(name, value, trainable=False, smallest=None)` -> tf.Variable in float32,
                never below `smallest` after an optimizer's step.
            memory: whether to keep what the end of a run overwrites.
        """

        def noted(*args: Any, **settings: Any) -> Any:
            self.variables.append(make(*args, **settings))
            return self.variables[-1]

        part, gate = self.part, self.gate
        self.hard = noted("hard", np.float32(0))
        if part.weights:
            self.weights = Quantizer.made(gate, True, noted, "weight")
        if part.inputs:
            self.inputs = Quantizer.made(gate, part.inputs == "signed", noted, "input")
            self.range = noted("input_range", np.float32(0))
        if part.channels:
            self.bottleneck = Bottleneck.made(gate, part.channels, noted)
        if memory:
            self.before["check"] = noted("before_check", np.zeros(2, np.float32))
        if memory and part.channels:
            factors = np.zeros((part.channels, 4), np.float32)
            self.before["factors"] = noted("before_factors", factors)

    def bind(self, kernel: Any, mask: Any, state: dict[str, Any]) -> None:
        """Take the variables of the quantized kernel, tf.Variables, from its wrapper."""
        self.kernel, self.mask = kernel, mask
        self.rest, self.scale = state["rest"], state["scale"]

    def run(self, call: Callable, inputs: Any, training: bool) -> Any:
        outputs = super().run(call, inputs, training)
        if self.bottleneck is None:
            return outputs
        factors = (
            self.bottleneck.drawn(tf.shape(outputs)[0], self.layer.name, self.step)
            if training
            else self.bottleneck.means()
        )
        count, channels = tf.split(tf.shape(factors), 2)
        between = tf.ones([len(outputs.shape) - 2], tf.int32)
        shape = tf.concat([count, between, channels], 0)
        return outputs * tf.cast(tf.reshape(factors, shape), outputs.dtype)

    def see_inputs(self, inputs: Any, training: bool) -> Any:
        if self.inputs is None:
            return inputs
        if training:
            self._observe(inputs)
        return tf.cast(self.inputs(inputs, tf.convert_to_tensor(self.range)), inputs.dtype)

    def _observe(self, inputs: Any) -> None:
        """In the first steps the range is the largest magnitude so far."""
        held = tf.convert_to_tensor(self.range)
        largest = tf.reduce_max(tf.abs(tf.cast(tf.stop_gradient(inputs), tf.float32)))
        observing = tf.convert_to_tensor(self.step) < _OBSERVED
        self.range.assign(tf.where(observing, tf.maximum(held, largest), held))

    def see_kernels(self) -> list[Change]:
        if self.weights is None:
            return []
        value = tf.convert_to_tensor(self.kernel)
        shown = self.weights(value, tf.convert_to_tensor(self.scale))
        # Hardened weights are quantized already, and with t != 1 doing it twice is not the same.
        shown = tf.where(tf.convert_to_tensor(self.hard) > 0, tf.cast(value, tf.float32), shown)
        return [shown_as(self.layer, self.kernel, shown)]


def is_joint(layer: Any) -> bool:
    """Whether it is a wrapper of joint pruning and quantization."""
    return isinstance(getattr(layer, "core", None), LearnedCore)


def _bounded(value: tf.Tensor, low: float, high: float) -> tf.Tensor:
    return bounded(value, tf.constant(low), tf.constant(high))


def at_least(smallest: float | None) -> Callable | None:
    """A constraint of a variable, for both Kerases; None for none."""
    if smallest is None:
        return None
    return lambda value: tf.maximum(tf.convert_to_tensor(value), smallest)
