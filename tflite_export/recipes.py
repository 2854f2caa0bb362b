# SPDX-License-Identifier: Apache-2.0
"""What to do about an operator that XNNPACK's sparse inference cannot have: one sentence each."""

from __future__ import annotations

from tflite_export.xnnpack import Fault

__all__ = ["recipe"]

_STEM = (
    "Begin with ZeroPadding2D(1) and Conv2D(filters, 3, strides=2, padding='valid') on 3 channels; "
    "weights trained with another padding see the image a pixel further and have to be trained on"
)
_HEAD = "End with GlobalAveragePooling2D() and Dense in its place"
_STRIDED = (
    "Put ZeroPadding2D(1) (2 for 5x5) before a DepthwiseConv2D with padding='valid', and train on"
)
_INSIDE = {
    "CONV_2D": "Make it a DepthwiseConv2D and a 1x1 Conv2D of stride 1, not grouped",
    "MAX_POOL_2D": "Take the stride into a depthwise convolution before or after it",
    "AVERAGE_POOL_2D": "Take the stride into a depthwise convolution before or after it",
    "CONCATENATION": "Add() the branches in its place",
    "PRELU": "Use ReLU, LeakyReLU or hard_swish",
    "RESIZE_NEAREST_NEIGHBOR": "Use UpSampling2D(interpolation='bilinear')",
    "ADD": "Add values of the graph only; a constant belongs into the bias of a convolution",
    "MUL": (
        "Multiply values of the graph only; a constant belongs into a convolution, as that of a "
        "BatchNormalization right behind one does"
    ),
    "SUB": "Use Add() or Multiply()",
    "MAXIMUM": "Use Add() or Multiply()",
    "TRANSPOSE_CONV": "Use UpSampling2D(interpolation='bilinear') and a depthwise convolution",
    "FULLY_CONNECTED": "Use a 1x1 Conv2D here, or Dense behind GlobalAveragePooling2D()",
}
_ACTIVATION = "Use relu, relu6, leaky_relu, elu, sigmoid or hard_swish"
_ACTIVATIONS = ("COS", "EXP", "GELU", "LOG", "RELU_0_TO_1", "RSQRT", "SIN", "SQRT", "TANH")
_OTHER = "Take it out, or put it behind GlobalAveragePooling2D()"
_END = (
    "Let GlobalAveragePooling2D() or depth_to_space be the only way out, and make no value before "
    "it an output of the model"
)


def recipe(fault: Fault | None) -> str:
    """What to do in Keras about a fault; None = one whose operator is not known.

    Example:
        >>> recipe(Fault("PRELU", ("p_re_lu",), None, "", "inside"))
        'Use ReLU, LeakyReLU or hard_swish'
    """
    if fault is None:
        return _END
    if fault.place == "stem":
        return _STEM
    if fault.place == "end":
        return _HEAD
    if "up_sampling2d" in fault.names[0]:
        return _INSIDE["RESIZE_NEAREST_NEIGHBOR"]
    if fault.kind == "DEPTHWISE_CONV_2D":
        if "padding" in fault.why:
            return _STRIDED
        return "Use kernels of 3x3 or 5x5, depth_multiplier=1, dilation_rate=1, strides of 1 or 2"
    return _ACTIVATION if fault.kind in _ACTIVATIONS else _INSIDE.get(fault.kind, _OTHER)
