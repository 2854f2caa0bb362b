# SPDX-License-Identifier: Apache-2.0
"""Layers that can be quantized, and the reasons of others."""

from __future__ import annotations

import inspect
from typing import Any, Iterator

from tfprune.backend.base import Backend
from tfprune.layers.base import has, kind_of
from tfprune.layers.prunable_weights import may_hold_kernels
from tfprune.masks.kernel_layout import Layout
from tfprune.masks.sites import Skip

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
_UNKNOWN = "only Dense, convolutions, depthwise, separable and transposed ones are quantized"


def kernels(layer: Any, home: Backend) -> list[tuple[str, Layout]]:
    """The attributes that hold the kernels of a quantized kind, each with its axes."""
    if not has(layer, "quantizable"):
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
    if not has(layer, "quantizable"):
        return (kind_of(layer).stays_float or _UNKNOWN) if may_hold_kernels(layer, home) else None
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
