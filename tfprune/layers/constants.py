# SPDX-License-Identifier: Apache-2.0
"""Where the kernels that read channels stand, and what each adds to its output for a constant."""

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


def readers(model: Any, adapter: Any, wanted: set[int]) -> list[Reader]:
    """The readers among all variables of a model, by the ids of the kernels."""
    found: dict[int, Reader] = {}

    def visit(layer: Any, chain: tuple[Any, ...]) -> None:
        for sub in adapter.sublayers(layer):
            inner = (*chain, sub)
            visit(sub, inner)
            for weight in getattr(sub, "weights", ()):
                raw = adapter.raw(weight)
                if id(raw) in wanted and id(raw) not in found:
                    heard = chain[-1] if kind_of(sub).gates else sub
                    found[id(raw)] = Reader(sub, heard, raw, inner, adapter)

    visit(model, ())
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
