# SPDX-License-Identifier: Apache-2.0
"""What each layer does in a linearised model: one that is a sum over paths from input to output.

Kernels hold absolute values, inputs are ones, and every layer passes on what flows through it in
proportion: activations and dropout as they are, normalizations by their scale alone, products of
two activations, attention's too, as sums. Layers without a row here (convolutions, pooling,
reshaping, adding, matrix products, ...) are called as they are.
"""

from __future__ import annotations

import functools
from typing import Any, Callable

import numpy as np
import tensorflow as tf

from tfprune.backend.substitute import Change, around
from tfprune.statistics.linearized_sequences import attended, attention, stepped


def changes(operations: list[Any], cut: Callable) -> list[Change]:
    """The changes of attributes that linearise layers and operations.

    Args:
        operations: all of a model.
        cut: function of one tensor that every layer's output passes through.
    """
    found = []
    for operation in operations:
        rule = _rule(operation)
        own = type(operation).__module__.split(".")[0] not in ("keras", "tf_keras")
        if callable(vars(operation).get("activation")):
            found.append((operation, "activation", _itself))
        if hasattr(operation, "_compute_attention"):
            found.append((operation, "_compute_attention", functools.partial(attended, operation)))
        for fused in ("use_cudnn", "_could_use_gpu_kernel"):  # would go past the cell
            if hasattr(operation, fused):
                found.append((operation, fused, False))
        if rule is not None or not own:
            found.append(around(operation, _forward(operation, rule, cut)))
    return found


def refusal(layer: Any) -> str | None:
    """Why no flow can be measured through a layer; None if it can."""
    if {cls.__name__ for cls in type(layer).__mro__} & set(_CELLS):
        return (
            f"{type(layer).__name__} applies its weights again at every step: the flow through it "
            "is no sum over paths"
        )
    return None


def _itself(x: Any, *args: Any, **kwargs: Any) -> Any:
    return x


def _forward(layer: Any, rule: Callable | None, cut: Callable) -> Callable:
    is_whole = hasattr(layer, "layers")  # a model in a model; its layers are cut

    def forward(call, *args, **kwargs):
        outputs = call(*args, **kwargs) if rule is None else rule(layer, *args, **kwargs)
        return cut(outputs) if tf.is_tensor(outputs) and not is_whole else outputs

    return forward


def _identity(layer: Any, inputs: Any, *args: Any, **kwargs: Any) -> Any:
    return inputs


def _parts(operation: Any, args: Any, kwargs: Any) -> tuple[list[Any], list[Any]]:
    """The activations among the arguments of an operation, and its constants.

    Constants may be tensors, too; the graph tells them apart.
    """
    parts = tf.nest.flatten((args, kwargs))
    node = next(iter(getattr(operation, "_inbound_nodes", None) or ()), None)
    held = getattr(node, "arguments", None)  # Keras 3
    made = (
        (held.args, held.kwargs)
        if held is not None
        else (getattr(node, "call_args", ()), getattr(node, "call_kwargs", {}))
    )
    origins = [type(part).__name__ for part in tf.nest.flatten(made)]
    if len(origins) != len(parts):
        origins = ["KerasTensor"] * len(parts)
    activations, constants = [], []
    for part, origin in zip(parts, origins):
        is_activation = tf.is_tensor(part) and origin == "KerasTensor"
        (activations if is_activation else constants).append(part)
    return activations, constants


def _sum(operation: Any, *args: Any, **kwargs: Any) -> Any:
    """Sum of the activations; constants are biases."""
    return functools.reduce(tf.add, _parts(operation, args, kwargs)[0])


def _product(operation: Any, *args: Any, **kwargs: Any) -> Any:
    """Product with constants; of two activations the sum, as a path passes through either."""
    activations, constants = _parts(operation, args, kwargs)
    product = functools.reduce(tf.add, activations)
    for part in constants:
        if isinstance(part, (int, float, np.ndarray, tf.Tensor)) and not isinstance(part, bool):
            product = product * tf.abs(tf.cast(part, product.dtype))
    return product


def _quotient(operation: Any, *args: Any, **kwargs: Any) -> Any:
    """Quotient by a constant; by an activation the sum, as of a product."""
    activations, _ = _parts(operation, args, kwargs)
    divisor = args[1] if len(args) > 1 else kwargs.get("x2", kwargs.get("y"))
    if len(activations) > 1 or divisor is None or divisor is activations[0]:
        return functools.reduce(tf.add, activations)
    return tf.math.divide_no_nan(activations[0], tf.abs(tf.cast(divisor, activations[0].dtype)))


def _normalized(layer: Any, inputs: Any, *args: Any, **kwargs: Any) -> Any:
    """x |gamma| / sqrt(moving variance + epsilon); without the variance where there is none."""
    gamma = next(
        (
            held
            for name in ("gamma", "scale")  # Keras 3's RMSNormalization has a `scale`
            if tf.is_tensor(held := _tensor(getattr(layer, name, None)))
        ),
        None,
    )
    variance = getattr(layer, "moving_variance", None)
    factor = tf.ones((), inputs.dtype)
    if gamma is not None:
        factor = tf.abs(tf.cast(gamma, inputs.dtype))
    if variance is not None:
        factor = factor * tf.math.rsqrt(
            tf.abs(tf.cast(_tensor(variance), inputs.dtype)) + layer.epsilon
        )
    return inputs * _along(factor, getattr(layer, "axis", -1), inputs)


def _tensor(held: Any) -> Any:
    """The value of a variable; what is none (None, a setting) as it is."""
    return tf.convert_to_tensor(held) if hasattr(held, "shape") else held


def _along(factor: Any, axis: Any, inputs: Any) -> Any:
    """The factor with its axes put where `axis` says, to be multiplied with the inputs."""
    axes = [axis] if isinstance(axis, int) else list(axis)
    rank = inputs.shape.rank
    places = [place % rank for place in axes]
    if factor.shape.rank != len(places):
        return factor
    shape = [inputs.shape[place] if place in places else 1 for place in range(rank)]
    return tf.reshape(factor, shape)


def _lookup(layer: Any, inputs: Any, *args: Any, **kwargs: Any) -> Any:
    """Every token at once: an input of ones, over the vocabulary, too."""
    table = _tensor(layer.embeddings)
    column = tf.reduce_sum(table, 0)
    return tf.broadcast_to(column, tf.concat([tf.shape(inputs), [table.shape[1]]], 0))


def _rule(operation: Any) -> Callable | None:
    symbol = getattr(operation, "symbol", None)  # an operation in a graph of tf_keras
    if symbol is not None:
        return _OPERATIONS.get(symbol.split(".")[-1].strip("_").lower())
    home = type(operation).__module__
    if home.startswith("keras.src.ops"):
        return _OPERATIONS.get(type(operation).__name__.lower())
    for cls in type(operation).__mro__:
        if cls.__module__.split(".")[0] in ("keras", "tf_keras") and cls.__name__ in _LAYERS:
            return _LAYERS[cls.__name__]
    return None


_CELLS = (
    "SimpleRNNCell",
    "LSTMCell",
    "GRUCell",
    "ConvLSTMCell",
    "ConvLSTM1DCell",
    "ConvLSTM2DCell",
    "ConvLSTM3DCell",
)

_LAYERS: dict[str, Callable] = {
    **dict.fromkeys(
        (
            "Activation",
            "ReLU",
            "LeakyReLU",
            "PReLU",
            "ELU",
            "ThresholdedReLU",
            "Softmax",
            "Dropout",
            "SpatialDropout1D",
            "SpatialDropout2D",
            "SpatialDropout3D",
            "AlphaDropout",
            "GaussianDropout",
            "GaussianNoise",
            "ActivityRegularization",
            "Masking",
            "Rescaling",
            "Normalization",
            "UnitNormalization",
            "RandomFlip",
            "RandomRotation",
            "RandomZoom",
            "RandomTranslation",
            "RandomContrast",
            "RandomBrightness",
            "RandomColorJitter",
        ),
        _identity,
    ),
    **dict.fromkeys(
        (
            "BatchNormalization",
            "SyncBatchNormalization",
            "LayerNormalization",
            "GroupNormalization",
            "RMSNormalization",
        ),
        _normalized,
    ),
    **dict.fromkeys(("Subtract", "Multiply"), _sum),
    "Embedding": _lookup,
    **dict.fromkeys(("Attention", "AdditiveAttention"), attention),
    **dict.fromkeys(_CELLS, stepped),
}

_OPERATIONS: dict[str, Callable] = {
    **dict.fromkeys(
        (
            "relu",
            "relu6",
            "silu",
            "swish",
            "gelu",
            "elu",
            "selu",
            "sigmoid",
            "hardsigmoid",
            "hard_sigmoid",
            "hardswish",
            "hardsilu",
            "hard_silu",
            "leakyrelu",
            "leaky_relu",
            "softplus",
            "softsign",
            "tanh",
            "softmax",
            "logsoftmax",
            "log_softmax",
            "celu",
            "sqrt",
            "square",
            "abs",
            "absolute",
            "negative",
            "clip",
            "clip_by_value",
            "exp",
            "log",
        ),
        _identity,
    ),
    **dict.fromkeys(("add", "addv2", "subtract", "sub", "maximum", "minimum"), _sum),
    **dict.fromkeys(("multiply", "mul"), _product),
    **dict.fromkeys(("divide", "truediv", "true_divide", "div"), _quotient),
}
