# SPDX-License-Identifier: Apache-2.0
"""By what `sensitivity` judges a pruned model: a loss, or the distance to the dense outputs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import tensorflow as tf

from tfprune.backend.model_view import ModelView
from tfprune.evaluation.measures import are_probabilities, probabilities
from tfprune.evaluation.tasks import Task
from tfprune.statistics.gradients import as_tensors
from tfprune.statistics.loss import Objective, Term, check, objective
from tfprune.statistics.measured_model import Subject

Outputs = list[np.ndarray]


@dataclass(frozen=True)
class Goal:
    """Judges outputs for all examples.

    Attributes:
        labels, weights: of all examples; None without.
        reference: what the dense model gives.
        objective: the loss; None: the distance to the reference.
        task: what is shown beside the loss.
    """

    labels: Any
    weights: np.ndarray | None
    reference: Outputs
    objective: Objective | None
    task: Task | None

    @classmethod
    def of(cls, seen: ModelView, loss: Any, batches: Sequence[tuple], reference: Outputs) -> Goal:
        """With the labels of the batches, if they have some.

        Args:
            seen: the model.
            loss: that the user named; None: none.
            batches: (inputs, labels, weights) of each.
            reference: the dense model's outputs for them.

        Raises:
            ValueError: outputs or a loss that are not finite; labels that do not fit; some batches
                have labels and others not.
        """
        for output in reference:
            if not np.isfinite(output).all():
                raise ValueError(
                    f"The outputs of the model {seen.model.name!r} are NaN or infinite for some "
                    "examples before anything is pruned: look at its weights."
                )
        labelled = [labels is not None for _, labels, _ in batches]
        if not any(labelled):
            if not any(output.any() for output in reference):
                raise ValueError(
                    f"The outputs of the model {seen.model.name!r} are 0 for all examples, so "
                    "nothing can be said relative to them: pass other examples, or labels."
                )
            return cls(None, None, reference, None, None)
        if not all(labelled):
            raise ValueError("Some batches of the data have labels and others have none.")
        labels = _joined([labels for _, labels, _ in batches])
        given = [weights for *_, weights in batches if weights is not None]
        weights = np.concatenate([np.ravel(one) for one in given]) if given else None
        task = Task.of(labels, reference, None)
        goal = _objective(seen, loss, task, labels, reference)
        first = len(tf.nest.flatten(batches[0][0])[0])
        check(
            goal,
            tf.nest.map_structure(lambda one: one[:first], labels),
            [tf.constant(output[:first]) for output in reference],
        )
        return cls(labels, weights, reference, goal, task if task.loss else None)

    @property
    def unit(self) -> str:
        """Of the loss."""
        return "relative squared error" if self.objective is None else "loss"

    @property
    def metric(self) -> str:
        """What is shown beside the loss; "" for nothing."""
        return self.task.unit if self.task is not None else ""

    @property
    def examples(self) -> int:
        """How many there are."""
        return len(self.reference[0])

    @property
    def dense(self) -> tuple[float, float]:
        """The loss and the metric of the model as it is."""
        return self.losses(self.reference, "the dense model")

    def losses(self, outputs: Outputs, name: str) -> tuple[float, float]:
        """The loss and the metric, 0.0 without one, of outputs for all examples.

        Args:
            outputs: [examples, ...] of each output.
            name: of what was pruned, for errors.

        Raises:
            ValueError: a loss that is not finite.
        """
        loss = self._distance(outputs) if self.objective is None else self._loss(outputs)
        if not np.isfinite(loss):
            raise ValueError(
                f"{name}: the {self.unit} is {loss}, for outputs from "
                f"{min(one.min() for one in outputs):.3g} to "
                f"{max(one.max() for one in outputs):.3g}. Is the loss meant for such outputs?"
            )
        return loss, self._metric(outputs)

    def _distance(self, outputs: Outputs) -> float:
        pairs = zip(outputs, self.reference, strict=True)
        off = sum(float(np.square(one - dense, dtype=np.float64).sum()) for one, dense in pairs)
        return off / sum(float(np.square(one, dtype=np.float64).sum()) for one in self.reference)

    def _loss(self, outputs: Outputs) -> float:
        assert self.objective is not None
        given = [tf.constant(one) for one in outputs]
        each = self.objective.losses(as_tensors(self.labels), given, self.weights).numpy()
        total = len(each) if self.weights is None else float(self.weights.sum())
        return float(each.sum(dtype=np.float64) / total)

    def _metric(self, outputs: Outputs) -> float:
        if self.task is None or self.task.loss is None:
            return 0.0
        given = [probabilities(outputs[0])] if self.task.of_probabilities else outputs
        return float(self.task.loss(self.labels, given).mean())


def _objective(
    seen: ModelView, loss: Any, task: Task, labels: Any, reference: Outputs
) -> Objective:
    """The loss that the user or the compiled model names, else one that fits the labels."""
    subject, backend = Subject.of(seen), seen.backend
    if loss is not None or backend.compiled_loss(seen.model):
        return objective(subject, loss)
    if task.classes:
        is_binary = reference[0].shape[1:] in ((), (1,))
        if not are_probabilities(reference[0]):
            return Objective((Term(_binary_logits if is_binary else _class_logits, True),))
        name = "binary_crossentropy" if is_binary else "sparse_categorical_crossentropy"
        return objective(subject, name)
    if len(reference) == 1 and getattr(labels, "shape", None) == reference[0].shape:
        return objective(subject, "mean_squared_error")
    return objective(subject, None)  # which says what to do


def _class_logits(labels: tf.Tensor, outputs: tf.Tensor) -> tf.Tensor:
    labels = tf.cast(tf.reshape(labels, [-1]), tf.int64)
    return tf.nn.sparse_softmax_cross_entropy_with_logits(labels, outputs)


def _binary_logits(labels: tf.Tensor, outputs: tf.Tensor) -> tf.Tensor:
    labels = tf.cast(tf.reshape(labels, tf.shape(outputs)), outputs.dtype)
    return tf.nn.sigmoid_cross_entropy_with_logits(labels, outputs)


def _joined(parts: Sequence[Any]) -> Any:
    """The labels of all batches."""
    return tf.nest.map_structure(
        lambda *arrays: np.concatenate([np.asarray(one) for one in arrays]), *parts
    )
