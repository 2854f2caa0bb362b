# SPDX-License-Identifier: Apache-2.0
"""Uses of kernels inside of layers of the user's own, for one example."""

from __future__ import annotations

from math import prod
from typing import Any, Iterator

from tfprune.backend.base import Backend
from tfprune.backend.call_graph import call_graph
from tfprune.layers.base import kind_of, positions
from tfprune.layers.call import LayerCall, without_masks
from tfprune.layers.dense import labels_of
from tfprune.layers.graph import Call, RawOperation, Ref, mapped
from tfprune.layers.symbolic_tensor import Unsupported


def inner_uses(step: LayerCall) -> Iterator[tuple[str, int | None]]:
    """(name of the site, number of uses) of every kernel in a layer that was looked into.

    The layer is called with one example: where it puts the batch and an axis of the data together,
    as windows of attention do, sizes tell no other way.
    """

    def one(ref: Ref) -> Ref:
        return Ref(
            ref.key, (1 if ref.shape[0] is None else ref.shape[0], *ref.shape[1:]), ref.dtype
        )

    if step.source is not None:
        args, kwargs = mapped((step.source.args, without_masks(step.source.kwargs)), Ref, one)
        yield from _uses(Call(step.operation, args, kwargs, ()), step.tracer)


def _uses(call: Call, tracer: Any) -> Iterator[tuple[str, int | None]]:
    layer = call.operation
    if isinstance(layer, RawOperation):
        return
    adapter: Backend = tracer.adapter
    layer = layer.layer if adapter.is_wrapped(layer) else layer
    kernels = kind_of(layer).kernels
    for one in kernels:
        if adapter.attribute(layer, one.attribute) is not None:
            yield f"{tracer.path(layer)}/{one.attribute}", _count(layer, one, call)
    if not kernels and adapter.sublayers(layer):
        try:
            inside = call_graph(layer, adapter, call.args, without_masks(call.kwargs))
        except Unsupported:
            return
        for each in inside.calls:
            yield from _uses(each, tracer)


def _count(layer: Any, kernel: Any, call: Call) -> int | None:
    inputs, outputs = call.reads[0].shape, call.outputs[0].shape
    if hasattr(layer, "bias_axes"):
        labels, held, _ = labels_of(layer.equation, len(inputs), layer.name)
        sizes = [size for size, label in zip(inputs, labels, strict=True) if label not in held]
        return None if None in sizes else prod(size for size in sizes if size is not None)
    each = positions(kernel.uses, inputs, outputs, kernel.layout(layer))
    return None if each is None or inputs[0] is None else each * inputs[0]
