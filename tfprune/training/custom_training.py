# SPDX-License-Identifier: Apache-2.0
"""A model's own way to train, which its wrapped copy must not lose."""

from __future__ import annotations

from typing import Any


def refuse_lost_training(model: Any, wrapped: Any, *, wrap: str, else_do: str = "") -> None:
    """Raise if a wrapped copy would train in another way than the model.

    Cloning keeps a user's class only in Keras 3, and only if its constructor allows it.

    Args:
        model: as it was given.
        wrapped: its copy.
        wrap: the call that wraps a plain functional model, as code.
        else_do: what else can be done, as the end of a sentence.

    Raises:
        ValueError: the class of the model has a train_step or compute_loss that the copy lacks.
    """
    for name in ("train_step", "compute_loss"):
        own = getattr(type(model), name)
        is_own = own.__module__.split(".")[0] not in ("keras", "tf_keras")
        if is_own and getattr(type(wrapped), name) is not own:
            cls = type(model).__name__
            raise ValueError(
                f"{cls} has a {name} of its own, which its wrapped copy would not have. Wrap "
                f"first, wrapped = {wrap}, and build {cls} of wrapped.inputs and "
                f"wrapped.outputs{else_do}."
            )
