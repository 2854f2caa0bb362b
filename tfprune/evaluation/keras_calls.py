# SPDX-License-Identifier: Apache-2.0
"""Calls of a Keras model of either kind in inference, without changing it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf

from tflite_export.convert.representative_data import named
from tflite_export.convert.signature import flattened, layers_of, signature
from tfprune.backend import adapter_of_model


class Call:
    """A model as a function of arrays.

    Args:
        model: built, of either Keras.
        name: for errors.
        example: inputs of some examples; a subclassed model may not know what it takes.

    Attributes:
        fixed: the size of its batches, where the model fixes it, else None.

    Raises:
        ValueError: not built; a stateful recurrent layer; other inputs than the model takes.
    """

    def __init__(self, model: Any, name: str, example: Any):
        self._name, adapter = name, adapter_of_model(model)
        if not model.built:
            raise ValueError(
                f"{name!r}: the model is not built, so it has no weights; call it "
                "once on an example."
            )
        for layer in layers_of(model):
            if hasattr(layer, "unroll") and getattr(layer, "stateful", False):
                raise ValueError(
                    f"{name!r}: the layer {layer.name!r} keeps a state from batch to "
                    "batch, so that outputs depend on the order of the examples; "
                    "build the model with stateful=False and the same weights."
                )
        self.signature = signature(model, example)
        specs = tf.nest.flatten(adapter.input_specs(model))
        sizes = {one.shape[0] for one in specs if one is not None and one.shape.rank}
        self.fixed = sizes.pop() if len(sizes) == 1 else None

        def run(tensors):
            found, _ = flattened(model, model(self.signature.pack(tensors), training=False))
            return [tf.cast(one, tf.float32) for one in found]

        self._run = tf.function(run, autograph=False)
        self._traced: dict[tuple, Callable] = {}

    def arrays(self, inputs: Any) -> dict[str, np.ndarray]:
        """{input name: array} in the types that the model takes.

        Raises:
            ValueError: other inputs than it takes.
        """
        known, found = self.signature, {}
        try:
            given = named(inputs, known)
        except ValueError as error:
            raise ValueError(f"{self._name!r}: {error}") from error
        for name, shape, dtype in zip(known.names, known.shapes, known.dtypes, strict=True):
            found[name] = fitting(np.asarray(given[name]), shape, dtype, self._name)
        return found

    def __call__(self, inputs: Any, count: int) -> list[np.ndarray]:
        """Outputs [count, ...] in Keras' order; a batch that is fixed is filled up.

        Args:
            inputs: of `count` examples.
        """
        arrays = self.arrays(inputs)
        if self.fixed and count < self.fixed:
            arrays = {
                name: np.concatenate([array, np.repeat(array[-1:], self.fixed - count, 0)])
                for name, array in arrays.items()
            }
        tensors = {name: tf.constant(array) for name, array in arrays.items()}
        shapes = tuple(array.shape[1:] for array in arrays.values())
        if shapes not in self._traced:
            # Traced by name: TensorFlow warns of functions that are traced for many models.
            self._traced[shapes] = self._run.get_concrete_function(
                {
                    name: tf.TensorSpec((self.fixed, *array.shape[1:]), array.dtype)
                    for name, array in arrays.items()
                }
            )
        return [one.numpy()[:count] for one in self._traced[shapes](tensors)]


def fitting(array: np.ndarray, shape: tuple, dtype: str, name: str) -> np.ndarray:
    """An input in the type that a network takes; whole numbers are rounded to.

    Args:
        array: [examples, ...].
        shape: (examples, ...) as the network takes it, None = any size.
        dtype: as the network takes it.
        name: of the network.

    Raises:
        ValueError: another shape.
    """
    fits = array.ndim == len(shape) and all(
        want in (None, got) for want, got in zip(shape[1:], array.shape[1:], strict=True)
    )
    if not fits:
        wanted = ", ".join("any" if size is None else str(size) for size in shape[1:])
        raise ValueError(
            f"{name!r} takes inputs of shape [{wanted}] for each example, but the "
            f"data has {list(array.shape[1:])}."
        )
    kind = np.dtype("float32" if dtype in ("float16", "bfloat16") else dtype)
    if kind.kind in "iu" and array.dtype.kind == "f":
        limits = np.iinfo(kind)
        array = np.clip(np.rint(array), limits.min, limits.max)
    return np.asarray(array, kind)
