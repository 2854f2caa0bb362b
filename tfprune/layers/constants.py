# SPDX-License-Identifier: Apache-2.0
"""Kernels that read channels, and what each adds to its layer's output for a constant."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import tensorflow as tf

from tfprune.layers.base import LayerKind, kind_of, raw


@dataclass(frozen=True, eq=False)
class Reader:
    """A kernel that reads channels.

    Attributes:
        layer: the layer that holds the kernel, a cell for recurrent layers.
        heard: the layer whose call shows what the kernel reads.
        kernel: the variable.
        chain: the layers around `layer`, the outermost first, itself included.
        adapter: of their Keras.
    """

    layer: Any
    heard: Any
    kernel: Any
    chain: tuple[Any, ...]
    adapter: Any

    @property
    def kind(self) -> LayerKind:
        return kind_of(self.layer)

    def variable(self, name: str) -> Any:
        """The variable that the layer holds under a name; None if it has none."""
        return raw(self.adapter, self.layer, name)

    def worth(self, constants: np.ndarray) -> np.ndarray | str:
        """What constants along the reading axes add to the layer's output; or why none can be."""
        constant = self.kind.constant
        if constant is None:
            return f"{self.layer.name} is not known to fold constants"
        return constant(self, constants)


def readers(view: Any, wanted: set[int]) -> list[Reader]:
    """The readers among all variables of a model, by the ids of the kernels.

    Args:
        view: of the model.
    """
    found: dict[int, Reader] = {}
    for held in view.below:
        for weight in getattr(held.layer, "weights", ()):
            raw = view.backend.raw(weight)
            if id(raw) in wanted and id(raw) not in found:
                heard = held.chain[-2] if kind_of(held.layer).gates else held.layer
                found[id(raw)] = Reader(held.layer, heard, raw, held.chain, view.backend)
    return list(found.values())


def spreads(reader: Reader) -> bool:
    """Whether the border of an image is computed from other numbers than its inside."""
    layer = reader.layer
    size = getattr(layer, "kernel_size", None) or (1,)
    padding = getattr(layer, "padding", "valid")
    return padding in ("same", "causal") and max(np.atleast_1d(size)) > 1


def value_of(variable: Any) -> np.ndarray:
    """In double precision."""
    return np.asarray(variable.numpy(), np.float64)


def last(reader: Reader, inputs: Any, outputs: Any) -> tuple[Any, int]:
    """Of kernels that read the channels of one place."""
    return channels_last(reader, inputs), 1


def channels_last(reader: Reader, inputs: Any) -> Any:
    """The inputs with their channels last."""
    rank = len(inputs.shape)
    if getattr(reader.heard, "data_format", None) == "channels_first" and rank > 2:
        inputs = tf.transpose(inputs, (0, *range(2, rank), 1))
    return inputs
