# SPDX-License-Identifier: Apache-2.0
"""Rules of attention layers: heads, the width of a head, and what goes in and out."""

from __future__ import annotations

from tfprune.layers.call import LayerCall
from tfprune.layers.symbolic_tensor import SymbolicTensor, Unsupported


def multi_head(step: LayerCall) -> list[SymbolicTensor]:
    """Query, key and value projections meet in their heads, query and key in their width.

    Where several query heads share one key head (grouped queries), the heads stay.
    """
    layer, parts = step.operation, {}
    for sub in step.tracer.adapter.sublayers(layer):
        parts[sub.name] = sub
    missing = {"query", "key", "value", "attention_output"} - set(parts)
    if missing:
        raise Unsupported(f"{step.name} has no {sorted(missing)[0]} projection")
    query, value = (step.setting(name, place) for place, name in enumerate(("query", "value")))
    key = step.setting("key", 2)
    key = key if isinstance(key, SymbolicTensor) else value
    heads = {
        name: _apply(step, parts[name], source)
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
    results = [_apply(step, parts["attention_output"], context)]
    if len(step.shapes) > 1:  # the scores, a map for each head
        axes = (None, heads["query"].axes[-2], *[None] * (len(step.shapes[1]) - 2))
        results.append(SymbolicTensor(tuple(step.shapes[1]), axes))
    return results


def dot_product(step: LayerCall) -> list[SymbolicTensor]:
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


def _apply(step: LayerCall, layer, value: SymbolicTensor) -> SymbolicTensor:
    return step.tracer.apply(layer, (value,), {}, [(None,) * len(value.shape)])[0]


def _join(step: LayerCall, one: SymbolicTensor, other: SymbolicTensor, axis: int) -> None:
    first, second = one.axes[axis], other.axes[axis]
    if first is None or second is None:
        for ids in (first, second):
            step.book.pin(ids, f"meets values without channels in {step.name}")
    else:
        step.book.join(first, second)
