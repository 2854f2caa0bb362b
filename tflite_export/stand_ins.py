# SPDX-License-Identifier: Apache-2.0
"""Layers in another form that computes the same, of which the converter makes better operators."""

from __future__ import annotations

from collections.abc import Callable

from tflite_export.keras_models import is_own

__all__ = ["stand_in"]


def stand_in(layer) -> Callable | None:
    """What may be traced in place of `layer.call`, or None: the layer as it is.

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

    return lambda inputs: tf.squeeze(
        _repeated(tf.expand_dims(inputs, 2), (int(layer.size), 1)), 2)


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
        images, [sizes[0] * times[0], sizes[1] * times[1]], tf.image.ResizeMethod.NEAREST_NEIGHBOR)


_MAKERS = {
    "Embedding": _embedding, "UpSampling1D": _upsampling_1d, "UpSampling2D": _upsampling_2d,
}
