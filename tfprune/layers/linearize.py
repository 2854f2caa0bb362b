# SPDX-License-Identifier: Apache-2.0
"""Forward passes of layers in a linearised model: a sum over paths from input to output.

Kernels hold absolute values, inputs are ones, and every layer passes on what flows through it in
proportion: activations and dropout as they are, normalizations by their scale alone, products of
two activations as sums.

Attention multiplies queries, keys and values; a path passes through one of the three, and each of
them has an equal part in what comes out:

    out[t, d] = mean over d' of q[t, d'] + mean over s and d' of k[s, d'] + mean over s of v[s, d]

A recurrent cell applies its weights again at every step, and its gates multiply: no sum over paths
that pass each weight once. Its own weights get no flow; other layers' flow passes through its
input weights, and the state is the sum of what came in:

    h[t] = h[t - 1] + x[t] mean over the gates of |W|
"""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
import tensorflow as tf

from tfprune.layers.base import kind_of

LUONG = ("...sd,...td->...ts", "...ts,...sd->...td")


def identity(layer: Any, inputs: Any, *args: Any, **kwargs: Any) -> Any:
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
    activations: list[Any] = []
    constants: list[Any] = []
    for part, origin in zip(parts, origins, strict=True):
        is_activation = tf.is_tensor(part) and origin == "KerasTensor"
        (activations if is_activation else constants).append(part)
    return activations, constants


def total(operation: Any, *args: Any, **kwargs: Any) -> Any:
    """Sum of the activations; constants are biases."""
    return functools.reduce(tf.add, _parts(operation, args, kwargs)[0])


def product(operation: Any, *args: Any, **kwargs: Any) -> Any:
    """Product with constants; of two activations the sum, as a path passes through either."""
    activations, constants = _parts(operation, args, kwargs)
    product = functools.reduce(tf.add, activations)
    for part in constants:
        if isinstance(part, (int, float, np.ndarray, tf.Tensor)) and not isinstance(part, bool):
            product = product * tf.abs(tf.cast(part, product.dtype))
    return product


def quotient(operation: Any, *args: Any, **kwargs: Any) -> Any:
    """Quotient by a constant; by an activation the sum, as of a product."""
    activations, _ = _parts(operation, args, kwargs)
    divisor = args[1] if len(args) > 1 else kwargs.get("x2", kwargs.get("y"))
    if len(activations) > 1 or divisor is None or divisor is activations[0]:
        return functools.reduce(tf.add, activations)
    return tf.math.divide_no_nan(activations[0], tf.abs(tf.cast(divisor, activations[0].dtype)))


def normalized(layer: Any, inputs: Any, *args: Any, **kwargs: Any) -> Any:
    """x |gamma| / sqrt(moving variance + epsilon); without what there is none of."""
    factor = scale(layer, inputs.dtype)
    return inputs if factor is None else inputs * _along(factor, getattr(layer, "axis", -1), inputs)


SCALES = ("gamma", "scale", "moving_variance")
"""Under which names normalizations hold them: Keras 3's RMSNormalization has a `scale`."""


def scale(layer: Any, dtype: Any) -> Any:
    """By what a normalization multiplies each channel; None: it has no scale of its own."""
    *gammas, variance = (_tensor(getattr(layer, name, None)) for name in SCALES)
    factor = next((tf.abs(tf.cast(held, dtype)) for held in gammas if tf.is_tensor(held)), None)
    if variance is None:
        return factor
    deviation = tf.math.rsqrt(tf.abs(tf.cast(variance, dtype)) + layer.epsilon)
    return deviation if factor is None else factor * deviation


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


def lookup(layer: Any, inputs: Any, *args: Any, **kwargs: Any) -> Any:
    """Every token at once: an input of ones, over the vocabulary, too."""
    table = _tensor(layer.embeddings)
    column = tf.reduce_sum(table, 0)
    return tf.broadcast_to(column, tf.concat([tf.shape(inputs), [table.shape[1]]], 0))


def attended(
    layer: Any, query: Any, key: Any, value: Any, *args: Any, **kwargs: Any
) -> tuple[Any, Any]:
    """In place of `_compute_attention` of attention with several heads.

    Returns:
        The output and the scores.
    """
    is_grouped = kind_of(layer).name == "GroupedQueryAttention"
    operands = (query, key) if is_grouped else (key, query)
    axes = len(getattr(layer, "_attention_axes", None) or (1,))
    return _combined((layer._dot_product_equation, layer._combine_equation), operands, value, axes)


def attention(
    layer: Any, inputs: Any, *args: Any, return_attention_scores: bool = False, **kwargs: Any
) -> Any:
    """In place of the call of `Attention` and `AdditiveAttention`: inputs [query, value, key]."""
    query, value = inputs[:2]
    key = inputs[2] if len(inputs) > 2 else value
    output, scores = _combined(LUONG, (key, query), value, 1)
    return (output, scores) if return_attention_scores else output


def _combined(
    equations: tuple[str, str], operands: tuple[Any, Any], value: Any, axes: int
) -> tuple[Any, Any]:
    scores = _added(equations[0], *operands) / operands[0].shape[-1]
    count = tf.cast(tf.reduce_prod(tf.shape(scores)[-axes:]), scores.dtype)
    return _added(equations[1], scores, value) / count, scores


def _added(equation: str, first: Any, second: Any) -> Any:
    """The product with the sum of two entries in place of their product."""
    return tf.einsum(equation, first, tf.ones_like(second)) + tf.einsum(
        equation, tf.ones_like(first), second
    )


def stepped(cell: Any, inputs: Any, states: Any, *args: Any, **kwargs: Any) -> tuple[Any, Any]:
    """In place of the call of a recurrent cell.

    Returns:
        The output and the states after this step.
    """
    kernel = tf.cast(tf.convert_to_tensor(cell.kernel), inputs.dtype)
    state = tf.nest.flatten(states)[0]
    units = state.shape[-1]
    gates = kernel.shape[-1] // units
    kernel = tf.reduce_mean(tf.reshape(kernel, [*kernel.shape[:-1], gates, units]), -2)
    if hasattr(cell, "input_conv"):
        entering = cell.input_conv(inputs, kernel, None, padding=cell.padding)
    else:
        entering = tf.matmul(inputs, kernel)
    state = state + entering
    return state, tf.nest.map_structure(lambda _: state, states)
