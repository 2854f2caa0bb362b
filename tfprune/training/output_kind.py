# SPDX-License-Identifier: Apache-2.0
"""Logits or probabilities, of classes or of single labels: the kind of a model's output."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import tensorflow as tf

from tfprune.backend.model_view import ModelView
from tfprune.layers.base import kind_of
from tfprune.statistics.loss import is_binary, logits_of, takes_logits

_PROBABILITIES = ("softmax", "sigmoid")
_LOGITS = ("linear", "log_softmax")


@dataclass(frozen=True)
class OutputKind:
    """What a model with one output returns.

    Attributes:
        function: the name of its last activation; None: not known.
        takes_logits: whether its compiled loss expects logits; None: there is none, or it is no
            cross-entropy.
        is_binary: whether each entry is a label of its own; None: not known.
        name: of the model.
        loss: which it is compiled with; None: none.
    """

    function: str | None
    takes_logits: bool | None
    is_binary: bool | None
    name: str
    loss: str | None = None

    @classmethod
    def of(cls, view: ModelView) -> OutputKind:
        """The kind of a model, from its last activation and its compiled loss."""
        function = last_activation(view)
        given = view.backend.compiled_loss(view.model)
        given = next(iter(tf.nest.flatten(given)), None)
        loss = None if given is None else view.backend.loss_function(given)
        takes = None if loss is None else takes_logits(loss)
        binary = None if takes is None else is_binary(loss)
        if function in _PROBABILITIES:
            binary = function == "sigmoid"
        text = None if loss is None else getattr(loss, "name", None) or str(given)
        return cls(function, takes, binary, view.model.name, text)

    def logits(self, output: tf.Tensor, is_binary: bool, known: Any = None) -> tf.Tensor:
        """The logits of an output, float32.

        Args:
            output: of the model.
            is_binary: whether each entry is a label of its own.
            known: the logits that Keras keeps beside the output of a softmax or sigmoid.

        Raises:
            ValueError: it cannot be told whether these are logits.
        """
        if known is not None:
            return tf.cast(known, tf.float32)
        output = tf.cast(output, tf.float32)
        return output if self.are_logits() else logits_of(output, is_binary)

    def are_logits(self) -> bool:
        """Whether the output is logits.

        Raises:
            ValueError: that cannot be told.
        """
        if self.function in _PROBABILITIES:
            return False
        if self.takes_logits is False and self.function in _LOGITS:
            raise ValueError(
                f"The last layer of {self.name!r} has no softmax, but the loss that it is compiled "
                "with expects probabilities: compile with a loss of from_logits=True"
                f"{_SAY}"
            )
        if self.takes_logits is not None:
            return self.takes_logits
        if self.function in _LOGITS and self.loss is None:
            return True
        told = f"its last activation is {self.function}"
        if self.function is None:
            told = "its last activation is not known"
        loss = "without a loss" if self.loss is None else f"with {self.loss}, no cross-entropy"
        raise ValueError(
            f"Whether the outputs of {self.name!r} are logits or probabilities cannot be told "
            f"({told}, it is compiled {loss}), and a teacher softens logits: compile with "
            f"a cross-entropy{_SAY}"
        )


_SAY = ", or say teacher=tfprune.Distillation(dense, from_logits=True), or False."


def last_activation(view: ModelView) -> str | None:
    """The name of the function that a model's only output comes from; None: not known.

    Example:
        >>> import keras
        >>> from tfprune.backend import view
        >>> dense = keras.layers.Dense(2, activation="softmax")
        >>> last_activation(view(keras.Sequential([keras.Input((4,)), dense])))
        'softmax'
    """
    graph = view.graph
    if graph is None or len(graph.outputs) != 1:
        return None
    makers = {ref.key: call for call in graph.calls for ref in call.outputs}
    ref = graph.outputs[0]
    while ref.key in makers:
        call = makers[ref.key]
        name = _function_of(view, call.operation)
        if name != "passes":
            return name
        ref = call.reads[0]
    return None


def _function_of(view: ModelView, operation: Any) -> str | None:
    """The activation of a layer, or a raw operation's name; "passes": it changes no value."""
    backend = view.backend
    if not isinstance(operation, backend.Layer):
        return backend.operation_name(operation)
    if backend.is_wrapped(operation):
        return _function_of(view, backend.unwrap(operation))
    if backend.is_model(operation):
        return last_activation(view.at(operation))
    raw = backend.operation_name(operation)  # tf_keras' operations are layers
    if raw is not None:
        return raw
    kind = kind_of(operation)
    if kind.function is not None:
        name = kind.function(operation).removesuffix("_v2")
        return "passes" if name == "linear" and kind.name == "Activation" else name
    if {"raw", "in_place"} <= kind.traits:
        return "passes"
    own = getattr(getattr(operation, "activation", None), "__name__", None)
    return own and own.removesuffix("_v2")  # as of tf.nn.softmax
