# SPDX-License-Identifier: Apache-2.0
"""Attention layers: heads, the width of a head, and what goes in and out."""

from __future__ import annotations

import math
from typing import Any

from tfprune.layers.base import LayerKind, raw, register
from tfprune.layers.call import KeptChannels, LayerCall
from tfprune.layers.linearize import attention
from tfprune.layers.resizing import Resizing
from tfprune.layers.symbolic_tensor import SymbolicTensor, Unsupported


def _multi_head(step: LayerCall) -> list[SymbolicTensor]:
    """Query, key and value projections meet in their heads, query and key in their width.

    Where several query heads share one key head (grouped queries), the heads stay.
    """
    held = _parts(step.operation, step.tracer.adapter)
    missing = {"query", "key", "value", "attention_output"} - set(held)
    if missing:
        raise Unsupported(f"{step.name} has no {sorted(missing)[0]} projection")
    query, value, key = _sources(step)
    heads = {
        name: _apply(step, held[name], source)
        for name, source in (("query", query), ("key", key), ("value", value))
    }
    _join(step, heads["query"], heads["key"], -1)
    _join(step, heads["key"], heads["value"], -2)
    if heads["query"].shape[-2] == heads["key"].shape[-2]:
        _join(step, heads["query"], heads["key"], -2)
    else:
        for one in heads.values():
            step.book.pin(one.axes[-2], f"{step.name} shares key heads among its query heads")
    context = heads["query"].along(-1, heads["value"].axes[-1])
    for source in (query, key, value):
        for ids in source.axes[:-1]:
            step.book.pin(ids, f"{step.name} attends along it")
    results = [_apply(step, held["attention_output"], context)]
    if len(step.shapes) > 1:  # the scores, a map for each head
        axes = (None, heads["query"].axes[-2], *[None] * (len(step.shapes[1]) - 2))
        results.append(SymbolicTensor(tuple(step.shapes[1]), axes))
    return results


def _dot_product(step: LayerCall) -> list[SymbolicTensor]:
    """Attention without kernels: query and key meet, the value's channels come out."""
    query, value, key = [*step.values, step.values[1]][:3]
    if getattr(step.operation, "score_mode", "dot") != "dot":
        raise Unsupported(f"{step.name} adds its query and its key")
    _join(step, query, key, -1)
    for source in (query, value, key):
        for ids in source.axes[:-1]:
            step.book.pin(ids, f"{step.name} attends along it")
    outputs = [query.along(-1, value.last)]
    outputs += [SymbolicTensor(tuple(shape), (None,) * len(shape)) for shape in step.shapes[1:]]
    return outputs


def _additive(step: LayerCall) -> list[SymbolicTensor]:
    """Query and key are added, and each of their channels has a scale."""
    step.member(step.operation, "scale", 0, step.value.last)
    return _dot_product(step)


def _apply(step: LayerCall, layer, value: SymbolicTensor) -> SymbolicTensor:
    return step.tracer.apply(layer, (value,), {}, [(None,) * len(value.shape)])[0]


def _join(step: LayerCall, one: SymbolicTensor, other: SymbolicTensor, axis: int) -> None:
    first, second = one.axes[axis], other.axes[axis]
    if first is None or second is None:
        for ids in (first, second):
            step.book.pin(ids, f"meets values without channels in {step.name}")
    else:
        step.book.join(first, second)


def _parts(layer: Any, adapter: Any) -> dict[str, Any]:
    """The projections of an attention layer by their names."""
    return {sub.name: sub for sub in adapter.sublayers(layer)}


def _resize(resizing: Resizing) -> None:
    adapter = resizing.kept.survey.adapter
    held = _parts(resizing.layer, adapter)
    _, heads, width = resizing.size("kernel", held["query"])
    value = resizing.size("kernel", held["value"])[2]
    output = resizing.size("kernel", held["attention_output"])
    calls = resizing.kept.survey.by_operation[id(resizing.layer)]
    shapes = {tuple(resizing.kept.shape(one) for one in _sources(step)) for step, _ in calls}
    resizing.put("num_heads", heads)
    resizing.put("key_dim", width)
    resizing.put("value_dim", value)
    if resizing.config["output_shape"] is not None or output[2:] != next(iter(shapes))[0][-1:]:
        resizing.put("output_shape", output[2:])
    if "query_shape" in resizing.config:
        for key, shape in zip(
            ("query_shape", "value_shape", "key_shape"), next(iter(shapes)), strict=False
        ):
            resizing.put(key, shape)


def _sources(step: Any) -> tuple[Any, Any, Any]:
    """What an attention layer is called with: query, value and key."""
    query, value = (step.setting(name, place) for place, name in enumerate(("query", "value")))
    key = step.setting("key", 2)
    return query, value, key if isinstance(key, SymbolicTensor) else value


def _resize_grouped(resizing: Resizing) -> None:
    held = _parts(resizing.layer, resizing.kept.survey.adapter)
    _, heads, width = resizing.size("kernel", held["query"])
    if resizing.size("kernel", held["value"])[2] != width:
        raise Unsupported(f"{resizing.layer.name} has one width for queries and values")
    resizing.put("head_dim", width)
    resizing.put("num_query_heads", heads)
    resizing.put("num_key_value_heads", resizing.size("kernel", held["key"])[1])


def _factors(layer: Any, kept: KeptChannels) -> dict[int, float]:
    """What variables are multiplied with since a layer divides by the root of a changed width:
    by their ids."""
    adapter = kept.survey.adapter
    query = _parts(layer, adapter)["query"]
    kernel, bias = raw(adapter, query, "kernel"), raw(adapter, query, "bias")
    factor = math.sqrt(kept.size(kernel)[2] / kernel.shape[2])
    return {id(one): factor for one in (kernel, bias) if one is not None and factor != 1}


_PROJECTIONS = frozenset({"projections"})
register(
    "MultiHeadAttention",
    LayerKind(propagate=_multi_head, resize=_resize, factors=_factors, traits=_PROJECTIONS),
)
register(
    "GroupQueryAttention GroupedQueryAttention",
    LayerKind(propagate=_multi_head, resize=_resize_grouped, factors=_factors, traits=_PROJECTIONS),
)
register("Attention", LayerKind(propagate=_dot_product, linearize=attention))
register("AdditiveAttention", LayerKind(propagate=_additive, linearize=attention))
