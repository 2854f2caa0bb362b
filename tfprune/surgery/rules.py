# SPDX-License-Identifier: Apache-2.0
"""What each kind of layer does with channels: one row per kind, both Kerases.

A rule takes a `Step` and returns the traced tensors that come out. It names the variables that
carry channels, joins channels that meet, and raises `Unsupported` where it cannot tell.
"""

from __future__ import annotations

from typing import Any, Callable

from tfprune.surgery import operations, rules_attention, rules_recurrent, rules_shapes
from tfprune.surgery import rules_weights as weights
from tfprune.surgery.tensors import Traced, Unsupported
from tfprune.surgery.trace import Step, is_stock

Rule = Callable[[Step], Any]

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
    "Activation": rules_shapes.activation,
    "ReLU": rules_shapes.same,
    "LeakyReLU": rules_shapes.same,
    "ELU": rules_shapes.same,
    "ThresholdedReLU": rules_shapes.same,
    "Softmax": rules_shapes.softmax,
    "Identity": rules_shapes.same,
    "Dropout": rules_shapes.same,
    "SpatialDropout1D": rules_shapes.same,
    "SpatialDropout2D": rules_shapes.same,
    "SpatialDropout3D": rules_shapes.same,
    "AlphaDropout": rules_shapes.same,
    "GaussianDropout": rules_shapes.same,
    "GaussianNoise": rules_shapes.same,
    "StochasticDepth": rules_shapes.same,
    "ActivityRegularization": rules_shapes.same,
    "Masking": rules_shapes.masking,
    # several tensors
    "Add": rules_shapes.merge,
    "Subtract": rules_shapes.merge,
    "Multiply": rules_shapes.merge,
    "Average": rules_shapes.merge,
    "Maximum": rules_shapes.merge,
    "Minimum": rules_shapes.merge,
    "CustomScaleLayer": rules_shapes.merge,  # the scaled sums of InceptionResNetV2
    "Concatenate": rules_shapes.concatenate,
    # space
    "MaxPooling1D": rules_shapes.spatial,
    "MaxPooling2D": rules_shapes.spatial,
    "MaxPooling3D": rules_shapes.spatial,
    "AveragePooling1D": rules_shapes.spatial,
    "AveragePooling2D": rules_shapes.spatial,
    "AveragePooling3D": rules_shapes.spatial,
    "GlobalMaxPooling1D": rules_shapes.spatial,
    "GlobalMaxPooling2D": rules_shapes.spatial,
    "GlobalMaxPooling3D": rules_shapes.spatial,
    "GlobalAveragePooling1D": rules_shapes.spatial,
    "GlobalAveragePooling2D": rules_shapes.spatial,
    "GlobalAveragePooling3D": rules_shapes.spatial,
    "AdaptiveAveragePooling1D": rules_shapes.spatial,
    "AdaptiveAveragePooling2D": rules_shapes.spatial,
    "AdaptiveAveragePooling3D": rules_shapes.spatial,
    "AdaptiveMaxPooling1D": rules_shapes.spatial,
    "AdaptiveMaxPooling2D": rules_shapes.spatial,
    "AdaptiveMaxPooling3D": rules_shapes.spatial,
    "ZeroPadding1D": rules_shapes.spatial,
    "ZeroPadding2D": rules_shapes.spatial,
    "ZeroPadding3D": rules_shapes.spatial,
    "Cropping1D": rules_shapes.spatial,
    "Cropping2D": rules_shapes.spatial,
    "Cropping3D": rules_shapes.spatial,
    "UpSampling1D": rules_shapes.spatial,
    "UpSampling2D": rules_shapes.spatial,
    "UpSampling3D": rules_shapes.spatial,
    "Resizing": rules_shapes.spatial,
    "CenterCrop": rules_shapes.spatial,
    # order of the entries
    "Flatten": rules_shapes.reshape,
    "Reshape": rules_shapes.reshape,
    "Permute": rules_shapes.permute,
    "RepeatVector": rules_shapes.repeat_vector,
    # time, attention, layers in layers
    "RNN": rules_recurrent.recurrent,
    "LSTM": rules_recurrent.recurrent,
    "GRU": rules_recurrent.recurrent,
    "SimpleRNN": rules_recurrent.recurrent,
    "ConvLSTM1D": rules_recurrent.recurrent,
    "ConvLSTM2D": rules_recurrent.recurrent,
    "ConvLSTM3D": rules_recurrent.recurrent,
    "Bidirectional": rules_recurrent.bidirectional,
    "TimeDistributed": rules_recurrent.time_distributed,
    "MultiHeadAttention": rules_attention.multi_head,
    "GroupQueryAttention": rules_attention.multi_head,
    "GroupedQueryAttention": rules_attention.multi_head,
    "Attention": rules_attention.dot_product,
}


def rule_of(operation: Any, step: Step) -> Rule:
    """The rule for a layer, a nested model or a raw operation.

    Raises:
        Unsupported: no row for it, or for what a class of the user's changes in it.
    """
    adapter = step.tracer.adapter
    if adapter.is_model(operation):
        return _nested
    name = step.tracer.graphs.operation_name(operation)
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


def _nested(step: Step) -> list[Traced]:
    graph = step.tracer.graphs.graph(step.operation)
    if graph is None:
        raise Unsupported(f"{step.name} is a subclassed model without a graph")
    values = step.values
    if len(values) != len(graph.inputs):
        raise Unsupported(f"{step.name} is called with {len(values)} tensors for its "
                          f"{len(graph.inputs)} inputs")
    return step.tracer.run(graph, values)
