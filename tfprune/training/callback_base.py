# SPDX-License-Identifier: Apache-2.0
"""A callback that both `keras.Model.fit` and `tf_keras.Model.fit` accept, without either's base."""

from __future__ import annotations

import sys
from types import FrameType
from typing import Any


class Hooks:
    """Base of this library's callbacks: every hook of both Kerases, doing nothing.

    Attributes:
        model: the model that is trained; set by Keras.
        params: `epochs`, `steps` and `verbose` of the run; set by Keras.
    """

    # What the callback lists of keras (async_safe) and tf_keras (the others) ask of a callback.
    async_safe = False
    _supports_tf_logs = True
    _chief_worker_only = None
    _needs_batches = False

    def __init__(self):
        self.model: Any = None
        self.params: dict[str, Any] = {}

    def set_model(self, model: Any) -> None:
        self.model = model

    def set_params(self, params: dict[str, Any] | None) -> None:
        self.params = params or {}

    def __getattr__(self, name: str) -> Any:
        if name.startswith("on_"):
            return _nothing
        raise AttributeError(f"{type(self).__name__} has no attribute {name!r}.")

    def _implements_train_batch_hooks(self) -> bool:
        return self._needs_batches

    def _implements_test_batch_hooks(self) -> bool:
        return False

    def _implements_predict_batch_hooks(self) -> bool:
        return False


def _nothing(*args: Any, **kwargs: Any) -> None:
    return None


def listed(callback: Hooks) -> list[Any]:
    """All callbacks of the same `fit`, this one included; only while one of its hooks runs.

    Keras tells a callback its model, but not its siblings: they are read from the callback list
    that is calling.
    """
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        owner = frame.f_locals.get("self")
        found = getattr(owner, "callbacks", None)
        if isinstance(found, list) and any(one is callback for one in found):
            return list({id(one): one for one in found}.values())
        frame = frame.f_back
    return [callback]
