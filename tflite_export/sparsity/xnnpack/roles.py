# SPDX-License-Identifier: Apache-2.0
"""The role of each operator in XNNPACK's sparse inference."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tflite_export.flatbuffer.graph import schema
from tflite_export.sparsity.xnnpack.subgraph import Subgraph

__all__ = ["CLOSES", "KEEPS", "OPENS", "Role", "role"]

KEEPS, OPENS, CLOSES = 1, 2, 4
_STEM = (
    "sparse inference starts at a 3x3 convolution of 3 input channels with stride 2 and padding "
    "1 on all four sides"
)
# All releases that were looked at keep these; the others of one input only later ones.
_UNARY = {
    "ABS",
    "CEIL",
    "ELU",
    "FLOOR",
    "HARD_SWISH",
    "LEAKY_RELU",
    "LOGISTIC",
    "NEG",
    "RELU",
    "RELU6",
    "RELU_N1_TO_1",
    "ROUND",
    "SQUARE",
}
# Since which release of LiteRT they were seen inside, and right.
_NEWER_UNARY = {
    **dict.fromkeys(("COS", "EXP", "GELU", "RSQRT", "SIN", "SQRT", "TANH"), "1.4"),
    "LOG": "2.1",
    "RELU_0_TO_1": "",
}


@dataclass(frozen=True)
class Role:
    """`flags` = OPENS, KEEPS, CLOSES or a sum of them, 0 outside; `why` it is outside, or wrong
    inside; `doubt` = a kind on which releases differ: it may be outside as well; `since` = the
    release of LiteRT from which on it is inside and right, "" where none is known; `right` = it is
    known to compute correctly inside."""

    flags: int = 0
    why: str = ""
    doubt: str = ""
    since: str = ""
    right: bool = True


def role(view: Subgraph, operator) -> Role:
    """The role of one operator.

    Args:
        view: its subgraph.
        operator: a flatbuffer object from `view.operators`.
    """
    kind = view.kind(operator)
    if kind not in _RULES and kind not in _UNARY and kind not in _NEWER_UNARY:
        return Role(why="no such operator can be inside")
    used = view.inputs(operator)
    computed = [index for index in used if view.constant(index) is None]
    values = [index for index in used[:2] if kind not in _SHAPED or index == used[0]]
    if not computed or not all(map(view.is_float, (*values, *map(int, operator.outputs)))):
        return Role(why="it does not compute in float")
    if kind in _RULES:
        return _RULES[kind](view, operator)
    if len(view.shape(used[0])) != 4:
        return Role(why="its input has no 4 axes")
    if kind in _UNARY:
        return Role(KEEPS)
    return Role(KEEPS, doubt=kind, since=_NEWER_UNARY[kind])


def _convolution(view: Subgraph, operator) -> Role:
    options, kernel = operator.builtinOptions, view.shape(operator.inputs[1])
    fault = _common_fault(options)
    channels = view.shape(operator.inputs[0])[-1]
    if fault or view.constant(operator.inputs[1]) is None:
        return Role(why=fault or "its weights are computed")
    if kernel[3] != channels:
        return Role(why="it is a grouped convolution")
    stride, padding = (options.strideH, options.strideW), _padding(view, operator)
    if kernel[1:3] == (1, 1):
        if stride != (1, 1):
            return Role(why=f"it is a 1x1 convolution of stride {stride[0]}, expected 1")
        padded = padding is None or any(padding)
        return Role(why="it is a padded 1x1 convolution") if padded else Role(KEEPS)
    found = []
    if kernel[1:3] != (3, 3):
        found.append(f"a kernel of {kernel[1]}x{kernel[2]}")
    if stride != (2, 2):
        found.append(f"stride {stride[0]}")
    if channels != 3:
        found.append(f"{channels} input channels")
    if padding != (1, 1, 1, 1):
        found.append(_padding_text(view, operator, padding))
    return Role(why=f"{_STEM}; it has {', '.join(found)}") if found else Role(OPENS)


def _depthwise(view: Subgraph, operator) -> Role:
    options, kernel = operator.builtinOptions, view.shape(operator.inputs[1])
    fault = _common_fault(options)
    if fault or view.constant(operator.inputs[1]) is None:
        return Role(why=fault or "its weights are computed")
    if kernel[3] != view.shape(operator.inputs[0])[-1]:
        return Role(why="its depth multiplier is not 1")
    if options.strideH != options.strideW or options.strideH not in (1, 2):
        return Role(why=f"its stride is {options.strideH}, expected 1 or 2")
    if kernel[1:3] not in ((3, 3), (5, 5)):
        return Role(why=f"its kernel is {kernel[1]}x{kernel[2]}, expected 3x3 or 5x5")
    padding, wanted = _padding(view, operator), kernel[1] // 2
    if padding != (wanted,) * 4:
        text = _padding_text(view, operator, padding)
        return Role(why=f"it has {text}, expected {wanted} on all four sides")
    return Role(KEEPS)


def _common_fault(options) -> str:
    activations = schema().ActivationFunctionType
    if options.fusedActivationFunction in (activations.TANH, activations.SIGN_BIT):
        return "its activation is executed elsewhere"
    # Files of other writers may leave the dilation out, which reads as 0 or 1.
    if max(options.dilationHFactor, options.dilationWFactor) > 1:
        return "it is dilated"
    return ""


def _padding(view: Subgraph, operator) -> tuple[int, ...] | None:
    """(top, bottom, left, right) as XNNPACK knows it: None for SAME of another stride than 1."""
    options, kernel = operator.builtinOptions, view.shape(operator.inputs[1])[1:3]
    sides = [0, 0, 0, 0]
    if options.padding == schema().Padding.SAME:
        if (options.strideH, options.strideW) != (1, 1):
            return None
        sides = [side for n in kernel for side in ((n - 1) // 2, n - 1 - (n - 1) // 2)]
    pad = view.padding_before(operator)
    merged = None if pad is None else view.constant(pad.inputs[1])
    if merged is not None:
        sides = np.add(sides, merged[1:3].reshape(-1)).tolist()
    return tuple(int(side) for side in sides)


def _padding_text(view: Subgraph, operator, padding) -> str:
    if padding is None:
        return "padding 'same' with a stride"
    return f"padding {padding[:2]} above and below and {padding[2:]} left and right"


def _sum_or_product(view: Subgraph, operator) -> Role:
    fault = operator.builtinOptions.fusedActivationFunction in (
        schema().ActivationFunctionType.TANH,
        schema().ActivationFunctionType.SIGN_BIT,
    )
    first, second = (int(index) for index in operator.inputs)
    if fault or any(len(view.shape(index)) != 4 for index in (first, second)):
        return Role(why="its operands have no 4 axes each")
    vector = sum(size != 1 for size in view.shape(first)) <= 1
    if view.constant(second) is not None and not vector:
        return Role(why="its second operand is a constant")
    if view.constant(first) is not None or view.constant(second) is not None:
        why = "an operand is a constant"
        return Role(KEEPS, why, "constant", right=False) if vector else Role(why=why)
    return Role(KEEPS)


def _limit(view: Subgraph, operator) -> Role:
    """The minimum or maximum with one number is made a clamp, which has a single input."""
    used = view.inputs(operator)
    constants = [array for array in map(view.constant, used) if array is not None]
    if len(constants) != 1 or constants[0].size != 1:
        return Role(why="it is the minimum or maximum of two values, not of one and a number")
    if len(view.shape(next(index for index in used if view.constant(index) is None))) != 4:
        return Role(why="its input has no 4 axes")
    return Role(KEEPS, doubt=view.kind(operator), since="2.1")


def _mean(view: Subgraph, operator) -> Role:
    axes = view.constant(operator.inputs[1])
    if len(view.shape(operator.inputs[0])) != 4 or axes is None:
        return Role(why="its input has no 4 axes")
    if sorted(np.atleast_1d(axes) % 4) == [1, 2]:
        return Role(KEEPS | CLOSES)
    return Role(KEEPS | CLOSES, "it runs along other axes than height and width", right=False)


def _depth_to_space(view: Subgraph, operator) -> Role:
    return Role(CLOSES)


def _resize(view: Subgraph, operator) -> Role:
    if min(view.shape(operator.inputs[0])[1:3]) <= 1:
        return Role(why="its input is one pixel high or wide")
    usual = not operator.builtinOptions.alignCorners
    return Role(KEEPS, "" if usual else "it aligns corners", right=usual)


def _dense(view: Subgraph, operator) -> Role:
    # A matrix is made of the input first, unless it keeps its axes.
    if not operator.builtinOptions.keepNumDims:
        return Role(why="a dense layer is outside")
    return Role(KEEPS, "it is a dense layer on 4 axes", "dense on 4 axes", right=False)


def _pooling(view: Subgraph, operator) -> Role:
    options = operator.builtinOptions
    trivial = (options.filterHeight, options.filterWidth, options.strideH, options.strideW)
    if trivial == (1, 1, 1, 1):
        return Role(KEEPS, doubt="pooling of 1x1", since="1.4")
    return Role(why="pooling cannot be inside")


# Second inputs that are no values: axes, sizes.
_SHAPED = ("MEAN", "SUM", "RESIZE_BILINEAR")
_RULES = {
    "CONV_2D": _convolution,
    "DEPTHWISE_CONV_2D": _depthwise,
    "ADD": _sum_or_product,
    "MUL": _sum_or_product,
    "MEAN": _mean,
    "SUM": _mean,
    "DEPTH_TO_SPACE": _depth_to_space,
    "RESIZE_BILINEAR": _resize,
    "FULLY_CONNECTED": _dense,
    "MAX_POOL_2D": _pooling,
    "AVERAGE_POOL_2D": _pooling,
    "MINIMUM": _limit,
    "MAXIMUM": _limit,
}
