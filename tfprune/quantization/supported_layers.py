# SPDX-License-Identifier: Apache-2.0
"""Which layers are quantized, and why others are not."""

from __future__ import annotations

import inspect
from typing import Any, Iterator

from tfprune.backend.base import Backend
from tfprune.layers.base import kind_of
from tfprune.layers.prunable_weights import may_hold_kernels
from tfprune.masks.kernel_layout import Layout
from tfprune.masks.sites import Skip

_KERNELS = frozenset(
    {
        "Dense",
        "Conv1D",
        "Conv2D",
        "Conv3D",
        "DepthwiseConv1D",
        "DepthwiseConv2D",
        "SeparableConv1D",
        "SeparableConv2D",
        "Conv1DTranspose",
        "Conv2DTranspose",
        "Conv3DTranspose",
    }
)
# No kernel, but arithmetic on what they read. An average is rounded on the grid of its input; a
# maximum of one tensor is on that grid whatever is done to it.
_KERNEL_FREE = frozenset(
    {
        "Add",
        "Subtract",
        "Multiply",
        "Average",
        "Maximum",
        "Minimum",
        "Concatenate",
        "AveragePooling1D",
        "AveragePooling2D",
        "AveragePooling3D",
        "GlobalAveragePooling1D",
        "GlobalAveragePooling2D",
        "GlobalAveragePooling3D",
    }
)
_RAW = frozenset(
    {
        "add",
        "addv2",
        "subtract",
        "multiply",
        "concatenate",
        "concat",
        "maximum",
        "minimum",
        "matmul",
        "einsum",
    }
)
_REASONS = {
    "Embedding": "rows are looked up by whole numbers, nothing is multiplied",
    "EinsumDense": "the axes of its outputs depend on its equation",
}
_UNKNOWN = "only Dense, convolutions, depthwise, separable and transposed ones are quantized"


def kind(layer: Any) -> str | None:
    """The Keras class that a layer is or inherits from, if layers of that kind are quantized."""
    for cls in type(layer).__mro__:
        is_own = cls.__module__.split(".")[0] in ("keras", "tf_keras")
        if is_own and cls.__name__ in _KERNELS | _KERNEL_FREE:
            return cls.__name__
    return None


def kernels(layer: Any, home: Backend) -> list[tuple[str, Layout]]:
    """The attributes that hold the kernels of a quantized kind, each with its axes."""
    if kind(layer) not in _KERNELS:
        return []
    return [
        (row.attribute, row.layout(layer))
        for row in kind_of(layer).kernels
        if home.attribute(layer, row.attribute) is not None
    ]


def refusal(layer: Any, home: Backend) -> str | None:
    """Why a layer that computes is not quantized; None: it is, or there is nothing to quantize."""
    if home.is_model(layer):
        return "a subclassed model inside, whose layers cannot be exchanged"
    if kind(layer) is None:
        if not may_hold_kernels(layer, home):
            return None
        names = [cls.__name__ for cls in type(layer).__mro__]
        return next((_REASONS[name] for name in names if name in _REASONS), _UNKNOWN)
    if len(inspect.signature(layer.call).parameters.keys() - {"training"}) != 1:
        return "its call takes more than its inputs and `training`"
    if getattr(layer, "lora_enabled", False):
        return "its kernel is a sum with a LoRA adapter's: merge it into the kernel first"
    strange = [
        name for name, _ in kernels(layer, home) if not home.is_float(home.attribute(layer, name))
    ]
    return f"its {strange[0]} is no float weight" if strange else None


def left_out(model: Any, home: Backend, path: tuple[str, ...] = ()) -> Iterator[Skip]:
    """What computes in a model and stays in float, with the reason."""
    for layer in home.sublayers(model):
        if home.is_quantized(layer):
            continue
        if home.is_model(layer) and home.has_graph(layer):
            yield from left_out(layer, home, (*path, layer.name))
            continue
        reason = refusal(layer, home)
        if reason is not None:
            yield Skip("/".join((*path, layer.name)), f"{type(layer).__name__}: {reason}")
    graph = home.graph(model) if home.is_model(model) else None
    for call in graph.calls if graph is not None else ():
        name = home.operation_name(call.operation)
        if name in _RAW:
            yield Skip(
                "/".join((*path, call.operation.name)),
                f"{name} is an operation: use the layer of keras.layers instead",
            )
