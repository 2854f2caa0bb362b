# SPDX-License-Identifier: Apache-2.0
"""One layer's problem: Adam on the distance to the teacher's output, in one compiled function."""

from __future__ import annotations

from typing import Any

import numpy as np
import tensorflow as tf

from tfprune.reconstruction.points import Station
from tfprune.reconstruction.settings import ADMM
from tfprune.reconstruction.student import Student, outputs
from tfprune.reconstruction.synthetic_data import Source

_DECAY = 0.9, 0.999
_EPSILON = 1e-7


class Problem:
    """Trains the weights of one station.

        minimise mean((student - teacher)^2) / mean(teacher^2) + rho/2 ||W - A||^2 / ||W_0||^2

    The student's layers before it are pruned already. A is the anchor, Z - U. Distances of outputs
    and of weights W count relative to what the teacher has, and a step of Adam relative to the
    root mean square of its weights W_0, so that the same settings serve all layers and inputs.

    Args:
        station: the layer.
        student: its weights; those of this station are changed.
        source: of the inputs.
        settings: steps and learning rate.
        seed: of the inputs.
    """

    def __init__(
        self, station: Station, student: Student, source: Source, settings: ADMM, *, seed: int
    ):
        self.station = station
        self.student = student
        self._source = source
        self._settings = settings
        self._seed = seed
        self.kernels, self.biases = student.trained(station)
        self.anchors = [tf.Variable(kernel, trainable=False) for kernel in self.kernels]
        self._masks = [
            tf.Variable(tf.ones_like(kernel), trainable=False) for kernel in self.kernels
        ]
        trained = [*self.kernels, *self.biases]
        self._slots = [
            [tf.Variable(tf.zeros_like(one), trainable=False) for one in trained] for _ in _DECAY
        ]
        self._scales = [_typical(one) for one in self.kernels]
        energies = [
            scale**2 * one.shape.num_elements()
            for scale, one in zip(self._scales, self.kernels, strict=True)
        ]
        self._energy = max(sum(energies), np.finfo(np.float32).tiny)
        self._scales += [max(_typical(one), *self._scales) for one in self.biases]
        self._time = tf.Variable(0.0, trainable=False)
        self._drawn = 0
        self._period = tf.function(self._steps, autograph=False)

    def period(self, rho: float) -> tuple[bool, float]:
        """One period of steps.

        Returns:
            Whether all went well (no NaN, no infinity), and how far the output is off the
            teacher's in the last step, relative to it.
        """
        steps = self._settings.steps
        finite, off = self._period(tf.constant(self._drawn), tf.constant(rho, tf.float32))
        self._drawn += steps
        return bool(finite), float(off)

    def hold(self, masks: list[Any]) -> None:
        """From now on weights outside of the masks are zero; Adam begins anew."""
        for kernel, mask, chosen in zip(self.kernels, self._masks, masks, strict=True):
            mask.assign(tf.cast(chosen, mask.dtype))
            kernel.assign(kernel * mask)
        for slots in self._slots:
            for slot in slots:
                slot.assign(tf.zeros_like(slot))
        self._time.assign(0.0)

    def _steps(self, first: tf.Tensor, rho: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        def step(index, finite, off):
            inputs = self._source.draw(tf.stack([self._seed, first + index]))
            off, gradients = self._gradients(inputs, rho)
            self._move(gradients, index)
            return index + 1, finite & tf.math.is_finite(off), off

        state = (tf.constant(0), tf.constant(True), tf.constant(0.0))
        _, finite, off = tf.while_loop(lambda index, *_: index < self._settings.steps, step, state)
        for one in (*self.kernels, *self.biases):
            finite &= tf.reduce_all(tf.math.is_finite(one))
        return finite, tf.sqrt(off)

    def _gradients(self, inputs: Any, rho: tf.Tensor) -> tuple[tf.Tensor, list[tf.Tensor]]:
        """(loss without the penalty, gradients with it)."""
        subject, trained = self.student.subject, [*self.kernels, *self.biases]
        goals = outputs(subject, self.station, inputs)
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(trained)
            found = outputs(subject, self.station, inputs, self.student.changes())
            loss = tf.math.divide_no_nan(
                sum(_squares(one - goal) for one, goal in zip(found, goals, strict=True)),
                sum(_squares(goal) for goal in goals),
            )
        gradients = tape.gradient(loss, trained, unconnected_gradients="zero")
        gradients = [tf.convert_to_tensor(one) for one in gradients]
        for index, (kernel, anchor) in enumerate(zip(self.kernels, self.anchors, strict=True)):
            gradients[index] += tf.cast(rho / self._energy, kernel.dtype) * (kernel - anchor)
        return loss, gradients

    def _move(self, gradients: list[tf.Tensor], index: tf.Tensor) -> None:
        """One step of Adam; what masks remove stays zero."""
        self._time.assign_add(1.0)
        third = tf.cast(3 * index // self._settings.steps, tf.float32)
        rate = self._settings.rate * 0.1**third
        masks = [*map(tf.convert_to_tensor, self._masks), *(1.0 for _ in self.biases)]
        corrections = [1 - decay**self._time for decay in _DECAY]
        for number, (variable, gradient) in enumerate(
            zip([*self.kernels, *self.biases], gradients, strict=True)
        ):
            gradient *= masks[number]
            means = []
            for slots, decay, power, correction in zip(
                self._slots, _DECAY, (1, 2), corrections, strict=True
            ):
                mean = decay * slots[number] + (1 - decay) * gradient**power
                slots[number].assign(mean, read_value=False)
                means.append(mean / tf.cast(correction, mean.dtype))
            change = means[0] / (tf.sqrt(means[1]) + _EPSILON)
            length = tf.cast(rate * self._scales[number], variable.dtype)
            variable.assign_sub(length * change, read_value=False)


def _typical(variable: tf.Variable) -> float:
    """The root mean square of its entries."""
    return float(np.sqrt(np.mean(np.square(variable.numpy(), dtype=np.float64))))


def _squares(values: tf.Tensor) -> tf.Tensor:
    return tf.reduce_sum(tf.square(tf.cast(values, tf.float32)))
