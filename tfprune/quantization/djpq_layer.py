# SPDX-License-Identifier: Apache-2.0
"""What the wrappers of both Kerases have in common: the variables of one layer and its forward
pass."""

from __future__ import annotations

import math
from typing import Any, Callable

import numpy as np
import tensorflow as tf

from tfprune.backend.substitute import replaced, shown_as
from tfprune.methods.gates.base import seed_of_step
from tfprune.quantization.bottleneck import (
    divergence,
    drawn_factors,
    kept,
    kept_ratio,
    mean_factors,
)
from tfprune.quantization.quantizers import bits, bounded, quantize, restricted, step_for
from tfprune.quantization.settings import Joint, Part

FIRST_LOG_VARIANCE = -9.0
_LOWEST, _HIGHEST = 2.0, 32.0  # bits
_POWERS = 0.5, 1.5
_SMALLEST = 1e-3  # of mu, so that the last channel of a layer never vanishes
_OBSERVED = 50  # steps in which the range of activations is taken from their maximum


class Quantizer:
    """One quantizer, of values that are divided by a scale first.

    Args:
        gate: the settings.
        signed: whether values are below zero, too.
        held: its variables by name: `step` and `top` (logarithms divided by the rate), `power`.
    """

    def __init__(self, gate: Joint, signed: bool, held: dict[str, Any]):
        self.gate = gate
        self.signed = signed
        self._held = held

    @staticmethod
    def firsts(gate: Joint, signed: bool) -> dict[str, float]:
        """The first values of its variables."""
        step = math.log(2.0 ** (gate.width - signed) - 1)
        return {
            "step": -step / gate.rate,
            "top": 0.0,
            **({"power": 1.0 / gate.rate} if gate.learn_power else {}),
        }

    def settings(self) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor, tf.Tensor]:
        """(d, q, t, bits), d in its bounds, restricted if that is asked."""
        gate, signed = self.gate, self.signed
        top = tf.exp(_scaled(self._held["top"], gate.rate))
        power = tf.ones([])
        if gate.learn_power:
            power = _bounded(_scaled(self._held["power"], gate.rate), *_POWERS)
        step = bounded(
            tf.exp(_scaled(self._held["step"], gate.rate)),
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


class Bottleneck:
    """One copy of a gate vector. Copies of coupled channels hold the same values.

    Args:
        gate: the settings.
        held: its variables `mu` and `log_variance`, divided by the rate.
    """

    def __init__(self, gate: Joint, held: dict[str, Any]):
        self.gate = gate
        self.held = held
        self.copies: tuple["Bottleneck", ...] = (self,)

    def values(self) -> tuple[tf.Tensor, tf.Tensor]:
        """(mu, log sigma^2), whose gradients reach all copies alike, so that they stay equal."""
        return tuple(_tied(self, name) for name in ("mu", "log_variance"))

    def divergence(self) -> tf.Tensor:
        return divergence(*self.values())

    def kept_ratio(self) -> tf.Tensor:
        gate = self.gate
        return kept_ratio(*self.values(), gate.threshold, temperature=gate.temperature)

    def means(self) -> tf.Tensor:
        """The factors of evaluation, [1, channels]."""
        return mean_factors(*self.values(), self.gate.threshold)[tf.newaxis]

    def drawn(self, examples: Any, name: str, step: Any) -> tf.Tensor:
        """The factors of training, [examples, channels], behind the layer of this name after so
        many finished steps."""
        seed = seed_of_step(self.gate.seed, name, step)
        return drawn_factors(*self.values(), examples, self.gate.threshold, seed=seed)

    def read(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """(mu, log sigma^2, kept as booleans) as arrays."""
        mu, log_variance = (_scaled(self.held[name], self.gate.rate) for name in self.held)
        chosen = kept(mu, log_variance, self.gate.threshold)
        return mu.numpy(), log_variance.numpy(), chosen.numpy() > 0

    def write(self, mu: np.ndarray, log_variance: np.ndarray) -> None:
        for name, value in (("mu", mu), ("log_variance", log_variance)):
            self.held[name].assign((value / self.gate.rate).astype(np.float32))


class Core:
    """What one wrapper adds to its layer.

    Args:
        gate: the settings.
        part: what stands around the layer.
        layer: the layer itself.
    """

    def __init__(self, gate: Joint, part: Part, layer: Any):
        self.gate = gate
        self.part = part
        self.layer = layer
        self.weights: Quantizer | None = None
        self.inputs: Quantizer | None = None
        self.bottleneck: Bottleneck | None = None
        self.range: Any = None
        self.hard: Any = None
        self.scale: Any = None
        self.before: dict[str, Any] = {}
        """What the end of a run overwrites, see `tfprune.quantization.djpq_state`: `check`
        [2], of the weights that it left, and whether the mask was full; with a
        bottleneck `factors` [channels, 4]. Empty in models of an earlier version.
        """
        self.price: Callable[[], tf.Tensor] | None = None
        """The price of the whole model, in one of its wrappers and during a run only."""
        self.is_running = False
        self.variables: list[Any] = []

    def release(self) -> None:
        """Forget what a run has put up."""
        self.price = None
        self.is_running = False
        if self.bottleneck is not None:
            self.bottleneck.copies = (self.bottleneck,)

    def build(self, make: Callable[..., Any], memory: bool) -> None:
        """Create the variables.

        Args:
            memory: whether to keep what the end of a run overwrites.
            make: `make(name, value, trainable=True, smallest=None)` -> tf.Variable in float32,
                never below `smallest` after an optimizer's step.
        """
        part, gate = self.part, self.gate
        make = self._noting(make)
        self.hard = make("hard", np.float32(0), trainable=False)
        if part.weights:
            self.weights = self._quantizer(make, "weight", True)
        if part.inputs:
            self.inputs = self._quantizer(make, "input", part.inputs == "signed")
            self.range = make("input_range", np.float32(0), trainable=False)
        if part.channels:
            ones = np.ones(part.channels, np.float32) / gate.rate
            self.bottleneck = Bottleneck(
                gate,
                {
                    "mu": make("gate_mu", ones, smallest=_SMALLEST / gate.rate),
                    "log_variance": make("gate_log_variance", ones * FIRST_LOG_VARIANCE),
                },
            )
        if memory:
            firsts = {"check": np.zeros(2, np.float32)}
            if part.channels:
                firsts["factors"] = np.zeros((part.channels, 4), np.float32)
            self.before = {
                name: make(f"before_{name}", value, trainable=False)
                for name, value in firsts.items()
            }

    def _noting(self, make: Callable) -> Callable:
        def noted(*args: Any, **settings: Any) -> Any:
            self.variables.append(make(*args, **settings))
            return self.variables[-1]

        return noted

    def _quantizer(self, make: Callable, name: str, signed: bool) -> Quantizer:
        firsts = Quantizer.firsts(self.gate, signed)
        return Quantizer(
            self.gate,
            signed,
            {
                key: make(f"quantizer_{name}_{key}", np.float32(value))
                for key, value in firsts.items()
            },
        )

    def run(
        self, call: Callable, inputs: Any, kernel: Any, state: Any, step: Any, training: bool
    ) -> Any:
        """The forward pass.

        Args:
            call: that of the layer, a function of its inputs.
            inputs: one tensor.
            kernel: the layer's kernel; None if it is not quantized.
            state: `scale` and `rest` of the kernel.
            step: finished steps of training.
            training: a Python bool.
        """
        if self.inputs is not None:
            if training:
                self._observe(inputs, step)
            inputs = tf.cast(self.inputs(inputs, tf.convert_to_tensor(self.range)), inputs.dtype)
        with replaced(self._substituted(kernel, state)):
            outputs = call(inputs)
        if self.bottleneck is None:
            return outputs
        factors = (
            self.bottleneck.drawn(tf.shape(outputs)[0], self.layer.name, step)
            if training
            else self.bottleneck.means()
        )
        shape = tf.concat(
            [
                tf.shape(factors)[:1],
                tf.ones([len(outputs.shape) - 2], tf.int32),
                tf.shape(factors)[1:],
            ],
            0,
        )
        return outputs * tf.cast(tf.reshape(factors, shape), outputs.dtype)

    def _observe(self, inputs: Any, step: Any) -> None:
        """In the first steps the range is the largest magnitude so far."""
        held = tf.convert_to_tensor(self.range)
        largest = tf.reduce_max(tf.abs(tf.cast(tf.stop_gradient(inputs), tf.float32)))
        observing = tf.convert_to_tensor(step) < _OBSERVED
        self.range.assign(tf.where(observing, tf.maximum(held, largest), held))

    def _substituted(self, kernel: Any, state: Any) -> list:
        if kernel is None:
            return []
        value = tf.convert_to_tensor(kernel)
        shown = self.weights(value, tf.convert_to_tensor(state["scale"]))
        # Hardened weights are quantized already, and with t != 1 doing it twice is not the same.
        shown = tf.where(tf.convert_to_tensor(self.hard) > 0, tf.cast(value, tf.float32), shown)
        return [shown_as(self.layer, kernel, shown)]


def is_joint(layer: Any) -> bool:
    """Whether it is a wrapper of joint pruning and quantization."""
    return isinstance(getattr(layer, "core", None), Core)


@tf.custom_gradient
def _with_rate(value: tf.Tensor, rate: tf.Tensor):
    # The gradient is not multiplied by the rate: so the rate multiplies the learning rate of
    # plain gradient descent as it does that of Adam, which takes no notice of the factor.
    return value * rate, lambda upstream: (upstream, None)


def _scaled(variable: Any, rate: float) -> tf.Tensor:
    return _with_rate(tf.convert_to_tensor(variable), tf.constant(rate, tf.float32))


def _bounded(value: tf.Tensor, low: float, high: float) -> tf.Tensor:
    return bounded(value, tf.constant(low), tf.constant(high))


def _tied(own: Bottleneck, name: str) -> tf.Tensor:
    value = _scaled(own.held[name], own.gate.rate)
    for other in own.copies:
        if other is not own:
            copy = _scaled(other.held[name], own.gate.rate)
            value += copy - tf.stop_gradient(copy)
    return value


def at_least(smallest: float | None) -> Callable | None:
    """A constraint of a variable, for both Kerases; None for none."""
    if smallest is None:
        return None
    return lambda value: tf.maximum(tf.convert_to_tensor(value), smallest)
