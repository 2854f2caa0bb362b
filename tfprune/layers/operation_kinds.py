# SPDX-License-Identifier: Apache-2.0
"""Records of raw operations: `keras.ops` of Keras 3, TensorFlow functions in tf_keras.

One record per name; both spell most names alike.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Callable

from tfprune.layers import contraction, linearize, operations, rearrange, resizing_operations
from tfprune.layers.call import KeptChannels, LayerCall
from tfprune.layers.elementwise import same, softmax
from tfprune.layers.resizing_operations import Sizes
from tfprune.layers.shapes import concatenate, reshape
from tfprune.layers.symbolic_tensor import SymbolicTensor

TRAITS = {
    "layer": "a layer of Keras computes the same, and can be quantized",
    "positive": "its result is never below zero where its operands are not",
}


@dataclass(frozen=True)
class OperationKind:
    """What an operation is. What is None is not known.

    Attributes:
        propagate: a call -> what comes out, as of `LayerKind`.
        resize: (call, results, channels that are kept) -> the arguments that change, by their
            names in both Kerases. Where None, none do.
        linearize: the operation in a model that is a sum over paths.
        traits: some of `TRAITS`.
    """

    propagate: Callable[[LayerCall], Any] | None = None
    resize: Callable[[LayerCall, list[SymbolicTensor], KeptChannels], Sizes] | None = None
    linearize: Callable[..., Any] | None = None
    traits: frozenset[str] = frozenset()


UNKNOWN = OperationKind()
_KINDS: dict[str, OperationKind] = {}


def operation_kind(name: str | None) -> OperationKind:
    """The record of an operation by its name in lower case; `UNKNOWN` if there is none."""
    return UNKNOWN if name is None else _KINDS.get(name, UNKNOWN)


def sizes(name: str, step: LayerCall, results: list[SymbolicTensor], kept: KeptChannels) -> Sizes:
    """The arguments of an operation that change, by their names in both Kerases.

    Args:
        name: of the operation, in lower case.

    Raises:
        Unsupported: the operation cannot do the same with fewer channels.
    """
    change = operation_kind(name).resize
    if change is None or all(kept.shape(one) == one.shape for one in (*step.values, *results)):
        return {}
    return change(step, results, kept)


def _register(names: str, kind: OperationKind) -> None:
    _KINDS.update(dict.fromkeys(names.split(), kind))


def _propagated(names: str, propagate: Callable[[LayerCall], Any]) -> None:
    _register(names, OperationKind(propagate))


_ELEMENTWISE = OperationKind(operations.elementwise)
_LAYER = frozenset({"layer"})
_SIGN = frozenset({"positive"})
_register(
    """
    add_v2 addn add_n biasadd cast ceil clipbyvalue cos cosh div_no_nan divide_no_nan divnonan
    equal erf erfc expm1 floor floor_div floor_mod floordiv floormod greater greater_equal
    greaterequal hardshrink hardtanh hard_swish identity isfinite isinf isnan less less_equal
    lessequal log1p log_sigmoid logaddexp logical_and logical_not logical_or logicaland logicalnot
    logicalor logsigmoid mod mulnonan multiply_no_nan neg not_equal notequal ones_like oneslike pow
    power realdiv reciprocal rint round rsqrt rsub select selectv2 sign sin sinh softshrink
    squared_difference squareddifference squareplus stop_gradient stopgradient tan tanhshrink
    threshold where where_v2 xdivy xlogy zeros_like zeroslike
    """,
    _ELEMENTWISE,
)
_register(
    """
    abs absolute celu clip clip_by_value elu exp gelu hard_sigmoid hard_silu hardsigmoid hardsilu
    hardswish leaky_relu leakyrelu log negative relu relu6 selu sigmoid silu softplus softsign sqrt
    square swish tanh
    """,
    replace(_ELEMENTWISE, linearize=linearize.identity),
)
_TOTAL = replace(_ELEMENTWISE, linearize=linearize.total)
_register("add addv2 maximum minimum", replace(_TOTAL, traits=_LAYER | _SIGN))
_register("subtract", replace(_TOTAL, traits=_LAYER))
_register("sub", _TOTAL)
_PRODUCT = replace(_ELEMENTWISE, linearize=linearize.product)
_register("multiply", replace(_PRODUCT, traits=_LAYER | _SIGN))
_register("mul", _PRODUCT)
_register(
    "div divide true_divide truediv truedivide", replace(_ELEMENTWISE, linearize=linearize.quotient)
)
_register("log_softmax logsoftmax softmax", OperationKind(softmax, linearize=linearize.identity))
_propagated("softmax_v2", softmax)
_propagated(
    """
    all amax amin any logsumexp max mean min prod reduce_all reduce_any reduce_logsumexp reduce_max
    reduce_mean reduce_min reduce_prod reduce_std reduce_sum reduce_variance std sum var
    """,
    operations.reduction,
)
_register("concat concatenate", OperationKind(concatenate, traits=_LAYER | _SIGN))
_register("einsum", OperationKind(contraction.einsum, traits=_LAYER))
_register("matmul", OperationKind(contraction.matmul, traits=_LAYER))
_register("reshape", OperationKind(reshape, resizing_operations.reshape, traits=_SIGN))
_register("flatten", OperationKind(traits=_SIGN))
_register("split", OperationKind(operations.split, resizing_operations.split))
_register("getitem", OperationKind(operations.getitem, resizing_operations.getitem))
_propagated("expand_dims expand_dims_v2 expanddims squeeze", reshape)
_propagated("along flip reverse", rearrange.along)
_propagated("broadcast_to broadcastto", rearrange.broadcast_to)
_propagated("depth_to_space depthtospace", rearrange.depth_to_space)
_propagated("space_to_depth spacetodepth", rearrange.space_to_depth)
_propagated("gather take", rearrange.take)
_propagated("roll", rearrange.roll)
_propagated("stack", rearrange.stack)
_propagated("swapaxes", rearrange.swap)
_propagated("tile", rearrange.tile)
_propagated("unstack", rearrange.unstack)
_propagated("pad", operations.pad)
_propagated("resize", operations.resize)
_propagated("shape shape_v2", operations.sizes)
_propagated("transpose", operations.transpose)
_propagated("variable", operations.own_variable)
_propagated("convert_to_tensor converttotensor", same)
