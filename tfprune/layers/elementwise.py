# SPDX-License-Identifier: Apache-2.0
"""Layers that work on each value by itself: activations, noise, sums of several tensors."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from tfprune.layers.base import LayerKind, register
from tfprune.layers.call import LayerCall
from tfprune.layers.linearize import identity, total
from tfprune.layers.symbolic_tensor import SymbolicTensor, broadcast, pin_all

ELEMENTWISE = frozenset(
    """
    celu elu exp exponential gelu hard_shrink hard_sigmoid hard_silu hard_swish hard_tanh identity
    leaky_relu linear log_sigmoid mish relu relu6 selu sigmoid silu sin soft_shrink softplus
    softsign sparse_plus sparse_sigmoid squareplus swish tanh tanh_shrink threshold
    """.split()
)
"""Activations of every value by itself, by the name of the function."""
HOMOGENEOUS = frozenset({"linear", "relu", "leaky_relu"})
"""Activations with f(c x) = c f(x) for c > 0."""
ZERO_AT_ZERO = HOMOGENEOUS.union(
    """
    relu6 elu selu celu gelu silu swish tanh mish softsign hard_tanh hard_silu hard_swish
    tanh_shrink thresholded_relu
    """.split()
)
"""Activations with f(0) = 0."""
NEVER_BELOW_ZERO = frozenset("relu relu6 sigmoid hard_sigmoid softmax softplus exponential".split())


def activated(step: LayerCall, value: SymbolicTensor, function: Any) -> SymbolicTensor:
    """After an activation function; one that mixes the channels pins them."""
    name = getattr(function, "__name__", None) or type(function).__name__
    if function is not None and name not in ELEMENTWISE:
        known = name in ("softmax", "log_softmax", "sparsemax", "glu")
        reason = f"{name} mixes them" if known else f"unknown activation {name}"
        pin_all(step.book, [value], f"{reason} in {step.name}")
    return value


def same(step: LayerCall) -> SymbolicTensor:
    """Every entry stays where it is."""
    return step.value


def joined(step: LayerCall, values: list[SymbolicTensor]) -> SymbolicTensor:
    """Element by element, and recorded in the groups' paths."""
    result = broadcast(step.book, values, step.shapes[0], step.name)
    if len(values) > 1:
        for ids in result.axes:
            if ids is not None:
                step.book.passes(step.name, ids)
    return result


def _activation(step: LayerCall) -> SymbolicTensor:
    """Activation(function)."""
    return activated(step, step.value, step.operation.activation)


def softmax(step: LayerCall) -> SymbolicTensor:
    """Softmax over one axis or several."""
    axes = step.setting("axis", 99 if step.raw_kind is None else 1, -1)
    axes, value = -1 if axes is None else axes, step.value
    for axis in axes if isinstance(axes, (list, tuple)) else [axes]:
        step.book.pin(value.axes[axis], f"softmax in {step.name} mixes them")
    return value


def _prelu(step: LayerCall) -> SymbolicTensor:
    """alpha[*axes after the batch axis], 1 along shared axes."""
    layer, value = step.operation, step.value
    shared = layer.shared_axes or ()
    for axis in range(1, len(value.shape)):
        ids = None if axis in shared else value.axes[axis]
        step.member(layer, "alpha", axis - 1, ids)
    return value


def _relu_function(layer: Any) -> str:
    if float(layer.threshold):
        return "?"
    if getattr(layer, "max_value", None) is not None:
        return "relu6"
    return "leaky_relu" if float(getattr(layer, "negative_slope", 0) or 0) else "relu"


def _function_of(layer: Any) -> str:
    return getattr(layer.activation, "__name__", "?")


_FUNCTION = LayerKind(propagate=same, linearize=identity, traits=frozenset({"activation"}))
_FUSED = replace(_FUNCTION, traits=frozenset({"activation", "in_place"}))
register("Activation", replace(_FUSED, propagate=_activation, function=_function_of))
register("ReLU", replace(_FUSED, function=_relu_function))
register("LeakyReLU", replace(_FUSED, function=lambda layer: "leaky_relu"))
register(
    "PReLU",
    replace(
        _FUSED,
        propagate=_prelu,
        function=lambda layer: "leaky_relu",
        stays_dense="activation slopes are not pruned",
    ),
)
register("ELU", replace(_FUNCTION, function=lambda layer: "elu"))
register("ThresholdedReLU", replace(_FUNCTION, function=lambda layer: "thresholded_relu"))
register("Softmax", replace(_FUSED, propagate=softmax, function=lambda layer: "softmax"))


def _masking(step: LayerCall) -> SymbolicTensor:
    """A time step is masked if all of its channels have one value."""
    step.book.pin(step.value.last, f"{step.name} compares all of them")
    return step.value


_IDLE = LayerKind(propagate=same, linearize=identity, traits=frozenset({"idle", "in_place"}))
_SHOWN = replace(_IDLE, traits=_IDLE.traits | {"positive", "raw"})
register("Dropout SpatialDropout1D SpatialDropout2D SpatialDropout3D", _SHOWN)
register("Identity", replace(_SHOWN, linearize=None))
register("AlphaDropout GaussianDropout GaussianNoise ActivityRegularization", _IDLE)
register("StochasticDepth", replace(_IDLE, linearize=None))
register("Masking", LayerKind(propagate=_masking, linearize=identity))
register(
    "RandomFlip RandomRotation RandomZoom RandomTranslation RandomContrast RandomBrightness "
    "RandomColorJitter",
    LayerKind(linearize=identity),
)


def _merge(step: LayerCall) -> SymbolicTensor:
    """Add, Multiply, ...: a tensor of lower rank is repeated along its first axes."""
    shape, values = step.shapes[0], []
    for value in step.values:
        while len(value.shape) < len(shape):
            value = value.with_new(1, 1)
        values.append(value)
    return joined(step, values)


_MERGE = LayerKind(propagate=_merge, traits=frozenset({"positive", "quantizable"}))
register("Add Average Maximum Minimum", _MERGE)
register("Multiply", replace(_MERGE, linearize=total))
register("Subtract", replace(_MERGE, linearize=total, traits=frozenset({"quantizable"})))
# The scaled sums of InceptionResNetV2.
register("CustomScaleLayer", LayerKind(propagate=_merge))
