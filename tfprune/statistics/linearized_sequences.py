# SPDX-License-Identifier: Apache-2.0
"""What attention and recurrent cells do in a linearised model: sums in place of their products.

Attention multiplies queries, keys and values; a path passes through one of the three, and each of
them has an equal part in what comes out:

    out[t, d] = mean over d' of q[t, d'] + mean over s and d' of k[s, d'] + mean over s of v[s, d]

A recurrent cell applies its weights again at every step, and its gates multiply: no sum over paths
that pass each weight once. Its own weights get no flow; other layers' flow passes through its
input weights, and the state is the sum of what came in:

    h[t] = h[t - 1] + x[t] mean over the gates of |W|
"""

from __future__ import annotations

from typing import Any

import tensorflow as tf

LUONG = ("...sd,...td->...ts", "...ts,...sd->...td")


def attended(
    layer: Any, query: Any, key: Any, value: Any, *args: Any, **kwargs: Any
) -> tuple[Any, Any]:
    """In place of `_compute_attention` of attention with several heads.

    Returns:
        The output and the scores.
    """
    names = {cls.__name__ for cls in type(layer).__mro__}
    operands = (query, key) if "GroupedQueryAttention" in names else (key, query)
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
