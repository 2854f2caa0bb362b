# SPDX-License-Identifier: Apache-2.0
"""Temporary changes to a Keras model while it is traced, undone afterward."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator

from tflite_export.convert.equivalent_layers import stand_in
from tflite_export.convert.signature import layers_of

__all__ = ["in_float32", "standing_in", "unrolled"]


@contextlib.contextmanager
def in_float32(model) -> Iterator[bool]:
    """Let a model of mixed precision compute in float32 while the block runs.

    Its weights are float32 already; the converter knows few float16 kernels.

    Returns:
        A context manager; its value says whether anything had to be changed.
    """
    changed = [
        (layer, layer.dtype_policy)
        for layer in layers_of(model)
        if str(layer.compute_dtype) in ("float16", "bfloat16")
    ]
    try:
        for layer, _ in changed:
            _set_policy(layer, "float32")
        yield bool(changed)
    finally:
        for layer, policy in changed:
            _set_policy(layer, policy)


def _set_policy(layer, policy) -> None:
    if hasattr(layer, "_set_dtype_policy"):
        layer._set_dtype_policy(policy)
    else:
        layer.dtype_policy = policy


@contextlib.contextmanager
def unrolled(model) -> Iterator[None]:
    """Let recurrent layers be traced step by step instead of as a loop while the block runs."""
    looping = [layer for layer in layers_of(model) if getattr(layer, "unroll", None) is False]
    # In tf_keras this alone decides whether `unroll` is read.
    fast = [layer for layer in looping if getattr(layer, "_could_use_gpu_kernel", False)]
    try:
        for layer in looping:
            layer.unroll = True
        for layer in fast:
            layer._could_use_gpu_kernel = False
        yield
    finally:
        for layer in looping:
            layer.unroll = False
        for layer in fast:
            layer._could_use_gpu_kernel = True


@contextlib.contextmanager
def standing_in(model, *further: Callable) -> Iterator[None]:
    """Let stand-ins be traced in place of layers that have one while the block runs.

    Args:
        model: of either Keras.
        further: functions like `stand_in`, asked for layers that have none.
    """
    import tensorflow as tf

    replaced = []
    try:
        for layer in layers_of(model):
            instead = next(filter(None, (find(layer) for find in (stand_in, *further))), None)
            if instead is not None and "call" not in vars(layer):
                # Neither Keras is to track it as a part of the layer.
                vars(layer)["call"] = tf.autograph.experimental.do_not_convert(instead)
                replaced.append(layer)
        yield
    finally:
        for layer in replaced:
            del vars(layer)["call"]
