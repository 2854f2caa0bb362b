# SPDX-License-Identifier: Apache-2.0
"""The student: a copy of the teacher's weights, put in their place while a forward pass is traced.

The teacher is the model itself. Its variables are read and never written: what is trained are
variables of the student's own.
"""

from __future__ import annotations

from typing import Any, Sequence

import tensorflow as tf

from tfprune.backend.substitute import Change, replaced
from tfprune.reconstruction.points import Station
from tfprune.statistics.measured_model import Subject, first_copy


class _Reached(BaseException):
    """Ends a forward pass: all outputs that are wanted are there. No Keras catches it."""


class Student:
    """The variables of the sites, and of the biases beside them, that replace the teacher's.

    Args:
        subject: the teacher.
    """

    def __init__(self, subject: Subject):
        self.subject = subject
        adapter = subject.adapter
        self.kernels = [_copy(kernel) for kernel in subject.kernels]
        self.biases: dict[int, tuple[Any, tf.Variable]] = {}
        for item in subject.found:
            bias = adapter.attribute(item.owner, "bias")
            if bias is not None and id(item.owner) not in self.biases and adapter.is_float(bias):
                raw = adapter.raw(bias)
                self.biases[id(item.owner)] = raw, _copy(first_copy(raw))
        self._layers = {id(layer): layer for layer in subject.view.operations}
        self._layers.update((id(item.owner), item.owner) for item in subject.found)
        self._places = [self._where(item.variable) for item in subject.found]
        self._bias_places = {key: self._where(raw) for key, (raw, _) in self.biases.items()}

    def is_placed(self, index: int) -> bool:
        """Whether it is known where the model holds a site's weight."""
        return bool(self._places[index])

    def trained(self, station: Station) -> tuple[list[tf.Variable], list[tf.Variable]]:
        """(kernels, biases) of a station."""
        owners = dict.fromkeys(id(self.subject.found[index].owner) for index in station.sites)
        biases = [self.biases[key][1] for key in owners if key in self.biases]
        return [self.kernels[index] for index in station.sites], biases

    def changes(self) -> list[Change]:
        """The changes of attributes that put the student's weights in the teacher's place."""
        changes = []
        for variable, places in zip(self.kernels, self._places, strict=True):
            changes += [(layer, name, tf.convert_to_tensor(variable)) for layer, name in places]
        for key, (_, variable) in self.biases.items():
            for layer, name in self._bias_places[key]:
                changes.append((layer, name, tf.convert_to_tensor(variable)))
        return changes

    def _where(self, variable: Any) -> list[tuple[Any, str]]:
        """Every layer that holds a variable, and under which name."""
        raw = self.subject.adapter.raw
        return [
            (layer, name)
            for layer in self._layers.values()
            for name, value in list(vars(layer).items())
            if value is variable or _is_variable(value) and raw(value) is variable
        ]


def outputs(
    subject: Subject, station: Station, inputs: Any, changes: Sequence[Change] = ()
) -> list[tf.Tensor]:
    """What is compared at a station, for a batch; the forward pass goes no further than there.

    Args:
        subject: the teacher.
        station: where.
        inputs: of the model.
        changes: of attributes for the time of the forward pass: the student's weights.
    """
    found: dict[tuple[int, int], list[tf.Tensor]] = {}
    wanted = {(id(layer), number) for layer, number in station.ends}
    numbers: dict[int, int] = {}

    def note(layer: Any, args: tuple, kwargs: dict[str, Any], made: Any) -> None:
        key = id(layer), numbers.get(id(layer), 0)
        numbers[id(layer)] = key[1] + 1
        if key in wanted:
            found[key] = [part for part in tf.nest.flatten(made) if tf.is_tensor(part)]
            if len(found) == len(wanted):
                raise _Reached

    layers = {id(layer): layer for layer, _ in station.ends}
    with replaced(changes), subject.view.record_calls(layers.values(), note):
        try:
            subject.model(inputs, training=False)
        except _Reached:
            pass
    return [
        part
        for key in sorted(found, key=lambda key: key[1])
        for part in found[key]
        if part.dtype.is_floating
    ]


def _copy(variable: Any) -> tf.Variable:
    value = tf.convert_to_tensor(variable)
    dtype = tf.float64 if value.dtype == tf.float64 else tf.float32
    return tf.Variable(tf.cast(value, dtype), trainable=False)


def _is_variable(value: Any) -> bool:
    return hasattr(value, "assign") and hasattr(value, "shape")
