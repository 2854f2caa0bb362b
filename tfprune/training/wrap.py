# SPDX-License-Identifier: Apache-2.0
"""Exchanges the layers of a model, or of a list, for wrappers."""

from __future__ import annotations

from typing import Any, Callable

from tfprune.layers.prunable_weights import may_hold_kernels
from tfprune.training.custom_training import refuse_lost_training as refuse_lost


def exchange_layers(to_prune: Any, home: Any, wrap: Callable[[Any], Any]) -> Any:
    """What is passed, with `wrap(layer)` in place of each layer that can be pruned.

    Args:
        to_prune: a model, a layer, or a list of layers.
        home: the adapter of their Keras.

    Raises:
        ValueError: as `tfprune.prune` says.
    """
    if isinstance(to_prune, (list, tuple)):
        _refuse_twice(to_prune)
        return [_exchange(layer, home, wrap) for layer in to_prune]
    if not home.is_model(to_prune):
        if not may_hold_kernels(to_prune, home):
            raise ValueError(
                f"The layer {to_prune.name!r} ({type(to_prune).__name__}) has no prunable weight; "
                "give it a method get_prunable_weights() that returns the variables to prune."
            )
        return _exchange(to_prune, home, wrap)
    if not home.has_graph(to_prune):
        raise ValueError(
            f"{type(to_prune).__name__} is a subclassed model, whose layers cannot be exchanged: "
            "wrap its layers in its __init__, or prune it without wrapping: "
            "model.fit(..., callbacks=[tfprune.PruningCallback('magnitude', 0.8)])."
        )
    if not may_hold_kernels(to_prune, home):
        raise ValueError(f"The model {to_prune.name!r} has no weight that can be pruned.")
    wrapped = home.clone(to_prune, lambda layer: _exchange(layer, home, wrap))
    refuse_lost_training(to_prune, wrapped)
    return wrapped


def refuse_lost_training(model: Any, wrapped: Any) -> None:
    """Raise ValueError if a wrapped copy would train in another way than the model."""
    refuse_lost(
        model,
        wrapped,
        wrap="tfprune.prune(keras.Model(inputs, outputs), ...)",
        else_do="; or use the callback alone, tfprune.PruningCallback('magnitude', 0.8)",
    )


def _exchange(layer: Any, home: Any, wrap: Any) -> Any:
    if not isinstance(layer, home.Layer) or home.is_wrapper(layer) or home.is_input(layer):
        return layer  # a Keras 3 graph also holds operations that are no layers
    if not may_hold_kernels(layer, home):
        return layer
    if home.is_model(layer):
        if not home.has_graph(layer):
            return layer
        return home.clone(layer, lambda inner: _exchange(inner, home, wrap))
    return wrap(layer)


def _refuse_twice(layers: Any) -> None:
    names = [layer.name for layer in layers if sum(other is layer for other in layers) > 1]
    if names:
        raise ValueError(f"The layer {names[0]!r} is listed twice; list each layer once.")
