# SPDX-License-Identifier: Apache-2.0
"""Puts gates and quantizers into a model: a wrapper around each layer that has a part in it."""

from __future__ import annotations

from types import ModuleType
from typing import Any

from tfprune.backend.registration import wrapper_class
from tfprune.quantization.djpq_placement import places


def inserted(model: Any, home: ModuleType, method: Any) -> Any:
    """The wrapped model; before it is trained it computes what the plain one does.

    Args:
        model: functional or Sequential, built. Layers are shared with the result.
        home: the adapter of its Keras.
        method: with a `Joint` gate.

    Raises:
        ValueError: a layer or a list of layers; a subclassed or unbuilt model; a model that is
            wrapped already; nothing to quantize.
    """
    if not home.is_model(model):
        raise ValueError(
            f"{method.name!r} prices the bit operations of a whole model and needs to know what "
            "reads what, so it cannot wrap layers one by one: pass the functional or Sequential "
            "model that holds them."
        )
    parts = places(model, home, method.gate.activations).parts
    wrapper = wrapper_class(home.NAME, "JointLayer")

    def exchange(layer: Any) -> Any:
        if not isinstance(layer, home.Layer):
            return layer  # a Keras 3 graph also holds operations that are no layers
        if home.is_wrapper(layer):
            raise ValueError(
                f"The layer {layer.layer.name!r} is wrapped for pruning already: "
                "tfprune.strip_pruning(model) first."
            )
        if home.is_model(layer):
            return home.clone(layer, exchange)
        part = parts.get(id(layer))
        return layer if part is None else wrapper(layer, method=method, part=part)

    return home.clone(model, exchange)
