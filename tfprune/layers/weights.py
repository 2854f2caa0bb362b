# SPDX-License-Identifier: Apache-2.0
"""Rules of layers with kernels, and of layers with one value for each channel."""

from __future__ import annotations

from typing import Any

import numpy as np

from tfprune.layers.call import LayerCall
from tfprune.layers.channel_graph import Ids, Role
from tfprune.layers.shapes import activated
from tfprune.layers.symbolic_tensor import SymbolicTensor, Unsupported, with_last


def dense(step: LayerCall) -> SymbolicTensor:
    """W[in, out], bias[out]."""
    layer, value = step.operation, step.value
    step.member(layer, "kernel", 0, value.last, Role.CONSUMER)
    made = step.produce(layer, "kernel", 1)
    step.member(layer, "bias", 0, made)
    return activated(step, value.along(-1, made), layer.activation)


def convolution(step: LayerCall) -> SymbolicTensor:
    """W[*kernel, in / groups, out], bias[out].

    Of a grouped convolution the same channel is removed from every group; where every group has
    one input channel, as in a depthwise convolution, whole groups can be removed.
    """
    layer, read = step.operation, step.channels(step.value)
    rank, groups = layer.rank, getattr(layer, "groups", 1) or 1
    inputs, outputs = _sizes(step, layer, "kernel", rank, rank + 1)
    if groups > 1 and inputs == 1 and read is not None:
        made = np.repeat(read, outputs // groups)
        step.member(layer, "kernel", rank + 1, made, Role.PASSING)
    else:
        if groups > 1 and read is not None:
            step.book.join(read.reshape(groups, inputs)[:1], read.reshape(groups, inputs))
            read = read[:inputs]
        step.member(layer, "kernel", rank, read, Role.CONSUMER)
        made = step.produce(layer, "kernel", rank + 1)
        if groups > 1:
            step.book.join(made.reshape(groups, -1)[:1], made.reshape(groups, -1))
    return _out(step, layer, made)


def transposed(step: LayerCall) -> SymbolicTensor:
    """W[*kernel, out, in], bias[out]."""
    layer, rank = step.operation, step.operation.rank
    step.member(layer, "kernel", rank + 1, step.channels(step.value), Role.CONSUMER)
    return _out(step, layer, step.produce(layer, "kernel", rank))


def depthwise(step: LayerCall) -> SymbolicTensor:
    """W[*kernel, in, multiplier], bias[in * multiplier]."""
    layer, read = step.operation, step.channels(step.value)
    return _out(step, layer, _depthwise(step, layer, read))


def separable(step: LayerCall) -> SymbolicTensor:
    """Depthwise, then W[1, 1, in * multiplier, out]."""
    layer, read = step.operation, step.channels(step.value)
    rank = layer.rank
    between = _depthwise(step, layer, read)
    step.member(layer, "pointwise_kernel", rank, between, Role.CONSUMER)
    return _out(step, layer, step.produce(layer, "pointwise_kernel", rank + 1))


def embedding(step: LayerCall) -> SymbolicTensor:
    """W[vocabulary, dimension]: the dimension is the channels."""
    return with_last(step.shapes[0], step.produce(step.operation, "embeddings", 1))


def einsum(step: LayerCall) -> SymbolicTensor:
    """EinsumDense: labels of the kernel that the result keeps are made, the others are read."""
    layer, value = step.operation, step.value
    inputs, kernel, outputs = labels_of(layer.equation, len(value.shape), step.name)
    variable = step.variable(layer, "kernel")
    made: dict[str, Ids | None] = {}
    for axis, label in enumerate(kernel):
        if label not in inputs:
            made[label] = step.produce(layer, "kernel", axis)
            continue
        read = value.axes[inputs.index(label)]
        role = Role.PASSING if label in outputs else Role.CONSUMER
        step.member(layer, "kernel", axis, read, role)
    for axis, label in enumerate(inputs):
        if label not in outputs and label not in kernel:
            step.book.pin(value.axes[axis], f"{step.name} sums over it")
    axes = [made[one] if one in made else value.axes[inputs.index(one)] for one in outputs]
    shape = [
        variable.shape[kernel.index(one)] if one in kernel else value.shape[inputs.index(one)]
        for one in outputs
    ]
    _einsum_bias(step, layer, outputs, axes)
    return activated(step, SymbolicTensor(tuple(shape), tuple(axes)), layer.activation)


def _einsum_bias(step: LayerCall, layer: Any, outputs: list[str], axes: list[Ids | None]) -> None:
    bias = step.variable(layer, "bias")
    for axis in range(-len(bias.shape), 0) if bias is not None else ():
        held = outputs[axis] in layer.bias_axes
        step.member(layer, "bias", axis, axes[axis] if held else None)


def labels_of(equation: str, rank: int, name: str) -> tuple[list[str], list[str], list[str]]:
    """The labels of input, kernel and result of an EinsumDense; those under '...' are numbered.

    Args:
        equation: the layer's.
        rank: of its input.
        name: the layer's, for errors.
    """
    operands, _, result = equation.replace(" ", "").partition("->")
    first, _, kernel = operands.partition(",")
    hidden = [str(number) for number in range(rank - len(first.replace("...", "")))]
    if not result or "..." in kernel or (hidden and "..." not in first):
        raise Unsupported(f"{name} computes {equation}")

    def spread(text: str) -> list[str]:
        front, dots, back = text.partition("...")
        return [*front, *(hidden if dots else ()), *back]

    return spread(first), list(kernel), spread(result)


def batch_normalization(step: LayerCall) -> SymbolicTensor:
    """gamma, beta and moving statistics along one axis, or several."""
    layer, value = step.operation, step.value
    axes = layer.axis if hasattr(layer.axis, "__len__") else [layer.axis]
    names = (
        "gamma",
        "beta",
        "moving_mean",
        "moving_variance",
        "moving_stddev",
        "renorm_mean",
        "renorm_stddev",
    )
    for place, axis in enumerate(axes):
        for name in names:
            step.member(layer, name, place, value.axes[axis])
    return value


def layer_normalization(step: LayerCall) -> SymbolicTensor:
    """Mean and variance over the channels change with their number: they must stay."""
    layer, value = step.operation, step.value
    axes = layer.axis if hasattr(layer.axis, "__len__") else [layer.axis]
    for place, axis in enumerate(axes):
        for name in ("gamma", "beta", "scale"):
            step.member(layer, name, place, value.axes[axis])
        step.book.pin(value.axes[axis], f"{step.name} takes its statistics over them")
    return value


def group_normalization(step: LayerCall) -> SymbolicTensor:
    """Statistics over groups of channels: a whole group stays or goes."""
    layer, value = step.operation, step.value
    if len(value.shape) - 1 != layer.axis % len(value.shape):
        raise Unsupported(f"{step.name} does not have its channels last")
    ids = step.channels(value)
    if ids is not None:
        each = ids.reshape(len(ids) if layer.groups == -1 else layer.groups, -1)
        step.book.join(each[:, :1], each)
        if len(each) == 1:
            step.book.pin(ids, f"{step.name} takes its statistics over them")
    for name in ("gamma", "beta"):
        step.member(layer, name, 0, ids)
    return value


def normalization(step: LayerCall) -> SymbolicTensor:
    """Its means and variances are settings as well as weights: they stay as they are."""
    layer, value = step.operation, step.value
    for name in ("mean", "variance", "adapt_mean", "adapt_variance"):
        step.member(layer, name, 0, None)
    for ids in value.axes:
        step.book.pin(ids, f"{step.name} has a mean for each")
    return value


def rescaling(step: LayerCall) -> SymbolicTensor:
    """Scale and offset are scalars as a rule."""
    layer, value = step.operation, step.value
    if np.size(layer.scale) > 1 or np.size(layer.offset) > 1:
        step.book.pin(value.last, f"{step.name} has a scale for each")
    return value


def prelu(step: LayerCall) -> SymbolicTensor:
    """alpha[*axes after the batch axis], 1 along shared axes."""
    layer, value = step.operation, step.value
    shared = layer.shared_axes or ()
    for axis in range(1, len(value.shape)):
        ids = None if axis in shared else value.axes[axis]
        step.member(layer, "alpha", axis - 1, ids)
    return value


def layer_scale(step: LayerCall) -> SymbolicTensor:
    """ConvNeXt's gamma[channels]."""
    step.member(step.operation, "gamma", 0, step.value.last)
    return step.value


def _depthwise(step: LayerCall, layer: Any, read: Ids | None) -> Ids | None:
    # The attribute is `kernel` in Keras 3 and `depthwise_kernel` in tf_keras.
    name = "kernel" if step.variable(layer, "depthwise_kernel") is None else "depthwise_kernel"
    _, multiplier = _sizes(step, layer, name, -2, -1)
    step.member(layer, name, -2, read, Role.PASSING)
    return None if read is None else np.repeat(read, multiplier)


def _out(step: LayerCall, layer: Any, made: Ids | None) -> SymbolicTensor:
    step.member(layer, "bias", 0, made)
    return activated(step, step.made(step.shapes[0], made), layer.activation)


def _sizes(step: LayerCall, layer: Any, name: str, *axes: int) -> tuple[int, ...]:
    shape = step.variable(layer, name).shape
    return tuple(int(shape[axis]) for axis in axes)
