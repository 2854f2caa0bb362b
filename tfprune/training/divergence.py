# SPDX-License-Identifier: Apache-2.0
"""Stops a run that diverges, and gives it its last good weights back."""

from __future__ import annotations

import math
from typing import Any, Sequence

import numpy as np

EVERY = 100
"""Batches between two looks at the loss within an epoch."""


class Guard:
    """Keeps the weights of the last moment in which all was finite.

    Args:
        variables: everything that a run changes: the model's weights, masks, what gates hide. The
            optimizer's own variables are not among them.

    Example:
        >>> import tensorflow as tf
        >>> weight = tf.Variable([1.0, 2.0])
        >>> guard = Guard([weight])
        >>> guard.keep("the beginning")
        True
        >>> _ = weight.assign([float("nan"), 2.0])
        >>> guard.restore("The loss is nan")
        'The loss is nan: the run diverged and was stopped, and the model has its weights of the
        beginning again. Lower the learning rate or the strength of the method, and compile anew:
        the optimizer may hold NaN.'
        >>> weight.numpy().tolist()
        [1.0, 2.0]
    """

    def __init__(self, variables: Sequence[Any]):
        self._variables = list({id(one): one for one in variables}.values())
        self._good: list[np.ndarray] = []
        self._when = ""

    def keep(self, when: str) -> bool:
        """Remember the weights, if all are finite; whether they are.

        Args:
            when: this moment in words, for the message.
        """
        values = [np.asarray(one.numpy()) for one in self._variables]
        numbers = [value.astype(np.float32) for value in values if _is_float(value)]
        if not all(np.isfinite(value).all() for value in numbers):
            return False
        self._good, self._when = values, when
        return True

    def diverged(self, logs: dict[str, Any] | None, batch: int | None = None) -> float | None:
        """The loss, if it is not finite.

        Args:
            logs: of Keras.
            batch: number of the batch; then only every `EVERY` batches are looked at, since to
                read a loss is to wait for it. None: look now.
        """
        if not logs or "loss" not in logs or (batch is not None and batch % EVERY):
            return None
        loss = float(logs["loss"])
        return None if math.isfinite(loss) else loss

    def restore(self, reason: str) -> str:
        """Give the variables their last good values; what to say to the user.

        Args:
            reason: what shows that the run has diverged, the beginning of a sentence.
        """
        if not self._good:
            return f"{reason}, and the weights were not finite before the run."
        for variable, value in zip(self._variables, self._good, strict=True):
            variable.assign(value)
        return (
            f"{reason}: the run diverged and was stopped, and the model has its weights "
            f"of {self._when} again. Lower the learning rate or the strength of the method, and "
            "compile anew: the optimizer may hold NaN."
        )


def _is_float(value: np.ndarray) -> bool:
    return value.dtype.kind not in "iub?SUO"
