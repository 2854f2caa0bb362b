# SPDX-License-Identifier: Apache-2.0
"""Rules of layers without kernels: activations, merges, pooling, padding, reshapes."""

from __future__ import annotations

from typing import Any

from tfprune.layers.call import LayerCall
from tfprune.layers.symbolic_tensor import (
    SymbolicTensor,
    Unsupported,
    broadcast,
    concatenated,
    pin_all,
    rearranged,
    reshaped,
    with_last,
)

ELEMENTWISE = {
    "celu",
    "elu",
    "exp",
    "exponential",
    "gelu",
    "hard_shrink",
    "hard_sigmoid",
    "hard_silu",
    "hard_swish",
    "hard_tanh",
    "identity",
    "leaky_relu",
    "linear",
    "log_sigmoid",
    "mish",
    "relu",
    "relu6",
    "selu",
    "sigmoid",
    "silu",
    "sin",
    "soft_shrink",
    "softplus",
    "softsign",
    "sparse_plus",
    "sparse_sigmoid",
    "squareplus",
    "swish",
    "tanh",
    "tanh_shrink",
    "threshold",
}


def activated(step: LayerCall, value: SymbolicTensor, function: Any) -> SymbolicTensor:
    """After an activation function; one that mixes the channels pins them."""
    name = getattr(function, "__name__", None) or type(function).__name__
    if function is not None and name not in ELEMENTWISE:
        known = name in ("softmax", "log_softmax", "sparsemax", "glu")
        reason = f"{name} mixes them" if known else f"unknown activation {name}"
        pin_all(step.book, [value], f"{reason} in {step.name}")
    return value


def same(step: LayerCall) -> SymbolicTensor:
    """Every entry stays where it is."""
    return step.value


def masking(step: LayerCall) -> SymbolicTensor:
    """A time step is masked if all of its channels have one value."""
    step.book.pin(step.value.last, f"{step.name} compares all of them")
    return step.value


def activation(step: LayerCall) -> SymbolicTensor:
    """Activation(function)."""
    return activated(step, step.value, step.operation.activation)


def softmax(step: LayerCall) -> SymbolicTensor:
    """Softmax over one axis or several."""
    axes = step.setting("axis", 99, -1)
    value = step.value
    for axis in axes if isinstance(axes, (list, tuple)) else [axes]:
        step.book.pin(value.axes[axis], f"softmax in {step.name} mixes them")
    return value


def merge(step: LayerCall) -> SymbolicTensor:
    """Add, Multiply, ...: a tensor of lower rank is repeated along its first axes."""
    shape, values = step.shapes[0], []
    for value in step.values:
        while len(value.shape) < len(shape):
            value = value.with_new(1, 1)
        values.append(value)
    return joined(step, values)


def joined(step: LayerCall, values: list[SymbolicTensor]) -> SymbolicTensor:
    """Element by element, and recorded in the groups' paths."""
    result = broadcast(step.book, values, step.shapes[0], step.name)
    if len(values) > 1:
        for ids in result.axes:
            if ids is not None:
                step.book.passes(step.name, ids)
    return result


def concatenate(step: LayerCall) -> SymbolicTensor:
    """One after the other along an axis."""
    axis = step.setting("axis", 1, -1)
    result = concatenated(step.book, step.values, axis, step.name)
    if result.axes[axis] is not None:
        step.book.passes(step.name, result.axes[axis])
    return result


def spatial(step: LayerCall) -> SymbolicTensor:
    """Pooling, padding, cropping, resizing: every channel for itself."""
    return step.made(step.shapes[0], step.channels(step.value))


def reshape(step: LayerCall) -> SymbolicTensor:
    """Flatten and Reshape. Flatten puts the channels last before it flattens."""
    value, rank = step.value, len(step.value.shape)
    if step.channel_axis(rank) != rank - 1:
        value = rearranged(value, (0, *range(2, rank), 1))
    return reshaped(step.book, value, step.shapes[0], step.name)


def permute(step: LayerCall) -> SymbolicTensor:
    """Permute(dims), which counts axes from 1, the batch axis aside."""
    return rearranged(step.value, (0, *step.operation.dims))


def repeat_vector(step: LayerCall) -> SymbolicTensor:
    """[batch, channels] -> [batch, n, channels]."""
    if len(step.value.shape) != 2:
        raise Unsupported(f"{step.name} repeats a tensor that is no vector")
    return with_last(step.shapes[0], step.value.last)
