# SPDX-License-Identifier: Apache-2.0
"""The loss of each example, for any loss that a Keras model can be compiled with."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, Callable

import numpy as np
import tensorflow as tf

from tfprune.output.caller_warning import warn
from tfprune.statistics.measured_model import Subject

SMALLEST = 1e-7  # Keras' own bound under a logarithm


def logits_of(probabilities: tf.Tensor, is_binary: bool) -> tf.Tensor:
    """The logits of probabilities: log p, where each entry is one of its own log p - log(1 - p).

    Example:
        >>> logits_of(tf.constant([0.5, 0.5]), True).numpy().tolist()
        [0.0, 0.0]
    """
    if not is_binary:
        return tf.math.log(tf.maximum(probabilities, SMALLEST))
    kept = tf.clip_by_value(probabilities, SMALLEST, 1 - SMALLEST)
    return tf.math.log(kept) - tf.math.log(1 - kept)


@dataclass(frozen=True)
class Term:
    """The loss of one output.

    Attributes:
        function: (labels, output) -> losses.
        takes_logits: whether it expects logits; None where it is no cross-entropy, which does not
            tell.
        is_binary: whether each entry of the output is a probability of its own.
        weight: what it is multiplied by.
        name: of the output.
    """

    function: Callable
    takes_logits: bool | None = None
    is_binary: bool = False
    weight: float = 1.0
    name: str = ""

    def softened(self, output: tf.Tensor, temperature: float) -> tf.Tensor:
        """The output for logits divided by a temperature."""
        if self.takes_logits is not False:
            return output / temperature
        is_binary = self.is_binary or output.shape[-1] == 1
        squash = tf.sigmoid if is_binary else tf.nn.softmax
        return squash(logits_of(output, is_binary) / temperature)


@dataclass(frozen=True)
class Objective:
    """The losses of a model's outputs.

    Attributes:
        terms: one for each output, in `tf.nest.flatten` order.
    """

    terms: tuple[Term, ...]

    def losses(
        self, labels: Any, outputs: Any, weights: Any = None, temperature: float | None = None
    ) -> tf.Tensor:
        """Loss of each example, float32 [batch]: the weighted sum over the outputs.

        Args:
            labels, outputs: in equal structures, or the labels under the outputs' names.
            weights: sample weights [batch]; None: all 1.
            temperature: logits are divided by it. Probabilities p count as the logits log p;
                where the loss is no cross-entropy, the outputs themselves are divided.
        """
        total = 0.0
        for term, label, output in zip(
            self.terms, self.in_order(labels), tf.nest.flatten(outputs), strict=True
        ):
            if temperature is not None:
                output = term.softened(output, temperature)
            loss = tf.cast(term.function(_of_rank(label, output), output), tf.float32)
            loss = tf.reduce_mean(tf.reshape(loss, [tf.shape(loss)[0], -1]), axis=1)
            total += term.weight * loss
        return total if weights is None else total * tf.reshape(tf.cast(weights, tf.float32), [-1])

    def in_order(self, labels: Any) -> list[Any]:
        """The labels of each output."""
        return _in_order(labels, [term.name for term in self.terms], "labels")


def objective(subject: Subject, loss: Any) -> Objective:
    """What `loss`, or failing that the compiled model with its loss weights, says of the loss.

    Raises:
        ValueError: neither says anything; as many losses as outputs are needed.
    """
    adapter, model = subject.adapter, subject.model
    weights = None
    if loss is None:
        loss, weights = adapter.compiled_loss(model), adapter.loss_weights(model)
    if not loss:
        raise ValueError(
            f"The score needs a loss, and the model {model.name!r} is not compiled with "
            "one: pass data=tfprune.CalibrationData((x, y), "
            "loss='sparse_categorical_crossentropy'), or "
            "compile the model."
        )
    names = adapter.output_names(model)
    if names is None:  # what the user says is all that is known
        names = sorted(loss) if isinstance(loss, dict) else [""] * len(tf.nest.flatten(loss))
    functions = [adapter.loss_function(one) for one in _in_order(loss, names, "losses")]
    if len(functions) == 1:
        functions *= len(names)
    if len(functions) != len(names):
        raise ValueError(
            f"{len(functions)} losses for the {len(names)} outputs of the model; pass "
            "one for each output."
        )
    factors = [1.0] * len(names)
    if weights:
        known = {**dict.fromkeys(names, 1.0), **weights} if isinstance(weights, dict) else weights
        factors = _in_order(known, names, "loss weights")
    return Objective(
        tuple(
            Term(getattr(one, "call", one), takes_logits(one), is_binary(one), factor, name)
            for one, factor, name in zip(functions, factors, names, strict=True)
        )
    )


def _in_order(given: Any, names: list[str], what: str) -> list[Any]:
    """What was given for each output, by name or in order, as a list in order."""
    if not isinstance(given, dict):
        return tf.nest.flatten(given)
    wrong = [name for name in names if name not in given] + [
        key for key in given if key not in names
    ]
    if wrong:
        raise ValueError(
            f"The {what} name {', '.join(map(repr, given))}; the outputs of the model "
            f"are {', '.join(map(repr, names))}."
        )
    return [given[name] for name in names]


def check(objective: Objective, labels: Any, outputs: Any) -> None:
    """Refuse labels that do not fit, and say where logits and probabilities are confused.

    Raises:
        ValueError: labels whose shape or type the loss cannot take.
    """
    labels, outputs = objective.in_order(labels), tf.nest.flatten(outputs)
    if any(label is None for label in labels):
        raise ValueError("The data has no labels, and the score needs a loss: pass (x, y).")
    if len(labels) != len(outputs):
        raise ValueError(
            f"The data has labels for {len(labels)} outputs, the model has {len(outputs)}."
        )
    if len(objective.terms) != len(outputs):
        raise ValueError(
            f"{len(objective.terms)} losses for the {len(outputs)} outputs of the "
            "model; pass one for each output."
        )
    for term, label, output in zip(objective.terms, labels, outputs, strict=True):
        if len(label) != output.shape[0]:
            raise ValueError(f"{len(label)} labels for {output.shape[0]} examples in one batch.")
        if term.takes_logits is not None:
            _check_outputs(term.takes_logits, output)
    _check_losses(objective, labels, outputs)


def _check_losses(objective: Objective, labels: Any, outputs: Any) -> None:
    shapes = ", ".join(
        f"{_described(label)} for outputs {output.shape}"
        for label, output in zip(labels, outputs, strict=True)
    )
    try:
        losses = objective.losses(labels, outputs).numpy()
    except (ValueError, TypeError, tf.errors.OpError) as error:
        raise ValueError(
            f"The labels do not fit the loss: {shapes}. Class indices go with a sparse "
            "cross-entropy and lie below the number of outputs, one-hot rows with a categorical "
            f"one. ({re.sub('^{{.*?}} *', '', str(error)).splitlines()[0]})"
        ) from error
    if not np.isfinite(losses).all():
        raise ValueError(
            f"The loss of the first batch is not finite (labels {shapes}): are labels outside of "
            "the classes, or weights NaN?"
        )


def _described(label: Any) -> str:
    array = np.asarray(label)
    kind = f"{array.dtype.name}{list(array.shape)}"
    return f"{kind} from {array.min()} to {array.max()}" if array.dtype.kind in "iu" else kind


def _check_outputs(takes_logits: bool, output: tf.Tensor) -> None:
    bounded = bool(tf.reduce_all((output >= 0) & (output <= 1)))
    sums = tf.reduce_sum(output, -1)
    if not takes_logits and not bounded:
        raise ValueError(
            "The loss expects probabilities, but the model's outputs are none (they do not lie in "
            "[0, 1]): they look like logits. Use a loss with from_logits=True: "
            "data=tfprune.CalibrationData((x, y), loss=keras.losses.SparseCategoricalCrossentropy("
            "from_logits=True))."
        )
    if (
        takes_logits
        and bounded
        and output.shape[-1] > 1
        and bool(tf.reduce_all(tf.abs(sums - 1) < 1e-3))
    ):
        warn(
            "The model's outputs are probabilities (a softmax at its end), but its loss expects "
            "logits: from_logits=True. Scored with the loss as it is; from_logits=False is "
            "probably meant."
        )


def _name(loss: Any) -> str:
    return getattr(loss, "__name__", type(loss).__name__).lower().replace("_", "")


def is_binary(loss: Any) -> bool:
    """Whether each entry of the output is a probability of its own."""
    return "binary" in _name(loss)


def takes_logits(loss: Any) -> bool | None:
    """Whether a cross-entropy expects logits; None for another loss."""
    if "crossentropy" not in _name(loss):
        return None
    if isinstance(getattr(loss, "from_logits", None), bool):
        return loss.from_logits
    settings = getattr(loss, "_fn_kwargs", None) or {}
    return bool(settings.get("from_logits", False))


def _of_rank(label: Any, output: tf.Tensor) -> tf.Tensor:
    """Labels without a superfluous or missing last axis of 1, as Keras' `fit` takes them."""
    label = tf.convert_to_tensor(label)
    if label.shape.rank == output.shape.rank - 1 and output.shape[-1] == 1:
        return tf.expand_dims(label, -1)
    return label
