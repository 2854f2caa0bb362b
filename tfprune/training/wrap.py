# SPDX-License-Identifier: Apache-2.0
"""Exchanges the layers of a model, or of a list, for wrappers."""

from __future__ import annotations

from typing import Any, Callable

from tfprune.backend.base import Backend
from tfprune.backend.model_view import ModelView


def exchanged(
    layer: Any,
    backend: Backend,
    make: Callable[[Any], Any],
    *,
    only: Callable[[Any], bool] = lambda layer: True,
) -> Any:
    """The layer or model with `make(layer)` in place of each layer, those of nested models, too.

    Args:
        layer: as `backend.clone` hands it on: a Keras 3 graph also holds operations that are no
            layers. They, inputs and models without a graph stay.
        backend: of its Keras.
        make: takes a layer that is no model.
        only: whether a layer or a nested model is looked at.
    """
    if not isinstance(layer, backend.Layer) or backend.is_input(layer) or not only(layer):
        return layer
    if not backend.is_model(layer):
        return make(layer)
    if not backend.has_graph(layer):
        return layer
    return backend.clone(layer, lambda inner: exchanged(inner, backend, make, only=only))


def exchange_layers(to_prune: Any, backend: Backend, wrap: Callable[[Any], Any]) -> Any:
    """What is passed, with `wrap(layer)` in place of each layer that can be pruned.

    Args:
        to_prune: a model, a layer, or a list of layers.
        backend: of their Keras.

    Raises:
        ValueError: as `tfprune.prune` says.
    """

    def exchange(layer: Any) -> Any:
        return exchanged(layer, backend, wrap, only=is_free)

    def is_free(layer: Any) -> bool:
        return not backend.is_wrapper(layer) and ModelView(layer, backend).may_hold_kernels

    if isinstance(to_prune, (list, tuple)):
        _refuse_twice(to_prune)
        return [exchange(layer) for layer in to_prune]
    if not backend.is_model(to_prune):
        if not ModelView(to_prune, backend).may_hold_kernels:
            raise ValueError(
                f"The layer {to_prune.name!r} ({type(to_prune).__name__}) has no prunable weight; "
                "give it a method get_prunable_weights() that returns the variables to prune."
            )
        return exchange(to_prune)
    if not backend.has_graph(to_prune):
        raise ValueError(
            f"{type(to_prune).__name__} is a subclassed model, whose layers cannot be exchanged: "
            "wrap its layers in its __init__, or prune it without wrapping: "
            "model.fit(..., callbacks=[tfprune.PruningCallback('magnitude', 0.8)])."
        )
    if not ModelView(to_prune, backend).may_hold_kernels:
        raise ValueError(f"The model {to_prune.name!r} has no weight that can be pruned.")
    wrapped = exchange(to_prune)
    refuse_lost_training(to_prune, wrapped)
    return wrapped


def refuse_lost_training(
    model: Any,
    wrapped: Any,
    *,
    wrap: str = "tfprune.prune(keras.Model(inputs, outputs), ...)",
    else_do: str = "; or use the callback alone, tfprune.PruningCallback('magnitude', 0.8)",
) -> None:
    """Raise ValueError if a wrapped copy would train in another way than the model.

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


def refuse_wrapped(view: ModelView) -> None:
    """Raise ValueError if a layer of what is passed is wrapped for pruning."""
    for wrapper in view.wrappers:
        raise ValueError(
            f"The layer {wrapper.layer.name!r} is wrapped for pruning already, with settings of "
            "its own: take tfprune.strip_pruning(model) first, or train it as it is."
        )


def _refuse_twice(layers: Any) -> None:
    names = [layer.name for layer in layers if sum(other is layer for other in layers) > 1]
    if names:
        raise ValueError(f"The layer {names[0]!r} is listed twice; list each layer once.")
