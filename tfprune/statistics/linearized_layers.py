# SPDX-License-Identifier: Apache-2.0
"""The changes that linearise a model: that make it a sum over paths from input to output.

Layers and operations of which nothing is said (convolutions, pooling, reshaping, adding, matrix
products, ...) are called as they are.
"""

from __future__ import annotations

import functools
from typing import Any, Callable

import tensorflow as tf

from tfprune.backend.substitute import Change, around
from tfprune.layers.base import kind_of
from tfprune.layers.linearize import attended
from tfprune.layers.operation_kinds import operation_kind


def changes(operations: list[Any], cut: Callable) -> list[Change]:
    """The changes of attributes that linearise layers and operations.

    Args:
        operations: all of a model.
        cut: function of one tensor that every layer's output passes through.
    """
    found: list[Change] = []
    for operation in operations:
        rule = _rule(operation)
        own = type(operation).__module__.split(".")[0] not in ("keras", "tf_keras")
        if callable(vars(operation).get("activation")):
            found.append((operation, "activation", _itself))
        if hasattr(operation, "_compute_attention"):
            found.append((operation, "_compute_attention", functools.partial(attended, operation)))
        for fused in ("use_cudnn", "_could_use_gpu_kernel"):  # would go past the cell
            if hasattr(operation, fused):
                found.append((operation, fused, False))
        if rule is not None or not own:
            found.append(around(operation, _forward(operation, rule, cut)))
    return found


def refusal(layer: Any) -> str | None:
    """Why no flow can be measured through a layer; None if it can."""
    if kind_of(layer).gates:
        return (
            f"{type(layer).__name__} applies its weights again at every step: the flow through it "
            "is no sum over paths"
        )
    return None


def _itself(x: Any, *args: Any, **kwargs: Any) -> Any:
    return x


def _forward(layer: Any, rule: Callable | None, cut: Callable) -> Callable:
    is_whole = hasattr(layer, "layers")  # a model in a model; its layers are cut

    def forward(call, *args, **kwargs):
        outputs = call(*args, **kwargs) if rule is None else rule(layer, *args, **kwargs)
        return cut(outputs) if tf.is_tensor(outputs) and not is_whole else outputs

    return forward


def _rule(operation: Any) -> Callable | None:
    symbol = getattr(operation, "symbol", None)  # an operation in a graph of tf_keras
    if symbol is not None:
        return operation_kind(symbol.split(".")[-1].strip("_").lower()).linearize
    home = type(operation).__module__
    if home.startswith("keras.src.ops"):
        return operation_kind(type(operation).__name__.lower()).linearize
    return kind_of(operation).linearize
