# SPDX-License-Identifier: Apache-2.0
"""Layers that can be quantized, and the reasons of others."""

from __future__ import annotations

import inspect
from typing import Any, Iterator

from tfprune.backend.base import Backend
from tfprune.backend.model_view import ModelView
from tfprune.layers.base import has, kind_of
from tfprune.layers.operation_kinds import operation_kind
from tfprune.masks.kernel_layout import Layout
from tfprune.masks.sites import Skip

_UNKNOWN = "only Dense, convolutions, depthwise, separable and transposed ones are quantized"


def kernels(layer: Any, backend: Backend) -> list[tuple[str, Layout]]:
    """The attributes that hold the kernels of a quantized kind, each with its axes."""
    if not has(layer, "quantizable"):
        return []
    return [
        (row.attribute, row.layout(layer))
        for row in kind_of(layer).kernels
        if backend.attribute(layer, row.attribute) is not None
    ]


def refusal(layer: Any, backend: Backend) -> str | None:
    """Why a layer that computes is not quantized; None: it is, or there is nothing to quantize."""
    if backend.is_model(layer):
        return "a subclassed model inside, whose layers cannot be exchanged"
    if not has(layer, "quantizable"):
        known = kind_of(layer).stays_float or _UNKNOWN
        return known if ModelView(layer, backend).may_hold_kernels else None
    if len(inspect.signature(layer.call).parameters.keys() - {"training"}) != 1:
        return "its call takes more than its inputs and `training`"
    if getattr(layer, "lora_enabled", False):
        return "its kernel is a sum with a LoRA adapter's: merge it into the kernel first"
    strange = [
        name
        for name, _ in kernels(layer, backend)
        if not backend.is_float(backend.attribute(layer, name))
    ]
    return f"its {strange[0]} is no float weight" if strange else None


def left_out(view: ModelView, path: tuple[str, ...] = ()) -> Iterator[Skip]:
    """What computes in a model and stays in float, with the reason."""
    for layer in view.backend.sublayers(view.model):
        if view.backend.is_quantized(layer):
            continue
        inner = view.at(layer)
        if inner.has_graph:
            yield from left_out(inner, (*path, layer.name))
            continue
        reason = refusal(layer, view.backend)
        if reason is not None:
            yield Skip("/".join((*path, layer.name)), f"{type(layer).__name__}: {reason}")
    for call in view.graph.calls if view.graph is not None else ():
        name = view.backend.operation_name(call.operation)
        if "layer" in operation_kind(name).traits:
            yield Skip(
                "/".join((*path, call.operation.name)),
                f"{name} is an operation: use the layer of keras.layers instead",
            )
