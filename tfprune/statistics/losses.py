"""The loss of each example, for any loss that a Keras model can be compiled with."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any, Callable

import numpy as np
import tensorflow as tf

from tfprune.statistics.subject import Subject

SMALLEST = 1e-7  # Keras' own bound under a logarithm


@dataclass(frozen=True)
class Objective:
    """The losses of a model's outputs.

    Attributes:
        functions: one (labels, output) -> losses for each output, in `tf.nest.flatten` order.
        takes_logits: for each output whether its loss expects logits; None where it is no
            cross-entropy, which does not tell.
    """

    functions: tuple[Callable, ...]
    takes_logits: tuple[bool | None, ...]

    def losses(self, labels: Any, outputs: Any, weights: Any = None,
               temperature: float | None = None) -> tf.Tensor:
        """Loss of each example, float32 [batch]: the sum over the outputs.

        Args:
            labels, outputs: in equal structures.
            weights: sample weights [batch]; None: all 1.
            temperature: logits are divided by it. Probabilities p count as the logits log p;
                where the loss is no cross-entropy, the outputs themselves are divided.
        """
        labels, outputs = tf.nest.flatten(labels), tf.nest.flatten(outputs)
        total = 0.0
        for function, logits, label, output in zip(self.functions, self.takes_logits, labels,
                                                   outputs):
            if temperature is not None:
                output = _softened(output, logits, temperature)
            loss = tf.cast(function(_of_rank(label, output, function), output), tf.float32)
            total += tf.reduce_mean(tf.reshape(loss, [tf.shape(loss)[0], -1]), axis=1)
        return total if weights is None else total * tf.reshape(tf.cast(weights, tf.float32), [-1])


def objective(subject: Subject, loss: Any) -> Objective:
    """What `loss`, or failing that the compiled model, says of the loss.

    Raises:
        ValueError: neither says anything; as many losses as outputs are needed.
    """
    loss = loss if loss is not None else subject.adapter.compiled_loss(subject.model)
    if not loss:
        raise ValueError(
            f"The score needs a loss, and the model {subject.model.name!r} is not compiled with "
            "one: pass data=tfprune.Data((x, y), loss='sparse_categorical_crossentropy'), or "
            "compile the model."
        )
    names = getattr(subject.model, "output_names", None)
    if isinstance(loss, dict) and names:
        loss = [loss[name] for name in names if name in loss]
    functions = [subject.adapter.loss_function(one) for one in tf.nest.flatten(loss)]
    count = len(tf.nest.flatten(getattr(subject.model, "outputs", None) or [None]))
    if len(functions) == 1:
        functions *= count
    if len(functions) != count:
        raise ValueError(f"{len(functions)} losses for the {count} outputs of the model; pass one "
                         "for each output.")
    return Objective(tuple(getattr(one, "call", one) for one in functions),
                     tuple(_takes_logits(one) for one in functions))


def check(objective: Objective, labels: Any, outputs: Any) -> None:
    """Refuse labels that do not fit, and say where logits and probabilities are confused.

    Raises:
        ValueError: labels whose shape or type the loss cannot take.
    """
    labels, outputs = tf.nest.flatten(labels), tf.nest.flatten(outputs)
    if any(label is None for label in labels):
        raise ValueError("The data has no labels, and the score needs a loss: pass (x, y).")
    if len(labels) != len(outputs):
        raise ValueError(f"The data has labels for {len(labels)} outputs, the model has "
                         f"{len(outputs)}.")
    for logits, label, output in zip(objective.takes_logits, labels, outputs):
        if len(label) != output.shape[0]:
            raise ValueError(f"{len(label)} labels for {output.shape[0]} examples in one batch.")
        if logits is not None:
            _check_outputs(logits, output)
    _check_losses(objective, labels, outputs)


def _check_losses(objective: Objective, labels: Any, outputs: Any) -> None:
    shapes = ", ".join(f"{np.asarray(label).dtype.name}{list(np.shape(label))} for outputs "
                       f"{output.shape}" for label, output in zip(labels, outputs))
    try:
        losses = objective.losses(labels, outputs).numpy()
    except (ValueError, TypeError, tf.errors.InvalidArgumentError) as error:
        raise ValueError(
            f"The labels do not fit the loss: {shapes}. Class indices go with a sparse "
            f"cross-entropy, one-hot rows with a categorical one. ({str(error).splitlines()[0]})"
        ) from error
    if not np.isfinite(losses).all():
        raise ValueError(
            f"The loss of the first batch is not finite (labels {shapes}): are labels outside of "
            "the classes, or weights NaN?"
        )


def _check_outputs(takes_logits: bool, output: tf.Tensor) -> None:
    sums = tf.reduce_sum(output, -1)
    bounded = bool(tf.reduce_all((output >= 0) & (output <= 1)))
    are_probabilities = bounded and (output.shape[-1] == 1
                                     or bool(tf.reduce_all(tf.abs(sums - 1) < 1e-3)))
    if takes_logits and are_probabilities and output.shape[-1] > 1:
        warnings.warn(
            "The model's outputs are probabilities (a softmax at its end), but its loss expects "
            "logits: from_logits=True. Scored with the loss as it is; from_logits=False is "
            "probably meant.", stacklevel=2)
    elif not takes_logits and not are_probabilities:
        raise ValueError(
            "The loss expects probabilities, but the model's outputs are none (they do not lie in "
            "[0, 1] or do not sum to 1): they look like logits. Use a loss with from_logits=True: "
            "data=tfprune.Data((x, y), loss=keras.losses.SparseCategoricalCrossentropy("
            "from_logits=True))."
        )


def _takes_logits(loss: Any) -> bool | None:
    """Whether a cross-entropy expects logits; None for another loss."""
    name = getattr(loss, "__name__", type(loss).__name__).lower().replace("_", "")
    if "crossentropy" not in name:
        return None
    if isinstance(getattr(loss, "from_logits", None), bool):
        return loss.from_logits
    settings = getattr(loss, "_fn_kwargs", None) or {}
    return bool(settings.get("from_logits", False))


def _softened(output: tf.Tensor, takes_logits: bool | None, temperature: float) -> tf.Tensor:
    if takes_logits is not False:
        return output / temperature
    if output.shape[-1] == 1:  # a sigmoid
        kept = tf.clip_by_value(output, SMALLEST, 1 - SMALLEST)
        return tf.sigmoid((tf.math.log(kept) - tf.math.log(1 - kept)) / temperature)
    return tf.nn.softmax(tf.math.log(tf.maximum(output, SMALLEST)) / temperature)


def _of_rank(label: Any, output: tf.Tensor, function: Callable) -> tf.Tensor:
    """Labels without a superfluous or missing last axis of 1, as Keras' `fit` takes them."""
    label = tf.convert_to_tensor(label)
    if label.shape.rank == output.shape.rank - 1 and output.shape[-1] == 1:
        return tf.expand_dims(label, -1)
    return label
