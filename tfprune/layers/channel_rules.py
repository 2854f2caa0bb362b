# SPDX-License-Identifier: Apache-2.0
"""What each kind of layer does with channels: one row per kind, both Kerases.

A rule takes a `LayerCall` and returns the traced tensors that come out. It names the variables that
carry channels, joins channels that meet, and raises `Unsupported` where it cannot tell.
"""

from __future__ import annotations

from typing import Any, Callable

from tfprune.layers import attention, operations, recurrent, shapes, weights
from tfprune.layers.call import LayerCall, is_stock
from tfprune.layers.symbolic_tensor import SymbolicTensor, Unsupported

Rule = Callable[[LayerCall], Any]

RULES: dict[str, Rule] = {
    # kernels
    "Dense": weights.dense,
    "EinsumDense": weights.einsum,
    "Conv1D": weights.convolution,
    "Conv2D": weights.convolution,
    "Conv3D": weights.convolution,
    "Conv1DTranspose": weights.transposed,
    "Conv2DTranspose": weights.transposed,
    "Conv3DTranspose": weights.transposed,
    "DepthwiseConv1D": weights.depthwise,
    "DepthwiseConv2D": weights.depthwise,
    "SeparableConv1D": weights.separable,
    "SeparableConv2D": weights.separable,
    "Embedding": weights.embedding,
    # one value per channel
    "BatchNormalization": weights.batch_normalization,
    "SyncBatchNormalization": weights.batch_normalization,
    "LayerNormalization": weights.layer_normalization,
    "RMSNormalization": weights.layer_normalization,
    "GroupNormalization": weights.group_normalization,
    "UnitNormalization": weights.layer_normalization,
    "Normalization": weights.normalization,
    "Rescaling": weights.rescaling,
    "PReLU": weights.prelu,
    "LayerScale": weights.layer_scale,
    # element by element
    "Activation": shapes.activation,
    "ReLU": shapes.same,
    "LeakyReLU": shapes.same,
    "ELU": shapes.same,
    "ThresholdedReLU": shapes.same,
    "Softmax": shapes.softmax,
    "Identity": shapes.same,
    "Dropout": shapes.same,
    "SpatialDropout1D": shapes.same,
    "SpatialDropout2D": shapes.same,
    "SpatialDropout3D": shapes.same,
    "AlphaDropout": shapes.same,
    "GaussianDropout": shapes.same,
    "GaussianNoise": shapes.same,
    "StochasticDepth": shapes.same,
    "ActivityRegularization": shapes.same,
    "Masking": shapes.masking,
    # several tensors
    "Add": shapes.merge,
    "Subtract": shapes.merge,
    "Multiply": shapes.merge,
    "Average": shapes.merge,
    "Maximum": shapes.merge,
    "Minimum": shapes.merge,
    "CustomScaleLayer": shapes.merge,  # the scaled sums of InceptionResNetV2
    "Concatenate": shapes.concatenate,
    # space
    "MaxPooling1D": shapes.spatial,
    "MaxPooling2D": shapes.spatial,
    "MaxPooling3D": shapes.spatial,
    "AveragePooling1D": shapes.spatial,
    "AveragePooling2D": shapes.spatial,
    "AveragePooling3D": shapes.spatial,
    "GlobalMaxPooling1D": shapes.spatial,
    "GlobalMaxPooling2D": shapes.spatial,
    "GlobalMaxPooling3D": shapes.spatial,
    "GlobalAveragePooling1D": shapes.spatial,
    "GlobalAveragePooling2D": shapes.spatial,
    "GlobalAveragePooling3D": shapes.spatial,
    "AdaptiveAveragePooling1D": shapes.spatial,
    "AdaptiveAveragePooling2D": shapes.spatial,
    "AdaptiveAveragePooling3D": shapes.spatial,
    "AdaptiveMaxPooling1D": shapes.spatial,
    "AdaptiveMaxPooling2D": shapes.spatial,
    "AdaptiveMaxPooling3D": shapes.spatial,
    "ZeroPadding1D": shapes.spatial,
    "ZeroPadding2D": shapes.spatial,
    "ZeroPadding3D": shapes.spatial,
    "Cropping1D": shapes.spatial,
    "Cropping2D": shapes.spatial,
    "Cropping3D": shapes.spatial,
    "UpSampling1D": shapes.spatial,
    "UpSampling2D": shapes.spatial,
    "UpSampling3D": shapes.spatial,
    "Resizing": shapes.spatial,
    "CenterCrop": shapes.spatial,
    # order of the entries
    "Flatten": shapes.reshape,
    "Reshape": shapes.reshape,
    "Permute": shapes.permute,
    "RepeatVector": shapes.repeat_vector,
    # time, attention, layers in layers
    "RNN": recurrent.recurrent,
    "LSTM": recurrent.recurrent,
    "GRU": recurrent.recurrent,
    "SimpleRNN": recurrent.recurrent,
    "ConvLSTM1D": recurrent.recurrent,
    "ConvLSTM2D": recurrent.recurrent,
    "ConvLSTM3D": recurrent.recurrent,
    "Bidirectional": recurrent.bidirectional,
    "TimeDistributed": recurrent.time_distributed,
    "MultiHeadAttention": attention.multi_head,
    "GroupQueryAttention": attention.multi_head,
    "GroupedQueryAttention": attention.multi_head,
    "Attention": attention.dot_product,
}


def rule_of(operation: Any, step: LayerCall) -> Rule:
    """The rule for a layer, a nested model or a raw operation.

    Raises:
        Unsupported: no row for it, or for what a class of the user's changes in it.
    """
    adapter = step.tracer.adapter
    if adapter.is_model(operation):
        return _nested
    name = step.tracer.adapter.operation_name(operation)
    if name is not None:
        if name not in operations.RULES:
            raise Unsupported(f"unknown operation {operation.name}")
        return operations.RULES[name]
    row = row_of(operation)
    if row is None:
        raise Unsupported(f"unknown layer {step.name} ({type(operation).__name__})")
    return row


def row_of(layer: Any) -> Rule | None:
    """The row of a layer's class, or of a class of Keras that it only gives another name."""
    for cls in type(layer).__mro__:
        if cls.__name__ in RULES and cls.__module__.split(".")[0] in ("keras", "tf_keras"):
            return RULES[cls.__name__] if is_stock(layer, cls) else None
    return None


def _nested(step: LayerCall) -> list[SymbolicTensor]:
    graph = step.tracer.adapter.graph(step.operation)
    if graph is None:
        raise Unsupported(f"{step.name} is a subclassed model without a graph")
    values = step.values
    if len(values) != len(graph.inputs):
        raise Unsupported(
            f"{step.name} is called with {len(values)} tensors for its {len(graph.inputs)} inputs"
        )
    return step.tracer.run(graph, values)
