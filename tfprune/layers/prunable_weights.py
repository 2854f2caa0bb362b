# SPDX-License-Identifier: Apache-2.0
"""Which attributes of which layers are prunable kernels: one row per layer kind, both Kerases.

Rows name the innermost layers only. What wraps them (Bidirectional, TimeDistributed, RNN,
MultiHeadAttention, custom layers) is walked through.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from math import prod
from typing import Any, Callable, Sequence

from tfprune.masks import kernel_layout
from tfprune.masks.kernel_layout import Layout

Shape = Sequence[int | None]


class Uses(Enum):
    """How often each weight of a kernel is used for one example."""

    OUTPUT = "once per output position"
    INPUT = "once per input position"
    STEPS = "once per time step"
    LOOKUP = "never multiplied"


@dataclass(frozen=True)
class Row:
    """One kernel of a layer kind: its attribute, its axes, its uses."""

    attribute: str
    layout: Callable[[Any], Layout]
    uses: Uses = Uses.OUTPUT


def _fixed(layout: Layout) -> Callable[[Any], Layout]:
    return lambda layer: layout


def _convolution(rank: int) -> tuple[Row, ...]:
    return (Row("kernel", _fixed(kernel_layout.conv(rank))),)


def _transposed(rank: int) -> tuple[Row, ...]:
    return (Row("kernel", _fixed(kernel_layout.conv_transpose(rank)), Uses.INPUT),)


def _depthwise(rank: int) -> tuple[Row, ...]:
    # The attribute is `kernel` in Keras 3 and `depthwise_kernel` in tf_keras.
    layout = _fixed(kernel_layout.depthwise(rank))
    return (Row("depthwise_kernel", layout), Row("kernel", layout))


def _separable(rank: int) -> tuple[Row, ...]:
    return (
        Row("depthwise_kernel", _fixed(kernel_layout.depthwise(rank))),
        Row("pointwise_kernel", _fixed(kernel_layout.conv(rank))),
    )


def _recurrent(layout: Callable[[Any], Layout]) -> tuple[Row, ...]:
    return (Row("kernel", layout, Uses.STEPS), Row("recurrent_kernel", layout, Uses.STEPS))


KERNELS: dict[str, tuple[Row, ...]] = {
    "Dense": (Row("kernel", _fixed(kernel_layout.DENSE)),),
    "EinsumDense": (Row("kernel", lambda layer: kernel_layout.einsum(layer.equation)),),
    "Conv1D": _convolution(1),
    "Conv2D": _convolution(2),
    "Conv3D": _convolution(3),
    "Conv1DTranspose": _transposed(1),
    "Conv2DTranspose": _transposed(2),
    "Conv3DTranspose": _transposed(3),
    "DepthwiseConv1D": _depthwise(1),
    "DepthwiseConv2D": _depthwise(2),
    "SeparableConv1D": _separable(1),
    "SeparableConv2D": _separable(2),
    "LocallyConnected1D": (
        Row("kernel", lambda layer: kernel_layout.of_shape(layer.kernel.shape)),
    ),
    "LocallyConnected2D": (
        Row("kernel", lambda layer: kernel_layout.of_shape(layer.kernel.shape)),
    ),
    "Embedding": (Row("embeddings", _fixed(kernel_layout.EMBEDDING), Uses.LOOKUP),),
    "LSTMCell": _recurrent(_fixed(kernel_layout.DENSE)),
    "GRUCell": _recurrent(_fixed(kernel_layout.DENSE)),
    "SimpleRNNCell": _recurrent(_fixed(kernel_layout.DENSE)),
    # One class of cells for all ranks.
    "ConvLSTMCell": _recurrent(lambda cell: kernel_layout.conv(len(cell.kernel_size))),
}

NEVER_PRUNED: dict[str, str] = {
    "BatchNormalization": "normalization: scales and offsets are not pruned",
    "SyncBatchNormalization": "normalization: scales and offsets are not pruned",
    "LayerNormalization": "normalization: scales and offsets are not pruned",
    "GroupNormalization": "normalization: scales and offsets are not pruned",
    "RMSNormalization": "normalization: scales and offsets are not pruned",
    "Normalization": "normalization: means and variances are not pruned",
    "PReLU": "activation slopes are not pruned",
}


def rows(layer: Any) -> tuple[Row, ...] | None:
    """The rows of a layer's class or of the nearest class it inherits from; None if unknown."""
    for cls in type(layer).__mro__:
        if cls.__name__ in KERNELS and cls.__module__.split(".")[0] in ("keras", "tf_keras"):
            return KERNELS[cls.__name__]
    return None


def matrix_layout(layer: Any) -> Layout:
    """The layout of a layer's kernels of rank 2: as Dense, but for an Embedding's table."""
    known = rows(layer)
    is_table = known is not None and known[0].uses is Uses.LOOKUP
    return kernel_layout.EMBEDDING if is_table else kernel_layout.DENSE


def reason_dense(layer: Any) -> str:
    """Why a layer that has weights, but no row, stays dense."""
    for cls in type(layer).__mro__:
        if cls.__name__ in NEVER_PRUNED:
            return NEVER_PRUNED[cls.__name__]
    return (
        f"unknown layer {type(layer).__name__}: give it a method get_prunable_weights() that "
        "returns the variables to prune"
    )


def positions(
    uses: Uses, inputs: Shape | None, outputs: Shape | None, layout: Layout
) -> int | None:
    """How often each weight is used for one example; None where shapes do not tell.

    Args:
        uses: the kernel's row.
        inputs, outputs: shapes of the layer's input and output, batch axis first.
        layout: of the kernel; the spatial axes tell a convolution from a matrix.
    """
    if uses is Uses.LOOKUP:
        return 0
    if inputs is None or outputs is None:
        return None
    if uses is Uses.STEPS:
        # A recurrent convolution is used at every place of every time step.
        space = outputs[-1 - len(layout.spatial) : -1] if layout.spatial else ()
        places: Shape = (*inputs[1:2], *space)
    else:
        shape = outputs if uses is Uses.OUTPUT else inputs
        places = shape[1:-1]
    return None if any(size is None for size in places) else prod(places)


_BUILDS_LATE = {"MultiHeadAttention", "GroupQueryAttention", "GroupedQueryAttention"}


def may_hold_kernels(layer: Any, adapter: Any) -> bool:
    """Whether a layer, built or not, has prunable kernels in itself or below it."""
    if adapter.is_wrapper(layer) or adapter.has_prunable_weights(layer) or rows(layer):
        return True
    if {cls.__name__ for cls in type(layer).__mro__} & _BUILDS_LATE:
        return True
    return any(may_hold_kernels(sub, adapter) for sub in adapter.sublayers(layer))
