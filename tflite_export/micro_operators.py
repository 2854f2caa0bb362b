# SPDX-License-Identifier: Apache-2.0
"""The operators that TFLite Micro has, and how a program asks for them."""

from __future__ import annotations

from collections.abc import Iterable

from tflite_export.graph import Graph, used
from tflite_export.pruned import OPERATOR
from tflite_export.vela_files import NPU

__all__ = ["BUILTIN", "CUSTOM", "instead", "resolver_method", "unknown"]

BUILTIN = frozenset("""
    ABS ADD ADD_N ARG_MAX ARG_MIN ASSIGN_VARIABLE AVERAGE_POOL_2D BATCH_MATMUL BATCH_TO_SPACE_ND
    BROADCAST_ARGS BROADCAST_TO CALL_ONCE CAST CEIL CONCATENATION CONV_2D COS CUMSUM
    DEPTHWISE_CONV_2D DEPTH_TO_SPACE DEQUANTIZE DIV DYNAMIC_UPDATE_SLICE ELU EMBEDDING_LOOKUP EQUAL
    EXP EXPAND_DIMS FILL FLOOR FLOOR_DIV FLOOR_MOD FULLY_CONNECTED GATHER GATHER_ND GREATER
    GREATER_EQUAL HARD_SWISH IF L2_NORMALIZATION L2_POOL_2D LEAKY_RELU LESS LESS_EQUAL LOG
    LOGICAL_AND LOGICAL_NOT LOGICAL_OR LOGISTIC LOG_SOFTMAX MAXIMUM MAX_POOL_2D MEAN MINIMUM
    MIRROR_PAD MUL NEG NOT_EQUAL PACK PAD PADV2 PRELU QUANTIZE READ_VARIABLE REDUCE_ALL REDUCE_MAX
    REDUCE_MIN RELU RELU6 RESHAPE RESIZE_BILINEAR RESIZE_NEAREST_NEIGHBOR REVERSE_V2 ROUND RSQRT
    SELECT_V2 SHAPE SIN SLICE SOFTMAX SPACE_TO_BATCH_ND SPACE_TO_DEPTH SPLIT SPLIT_V SQRT SQUARE
    SQUARED_DIFFERENCE SQUEEZE STRIDED_SLICE SUB SUM SVDF TANH TRANSPOSE TRANSPOSE_CONV
    UNIDIRECTIONAL_SEQUENCE_LSTM UNPACK VAR_HANDLE WHILE ZEROS_LIKE
""".split())

# Its own, by the names that files have for them.
CUSTOM = {
    OPERATOR: "AddDecode", NPU: "AddEthosU", "BasicClassifier": "AddBasicClassifier",
    "CIRCULAR_BUFFER": "AddCircularBuffer",
    "TFLite_Detection_PostProcess": "AddDetectionPostprocess",
    **{f"Signal{name}": f"Add{name}" for name in (
        "Delay", "Energy", "FftAutoScale", "FilterBank", "FilterBankLog",
        "FilterBankSpectralSubtraction", "FilterBankSquareRoot", "Framer", "Irfft", "OverlapAdd",
        "PCAN", "Rfft", "Stacker", "Window",
    )},
}
# Names that do not follow from the operator's by writing its words in capitals and small letters.
_METHODS = {
    **CUSTOM, "BATCH_MATMUL": "AddBatchMatMul", "CUMSUM": "AddCumSum", "PADV2": "AddPadV2",
    "UNIDIRECTIONAL_SEQUENCE_LSTM": "AddUnidirectionalSequenceLSTM",
}


# What a layer that needs one of the others, or one of these with types that it does not take, can
# be replaced by.
_INSTEAD = {
    "ARG_MAX": "output_type=tf.int32", "ARG_MIN": "output_type=tf.int32",
    "CONV_3D": "TimeDistributed(Conv2D)", "CONV_3D_TRANSPOSE": "TimeDistributed(Conv2DTranspose)",
    "GELU": "silu or relu as the activation", "LOCAL_RESPONSE_NORMALIZATION": "BatchNormalization",
    "ONE_HOT": "Embedding", "RELU_0_TO_1": "ReLU(max_value=6)",
    "RELU_N1_TO_1": "ReLU(max_value=6)",
    "RESIZE_BILINEAR": 'interpolation="nearest" or quantize="int8"',
    "REVERSE_SEQUENCE": "a fixed length without a mask",
    "UNIDIRECTIONAL_SEQUENCE_RNN": "LSTM",
}


def instead(operators: Iterable[str], otherwise: str = "replace the layers that need it") -> str:
    """What to do about layers that need operators which TFLite Micro does not have, or refuses.

    Example:
        >>> instead(["GELU"])
        'use silu or relu as the activation'
    """
    known = [_INSTEAD[name] for name in operators if name in _INSTEAD]
    return f"use {', '.join(known)}" if known else otherwise


def unknown(graph: Graph) -> tuple[str, ...]:
    """Names of the operators of a file that TFLite Micro does not have."""
    return tuple(name for name in used(graph) if name not in {*BUILTIN, *CUSTOM})


def resolver_method(operator: str) -> str:
    """The method of MicroMutableOpResolver that adds an operator.

    Example:
        >>> resolver_method("DEPTHWISE_CONV_2D"), resolver_method("SignalRfft")
        ('AddDepthwiseConv2D', 'AddRfft')
    """
    words = (word.capitalize() for word in operator.replace("2D", "2-d").split("_"))
    return _METHODS.get(operator) or "Add" + "".join(words).replace("2-d", "2D")
