# SPDX-License-Identifier: Apache-2.0
"""Layers in another form that computes the same, of which the converter makes better operators."""

from __future__ import annotations

import uuid
from collections.abc import Callable

from tflite_export.convert.signature import is_own

__all__ = ["fused", "stand_in"]


def stand_in(layer) -> Callable | None:
    """A function to trace in place of `layer.call`; None = the layer as it is.

    Args:
        layer: of either Keras. Only Keras' own classes have stand-ins: a subclass may compute
            something else.
    """
    maker = _MAKERS.get(type(layer).__name__)
    return maker(layer) if maker is not None and is_own(layer) else None


def _upsampling_2d(layer) -> Callable | None:
    """Keras 3 repeats rows and columns (TILE); RESIZE_NEAREST_NEIGHBOR is one operator."""
    if layer.interpolation != "nearest" or layer.data_format != "channels_last":
        return None
    return lambda inputs: _repeated(inputs, layer.size)


def _upsampling_1d(layer) -> Callable:
    """Keras 3 repeats by TILE, tf_keras splits and joins every step."""
    import tensorflow as tf

    return lambda inputs: tf.squeeze(_repeated(tf.expand_dims(inputs, 2), (int(layer.size), 1)), 2)


def _embedding(layer) -> Callable | None:
    """Keras 3 counts negative indices from the end (SELECT); the layer is defined for others."""
    import tensorflow as tf

    if not layer.built or getattr(layer, "quantization_mode", None) is not None:
        return None

    def call(inputs):
        whole = inputs if inputs.dtype in (tf.int32, tf.int64) else tf.cast(inputs, tf.int32)
        return tf.cast(tf.gather(layer.embeddings, whole), layer.compute_dtype)

    return call


def _repeated(images, times: tuple[int, int]):
    """Every row and column of images [batch, height, width, channels] so many times."""
    import tensorflow as tf

    sizes = images.shape[1:3] if None not in images.shape[1:3] else tf.shape(images)[1:3]
    return tf.image.resize(
        images, [sizes[0] * times[0], sizes[1] * times[1]], tf.image.ResizeMethod.NEAREST_NEIGHBOR
    )


_MAKERS = {"Embedding": _embedding, "UpSampling1D": _upsampling_1d, "UpSampling2D": _upsampling_2d}


def fused(layer) -> Callable | None:
    """A function to trace in place of `layer.call` that becomes UNIDIRECTIONAL_SEQUENCE_LSTM.

    The operator keeps its state between calls of the file, and begins with zeros: layers with
    masks, with a first state of their own, or that return theirs, are called as they are.

    Args:
        layer: of either Keras; None is returned for all but Keras 3's LSTM of the usual kind.
    """
    if type(layer).__name__ != "LSTM" or not is_own(layer) or hasattr(layer, "time_major"):
        return None
    names = [
        getattr(chosen, "__name__", "") for chosen in (layer.activation, layer.recurrent_activation)
    ]
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
    function = tf.function(
        _lstm,
        autograph=False,
        experimental_attributes={
            "api_implements": f"lstm_{uuid.uuid4()}",
            "api_preferred_device": "CPU",
            "time_major": False,
            "go_backwards": False,
        },
    )
    last, outputs, *_ = function(
        sequences,
        state,
        state,
        *map(tf.convert_to_tensor, (cell.kernel, cell.recurrent_kernel, bias)),
    )
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
