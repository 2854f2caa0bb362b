# SPDX-License-Identifier: Apache-2.0
"""The loss that outputs are judged by: of classes, a metric of the user's own, or none."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from tfprune.evaluation.measures import wrong
from tfprune.evaluation.nested import leaves

Outputs = Sequence[np.ndarray]


@dataclass(frozen=True)
class Task:
    """How outputs are judged.

    Attributes:
        unit: of the losses that are shown: "points" of error, or the metric's name; "" without
            labels.
        note: what was assumed, in words.
        classes: number of classes; 0: outputs are no classes.
        loss: (labels, outputs) -> loss of each example, float64 [examples], in `unit`; None:
            nothing to judge by, as without labels.
        of_probabilities: whether `loss` takes probabilities of classes in place of outputs.
    """

    unit: str
    note: str
    classes: int = 0
    loss: Callable[[np.ndarray, Outputs], np.ndarray] | None = None
    of_probabilities: bool = False

    @classmethod
    def of(cls, labels: Any, outputs: Outputs, metric: Callable | None) -> Task:
        """Told from labels and outputs of some examples, and the user's metric.

        Raises:
            ValueError: a label that is no class of the outputs.

        Example:
            >>> task = Task.of(np.array([1, 0]), [np.array([[0.2, 0.8], [0.4, 0.6]])], None)
            >>> task.classes, task.loss(np.array([1, 0]), [np.array([[0.2, 0.8], [0.4, 0.6]])])
            (2, array([  0., 100.]))
        """
        if labels is None:
            return cls("", "no labels: outputs are only compared with each other")
        classes = _classes(labels, outputs)
        if classes and labels.size and not 0 <= labels.min() <= labels.max() < classes:
            if metric is None:
                raise ValueError(
                    f"labels from {labels.min()} to {labels.max()}, but the networks have "
                    f"{classes} outputs: expected classes from 0 to {classes - 1}."
                )
            classes = 0
        if metric is not None:
            name = getattr(metric, "__name__", type(metric).__name__).replace("<lambda>", "loss")
            return cls(
                name, f"losses are what the metric {name} returns", classes, _Metric(metric, name)
            )
        if classes:
            return cls("points", f"labels are {classes} classes", classes, _class_errors, True)
        if len(outputs) == 1 and isinstance(labels, np.ndarray):
            shape = outputs[0].shape
            if labels.dtype.kind in "iu" and labels.shape == shape[:-1] and labels.ndim > 1:
                return cls("points", "labels are classes of each position", 0, _position_errors)
            if labels.size == outputs[0].size:
                return cls("squared error", "losses are the squared error", 0, _squares)
        shapes = ", ".join(str(list(one.shape[1:])) for one in outputs)
        given = ", ".join(str(list(one.shape[1:])) for _, one in leaves(labels))
        return cls(
            "",
            f"labels of shape {given} and outputs {shapes}: outputs are only compared "
            "with each other; pass metric= to judge them",
        )


@dataclass(frozen=True)
class _Metric:
    """The user's metric, one number for each example."""

    function: Callable
    name: str

    def __call__(self, labels: Any, outputs: Outputs) -> np.ndarray:
        given, count = outputs[0] if len(outputs) == 1 else list(outputs), len(outputs[0])
        try:
            found = np.asarray(self.function(labels, given), np.float64)
        except Exception as error:
            shapes = ", ".join(str(list(one.shape)) for one in outputs)
            error.add_note(
                f"raised by metric {self.name} for outputs of shape {shapes}; several "
                "outputs are passed as a list, in the order of the model's outputs"
            )
            raise
        if found.shape[:1] != (count,):
            raise ValueError(
                f"metric {self.name} returned shape {list(found.shape)} for {count} examples: "
                f"expected one loss for each example, [{count}] or [{count}, ...]."
            )
        return found.reshape(count, -1).mean(axis=1) if found.size else found.ravel()


def _classes(labels: Any, outputs: Outputs) -> int:
    if (
        not isinstance(labels, np.ndarray)
        or len(outputs) != 1
        or (labels.ndim != 1 or (labels % 1 != 0).any())
    ):
        return 0
    shape = outputs[0].shape[1:]
    if shape in ((), (1,)):
        return 2 if set(np.unique(labels)) <= {0, 1} else 0
    return shape[0] if len(shape) == 1 else 0


def _class_errors(labels: np.ndarray, outputs: Outputs) -> np.ndarray:
    return 100.0 * wrong(labels, outputs[0])


def _position_errors(labels: np.ndarray, outputs: Outputs) -> np.ndarray:
    mistaken = outputs[0].argmax(-1) != labels
    return 100.0 * mistaken.reshape(len(labels), -1).mean(axis=1)


def _squares(labels: np.ndarray, outputs: Outputs) -> np.ndarray:
    apart = outputs[0].reshape(len(labels), -1).astype(np.float64) - labels.reshape(len(labels), -1)
    return np.square(apart).mean(axis=1)
