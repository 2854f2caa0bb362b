# SPDX-License-Identifier: Apache-2.0
"""Keras 3's LSTM in the form that the converter makes one operator of, as it does of tf_keras'."""

from __future__ import annotations

import uuid
from collections.abc import Callable

from tflite_export.keras_models import is_own

__all__ = ["fused"]


def fused(layer) -> Callable | None:
    """What may be traced in place of `layer.call` where UNIDIRECTIONAL_SEQUENCE_LSTM is wanted.

    The operator keeps its state between calls of the file, and begins with zeros: layers with
    masks, with a first state of their own, or that return theirs, are called as they are.

    Args:
        layer: of either Keras; None is returned for all but Keras 3's LSTM of the usual kind.
    """
    if type(layer).__name__ != "LSTM" or not is_own(layer) or hasattr(layer, "time_major"):
        return None
    names = [getattr(chosen, "__name__", "")
             for chosen in (layer.activation, layer.recurrent_activation)]
    plain = layer.built and not (layer.unroll or layer.stateful or layer.return_state)
    if names != ["tanh", "sigmoid"] or not plain:
        return None

    def call(sequences, initial_state=None, mask=None, training=False):
        if mask is not None or initial_state is not None:
            return type(layer).call(layer, sequences, initial_state, mask, training)
        return _called(layer, sequences)

    return call


def _called(layer, sequences):
    import tensorflow as tf

    cell = layer.cell
    bias = cell.bias if cell.use_bias else tf.zeros([4 * cell.units], sequences.dtype)
    if layer.go_backwards:
        sequences = tf.reverse(sequences, [1])
    state = tf.zeros([tf.shape(sequences)[0], cell.units], sequences.dtype)
    # The converter knows the function by this attribute, and its arguments by their order.
    function = tf.function(_lstm, autograph=False, experimental_attributes={
        "api_implements": f"lstm_{uuid.uuid4()}", "api_preferred_device": "CPU",
        "time_major": False, "go_backwards": False,
    })
    last, outputs, *_ = function(
        sequences, state, state, *map(tf.convert_to_tensor, (
            cell.kernel, cell.recurrent_kernel, bias)))
    return outputs if layer.return_sequences else last


def _lstm(inputs, h, c, kernel, recurrent_kernel, bias):
    """The layer as a function of six tensors -> (last output, outputs, h, c, a name that is not
    read); gates in the order i, f, c, o."""
    import tensorflow as tf

    def step(states, x):
        gates = tf.matmul(x, kernel) + tf.matmul(states[0], recurrent_kernel) + bias
        i, f, new, o = tf.split(gates, 4, axis=1)
        carry = tf.sigmoid(f) * states[1] + tf.sigmoid(i) * tf.tanh(new)
        return tf.sigmoid(o) * tf.tanh(carry), carry

    every, carries = tf.scan(step, tf.transpose(inputs, [1, 0, 2]), (h, c))
    outputs = tf.transpose(every, [1, 0, 2])
    return every[-1], outputs, every[-1], carries[-1], tf.constant(0.0, name="runtime")
