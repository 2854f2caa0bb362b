# SPDX-License-Identifier: Apache-2.0
"""The operators that TFLite Micro has, how a program asks for them, and since which month."""

from __future__ import annotations

import importlib.metadata
import re
from collections.abc import Iterable

from tflite_export.devices.tflm_arena import scaled_by_channel
from tflite_export.flatbuffer.graph import ETHOS_U, TFLM_DECODE, Graph, used

__all__ = [
    "BUILTIN",
    "CUSTOM",
    "installed_month",
    "instead",
    "needed",
    "resolver_method",
    "unknown",
]

BUILTIN = frozenset(
    """
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
""".split()
)

# Its own, by the names that files have for them.
CUSTOM = {
    TFLM_DECODE: "AddDecode",
    ETHOS_U: "AddEthosU",
    "BasicClassifier": "AddBasicClassifier",
    "CIRCULAR_BUFFER": "AddCircularBuffer",
    "TFLite_Detection_PostProcess": "AddDetectionPostprocess",
    **{
        f"Signal{name}": f"Add{name}"
        for name in (
            "Delay",
            "Energy",
            "FftAutoScale",
            "FilterBank",
            "FilterBankLog",
            "FilterBankSpectralSubtraction",
            "FilterBankSquareRoot",
            "Framer",
            "Irfft",
            "OverlapAdd",
            "PCAN",
            "Rfft",
            "Stacker",
            "Window",
        )
    },
}
# Names that do not follow from the operator's by writing its words in capitals and small letters.
_METHODS = {
    **CUSTOM,
    "BATCH_MATMUL": "AddBatchMatMul",
    "CUMSUM": "AddCumSum",
    "PADV2": "AddPadV2",
    "UNIDIRECTIONAL_SEQUENCE_LSTM": "AddUnidirectionalSequenceLSTM",
}


# What a layer that needs one of the others, or one of these with types that it does not take, can
# be replaced by.
_INSTEAD = {
    "ARG_MAX": "output_type=tf.int32",
    "ARG_MIN": "output_type=tf.int32",
    "CONV_3D": "TimeDistributed(Conv2D)",
    "CONV_3D_TRANSPOSE": "TimeDistributed(Conv2DTranspose)",
    "GELU": "silu or relu as the activation",
    "LOCAL_RESPONSE_NORMALIZATION": "BatchNormalization",
    "ONE_HOT": "Embedding",
    "RELU_0_TO_1": "ReLU(max_value=6)",
    "RELU_N1_TO_1": "ReLU(max_value=6)",
    "RESIZE_BILINEAR": 'interpolation="nearest" or quantize="int8"',
    "REVERSE_SEQUENCE": "a fixed length without a mask",
    "UNIDIRECTIONAL_SEQUENCE_RNN": "LSTM",
}

_MONTHS = (
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
)
# The month by whose end the public source has an operator, of those that came lately.
_SINCE = {
    TFLM_DECODE: (2025, 11, "bitmaps"),
    "REDUCE_ALL": (2026, 1, ""),
    "DYNAMIC_UPDATE_SLICE": (2025, 12, ""),
    "REVERSE_V2": (2025, 7, ""),
    "BATCH_MATMUL": (2023, 10, ""),
    "EMBEDDING_LOOKUP": (2023, 8, ""),
}
_DENSE = ("FULLY_CONNECTED", (2024, 9, "a scale for each channel"))


def instead(operators: Iterable[str], otherwise: str = "replace the layers that need it") -> str:
    """Advice on layers that need operators which TFLite Micro does not have, or refuses.

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


def installed_month() -> str:
    """The month of the interpreter that is installed here, e.g. "October 2026"."""
    try:
        version = importlib.metadata.version("tflite-micro")
    except importlib.metadata.PackageNotFoundError:
        return "an unknown month"
    found = re.search(r"dev(\d{4})(\d\d)", version)
    return _month(int(found[1]), int(found[2])) if found else f"version {version}"


def needed(graph: Graph) -> tuple[str, ...]:
    """Recent additions to TFLite Micro that a file needs, the latest first, each with the month
    since when it is there: "TFLM_DECODE (bitmaps): November 2025"."""
    found = [(name, _SINCE[name]) for name in used(graph) if name in _SINCE]
    if scaled_by_channel(graph):
        found.append(_DENSE)
    ordered = sorted(found, key=lambda entry: entry[1][:2], reverse=True)
    return tuple(
        f"{name}{f' ({what})' if what else ''}: {_month(year, month)}"
        for name, (year, month, what) in ordered
    )


def _month(year: int, month: int) -> str:
    return f"{_MONTHS[month - 1]} {year}"
