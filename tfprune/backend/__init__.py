# SPDX-License-Identifier: Apache-2.0
"""The backend of the Keras that an object belongs to, imported when it is first needed.

The Keras is decided from the object passed in: never from an environment variable, and never from
which of the two was imported first.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any, Iterable

if TYPE_CHECKING:
    from tfprune.backend.base import Backend
    from tfprune.backend.model_view import ModelView

KERAS3 = "keras"
TF_KERAS = "tf_keras"
_MODULES = {KERAS3: "tfprune.backend.keras3", TF_KERAS: "tfprune.backend.tf_keras"}


def adapter_of(value: Any) -> Backend:
    """The backend of a layer, a model, an optimizer, or a list of layers.

    Raises:
        TypeError: not a Keras object; objects of both Kerases in one list.
        RuntimeError: Keras 3 on another backend than TensorFlow.
    """
    if isinstance(value, (list, tuple)):
        return _adapter_of_list(value)
    for cls in type(value).__mro__:
        package = cls.__module__.split(".")[0]
        if package in _MODULES:
            return get(package)
    raise TypeError(
        "Expected a Keras model, a Keras layer or a list of layers (keras or tf_keras), got "
        f"{type(value).__module__}.{type(value).__name__}: {value!r}."
    )


def adapter_of_model(value: Any, *, layers: bool = False) -> Backend:
    """The backend of one model.

    Args:
        value: what was passed as the model.
        layers: whether a layer would do, too.

    Raises:
        TypeError: something else.
    """
    what = "a Keras model or layer" if layers else "a Keras model"
    if isinstance(value, (list, tuple)):
        raise TypeError(
            f"Expected {what}, got a {type(value).__name__} of {len(value)}: pass them one by one."
        )
    home = adapter_of(value)
    if not isinstance(value, home.Layer):
        raise TypeError(f"Expected {what}, got {type(value).__name__}: {value!r}.")
    if not layers and not home.is_model(value):
        raise TypeError(
            f"Expected a Keras model, got the layer {value.name!r}: put it into a "
            "model, for example keras.Sequential([keras.Input(shape), layer])."
        )
    return home


def view(model: Any, *, layers: bool = False) -> ModelView:
    """A look at one model.

    Args:
        model: what was passed as the model.
        layers: whether a layer would do, too.

    Raises:
        TypeError: something else.
    """
    from tfprune.backend.model_view import ModelView

    return ModelView(model, adapter_of_model(model, layers=layers))


def _adapter_of_list(values: Iterable[Any]) -> Backend:
    found = {adapter_of(value) for value in values}
    if not found:
        raise ValueError("Expected at least one layer, got an empty list.")
    if len(found) > 1:
        raise TypeError(
            "Objects of keras and tf_keras are mixed in one list. Build the model with one of "
            "them only."
        )
    return found.pop()


def get(package: str) -> Backend:
    """The backend of `"keras"` or `"tf_keras"`, which is imported now.

    Raises:
        RuntimeError: Keras 3 on another backend than TensorFlow.
    """
    return importlib.import_module(_MODULES[package]).BACKEND
