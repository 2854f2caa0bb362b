# SPDX-License-Identifier: Apache-2.0
"""Convolutions: plain, grouped, transposed, depthwise, separable, and those with local weights."""

from __future__ import annotations

from math import prod
from typing import Any

import numpy as np
import tensorflow as tf

from tfprune.layers.base import KernelSpec, LayerKind, Uses, register
from tfprune.layers.call import LayerCall
from tfprune.layers.channel_graph import Ids, Role
from tfprune.layers.constants import Reader, channels_last, last, value_of
from tfprune.layers.elementwise import activated
from tfprune.layers.im2col import Window, as_tuple
from tfprune.layers.resizing import Resizing
from tfprune.layers.symbolic_tensor import SymbolicTensor
from tfprune.masks import kernel_layout
from tfprune.masks.kernel_layout import Layout


def _convolution(step: LayerCall) -> SymbolicTensor:
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


def _transposed(step: LayerCall) -> SymbolicTensor:
    """W[*kernel, out, in], bias[out]."""
    layer, rank = step.operation, step.operation.rank
    step.member(layer, "kernel", rank + 1, step.channels(step.value), Role.CONSUMER)
    return _out(step, layer, step.produce(layer, "kernel", rank))


def _depthwise(step: LayerCall) -> SymbolicTensor:
    """W[*kernel, in, multiplier], bias[in * multiplier]."""
    layer, read = step.operation, step.channels(step.value)
    return _out(step, layer, _multiplied(step, layer, read))


def _separable(step: LayerCall) -> SymbolicTensor:
    """Depthwise, then W[1, 1, in * multiplier, out]."""
    layer, read = step.operation, step.channels(step.value)
    rank = layer.rank
    between = _multiplied(step, layer, read)
    step.member(layer, "pointwise_kernel", rank, between, Role.CONSUMER)
    return _out(step, layer, step.produce(layer, "pointwise_kernel", rank + 1))


def _multiplied(step: LayerCall, layer: Any, read: Ids | None) -> Ids | None:
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


def _resize_convolution(resizing: Resizing) -> None:
    old = int(resizing.variable("kernel").shape[-1])
    filters, groups = resizing.size("kernel")[-1], getattr(resizing.layer, "groups", 1) or 1
    resizing.put("filters", filters)
    if groups > 1 and int(resizing.variable("kernel").shape[-2]) == 1:
        resizing.put("groups", filters // (old // groups))
    resizing.bias()


def _resize_transposed(resizing: Resizing) -> None:
    resizing.put("filters", resizing.size("kernel")[-2])
    resizing.bias()


def _resize_separable(resizing: Resizing) -> None:
    resizing.put("filters", resizing.size("pointwise_kernel")[-1])
    resizing.bias()


def _convolution_reads(reader: Reader, inputs: Any, outputs: Any) -> tuple[Any, int]:
    value, groups = channels_last(reader, inputs), reader.layer.groups or 1
    return tf.reshape(value, (-1, groups, value.shape[-1] // groups)), 2


def _convolution_constant(reader: Reader, constants: np.ndarray) -> np.ndarray:
    kernel = value_of(reader.kernel)
    kernel = kernel.reshape(-1, *kernel.shape[-2:]).sum(0)  # [in / groups, out]
    groups = len(constants)
    kernel = kernel.reshape(kernel.shape[0], groups, -1)
    return np.einsum("gi,igo->go", constants, kernel).ravel()


def _transposed_constant(reader: Reader, constants: np.ndarray) -> np.ndarray | str:
    kernel = value_of(reader.kernel)
    if prod(kernel.shape[:-2]) > 1:
        return f"{reader.layer.name} spreads a constant unevenly"
    if prod(np.atleast_1d(reader.layer.strides)) > 1:
        return f"{reader.layer.name} spreads a constant unevenly"
    return kernel.reshape(kernel.shape[-2:]) @ constants


def _pointwise_reads(reader: Reader, inputs: Any, outputs: Any) -> tuple[Any, int]:
    """What the pointwise kernel of a separable convolution reads, away from the border."""
    value = channels_last(reader, inputs)
    kernel = reader.variable("depthwise_kernel")
    each = tf.reduce_sum(kernel, tuple(range(len(kernel.shape) - 2)))  # [in, multiplier]
    value = tf.cast(value, each.dtype)[..., None] * each
    return tf.reshape(value, (-1, each.shape[0] * each.shape[1])), 1


def _pointwise_constant(reader: Reader, constants: np.ndarray) -> np.ndarray:
    kernel = value_of(reader.kernel)
    return constants @ kernel.reshape(kernel.shape[-2:])


def _window(layer: Any, layout: Layout) -> Window:
    rank = len(layout.spatial)
    if any(size is not None for size in as_tuple(getattr(layer, "output_padding", None), rank)):
        raise ValueError(f"output_padding={layer.output_padding} is not supported: expected None")
    return Window(
        as_tuple(layer.kernel_size, rank),
        as_tuple(layer.strides, rank),
        as_tuple(layer.dilation_rate, rank),
        layer.padding,
        getattr(layer, "groups", 1) if layout == kernel_layout.conv(rank) else 1,
        layer.data_format == "channels_first",
    )


def _depthwise_window(layer: Any, layout: Layout) -> Window:
    if layout != kernel_layout.depthwise(len(layout.spatial)):
        raise ValueError(
            "the pointwise kernel reads the result of the depthwise one, not the layer's input"
        )
    return _window(layer, layout)


for _rank in (1, 2, 3):
    register(
        f"Conv{_rank}D",
        LayerKind(
            kernels=(KernelSpec.of("kernel", kernel_layout.conv(_rank)),),
            propagate=_convolution,
            resize=_resize_convolution,
            reads=_convolution_reads,
            constant=_convolution_constant,
            patches=_window,
            traits=frozenset({"neurons", "one_product", "quantizable"}),
        ),
    )
    register(
        f"Conv{_rank}DTranspose",
        LayerKind(
            kernels=(KernelSpec.of("kernel", kernel_layout.conv_transpose(_rank), Uses.INPUT),),
            propagate=_transposed,
            resize=_resize_transposed,
            reads=last,
            constant=_transposed_constant,
            makes=lambda reader: [len(reader.kernel.shape) - 2],
            patches=_window,
            traits=frozenset({"neurons", "one_product", "quantizable"}),
        ),
    )
for _rank in (1, 2):
    _layout = kernel_layout.depthwise(_rank)
    register(
        f"DepthwiseConv{_rank}D",
        LayerKind(
            # The attribute is `kernel` in Keras 3 and `depthwise_kernel` in tf_keras.
            kernels=tuple(KernelSpec.of(name, _layout) for name in ("depthwise_kernel", "kernel")),
            propagate=_depthwise,
            patches=_window,
            traits=frozenset({"one_product", "quantizable"}),
        ),
    )
    register(
        f"SeparableConv{_rank}D",
        LayerKind(
            kernels=(
                KernelSpec.of("depthwise_kernel", _layout),
                KernelSpec.of("pointwise_kernel", kernel_layout.conv(_rank)),
            ),
            propagate=_separable,
            resize=_resize_separable,
            reads=_pointwise_reads,
            constant=_pointwise_constant,
            patches=_depthwise_window,
            traits=frozenset({"neurons", "quantizable"}),
        ),
    )
register(
    "LocallyConnected1D LocallyConnected2D",
    LayerKind(
        kernels=(KernelSpec("kernel", lambda layer: kernel_layout.of_shape(layer.kernel.shape)),)
    ),
)
