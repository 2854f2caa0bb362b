# SPDX-License-Identifier: Apache-2.0
"""Layers that pool, pad, crop, resize and reshape, and that put tensors one after the other."""

from __future__ import annotations

from tfprune.layers.base import LayerKind, register
from tfprune.layers.call import LayerCall
from tfprune.layers.resizing import Resizing
from tfprune.layers.symbolic_tensor import (
    SymbolicTensor,
    Unsupported,
    concatenated,
    rearranged,
    reshaped,
    with_last,
)


def concatenate(step: LayerCall) -> SymbolicTensor:
    """One after the other along an axis."""
    axis = step.setting("axis", 1, -1)
    result = concatenated(step.book, step.values, axis, step.name)
    if result.axes[axis] is not None:
        step.book.passes(step.name, result.axes[axis])
    return result


def _spatial(step: LayerCall) -> SymbolicTensor:
    """Pooling, padding, cropping, resizing: every channel for itself."""
    return step.made(step.shapes[0], step.channels(step.value))


def reshape(step: LayerCall) -> SymbolicTensor:
    """Flatten and Reshape. Flatten puts the channels last before it flattens."""
    value, rank = step.value, len(step.value.shape)
    if step.channel_axis(rank) != rank - 1:
        value = rearranged(value, (0, *range(2, rank), 1))
    return reshaped(step.book, value, step.shapes[0], step.name)


def _resize_reshape(resizing: Resizing) -> None:
    sizes = resizing.outputs()[1:]
    given = resizing.config["target_shape"]
    resizing.put(
        "target_shape",
        tuple(-1 if old == -1 else new for old, new in zip(given, sizes, strict=True)),
    )


def _permute(step: LayerCall) -> SymbolicTensor:
    """Permute(dims), which counts axes from 1, the batch axis aside."""
    return rearranged(step.value, (0, *step.operation.dims))


def _repeat_vector(step: LayerCall) -> SymbolicTensor:
    """[batch, channels] -> [batch, n, channels]."""
    if len(step.value.shape) != 2:
        raise Unsupported(f"{step.name} repeats a tensor that is no vector")
    return with_last(step.shapes[0], step.value.last)


_MOVES = frozenset({"positive", "raw"})
register(
    "Concatenate", LayerKind(propagate=concatenate, traits=frozenset({"positive", "quantizable"}))
)
for _rank in (1, 2, 3):
    register(
        f"MaxPooling{_rank}D GlobalMaxPooling{_rank}D",
        LayerKind(propagate=_spatial, traits=frozenset({"positive"})),
    )
    register(
        f"AveragePooling{_rank}D GlobalAveragePooling{_rank}D",
        LayerKind(propagate=_spatial, traits=frozenset({"positive", "quantizable"})),
    )
    register(
        f"AdaptiveAveragePooling{_rank}D AdaptiveMaxPooling{_rank}D UpSampling{_rank}D",
        LayerKind(propagate=_spatial),
    )
    register(f"ZeroPadding{_rank}D Cropping{_rank}D", LayerKind(propagate=_spatial, traits=_MOVES))
register("Resizing CenterCrop", LayerKind(propagate=_spatial))
register("Flatten", LayerKind(propagate=reshape, traits=_MOVES | {"in_place"}))
register(
    "Reshape", LayerKind(propagate=reshape, resize=_resize_reshape, traits=_MOVES | {"in_place"})
)
register("Permute", LayerKind(propagate=_permute, traits=_MOVES))
register("RepeatVector", LayerKind(propagate=_repeat_vector, traits=_MOVES))
