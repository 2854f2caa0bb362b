# SPDX-License-Identifier: Apache-2.0
"""Random inputs for a model, from nothing but its own input specification."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Sequence

import tensorflow as tf

from tfprune.layers.base import kind_of
from tfprune.reconstruction.points import Visit
from tfprune.reconstruction.settings import SyntheticInputs

_BYTES = 256


@dataclass(frozen=True)
class Source:
    """Draws batches for a model.

    Attributes:
        specs: of its inputs, in the model's own structure, all sizes known.
        settings: how they are drawn.
        vocabularies: for each input, flat: the number of tokens; None: it is not read as tokens.
    """

    specs: Any
    settings: SyntheticInputs
    vocabularies: tuple[int | None, ...]

    def draw(self, seed: Any) -> Any:
        """One batch; the same for the same seed, two integers [2]."""
        parts = []
        for index, spec in enumerate(tf.nest.flatten(self.specs)):
            parts.append(self._drawn(spec, self.vocabularies[index], seed + [0, index << 20]))
        return tf.nest.pack_sequence_as(self.specs, parts)

    def zeros(self) -> Any:
        """A batch of zeros, which any model takes."""
        return tf.nest.map_structure(lambda spec: tf.zeros(spec.shape, spec.dtype), self.specs)

    def read(self, visits: Sequence[Visit], given: Any) -> "Source":
        """The source that knows which inputs are tokens, once the model has run on `given`."""
        limits = [visit.layer.input_dim for visit in visits if _is_embedding(visit.layer)]
        sizes = []
        for spec, part in zip(tf.nest.flatten(self.specs), tf.nest.flatten(given), strict=True):
            readers = [
                visit.layer.input_dim
                for visit in visits
                if _is_embedding(visit.layer) and any(one is part for one in visit.inputs)
            ]
            is_whole = spec.dtype.is_integer
            known = min(readers) if readers else min(limits, default=_BYTES) if is_whole else None
            sizes.append(None if known is None else self.settings.tokens or known)
        return Source(self.specs, self.settings, tuple(sizes))

    def _drawn(self, spec: tf.TensorSpec, tokens: int | None, seed: Any) -> tf.Tensor:
        if spec.dtype == tf.bool:
            return tf.random.stateless_uniform(spec.shape, seed, 0, 2, tf.int32) > 0
        if tokens is not None:
            drawn = tf.random.stateless_uniform(spec.shape, seed, 0, tokens, tf.int32)
            return tf.cast(drawn, spec.dtype)
        if self.settings.kind == "normal":
            drawn = tf.random.stateless_normal(spec.shape, seed)
        elif self.settings.kind == "clouds" and spec.shape.rank in (3, 4):
            drawn = clouds(tuple(spec.shape), seed)
        else:
            whole = tf.random.stateless_uniform(spec.shape, seed, 0, _BYTES, tf.int32)
            drawn = tf.cast(whole, tf.float32)
        return tf.cast(drawn * self.settings.scale, spec.dtype)


def clouds(shape: tuple[int, ...], seed: Any) -> tf.Tensor:
    """Images whose neighbours are alike: whole numbers from 0 to 255, float32.

    Each is a sum of noise of all sizes, from single pixels to the whole image, twice as strong
    with every doubling, as the spectrum of photographs has it; channels share most of it.

    Args:
        shape: [batch, height, width, channels] or [batch, length, channels].
        seed: two integers [2].
    """
    batch, height, channels = shape[0], shape[1], shape[-1]
    width = shape[2] if len(shape) == 4 else 1

    def noise(number, size, low, high):
        return tf.random.stateless_uniform([batch, *size], seed + [0, number], low, high)

    total, cells = tf.zeros([]), 1
    for octave in range(max(height, width).bit_length() + 1):
        size = min(cells, height), min(cells, width)
        grey = noise(3 * octave, (*size, 1), -1.0, 1.0)
        colour = noise(3 * octave + 1, (*size, channels), -0.3, 0.3)
        total += tf.image.resize(grey + colour, (height, width)) / cells
        cells *= 2
    mean, variance = tf.nn.moments(total, [1, 2, 3], keepdims=True)
    contrast, level = noise(2, (1, 1, 1), 20.0, 80.0), noise(5, (1, 1, 1), 70.0, 180.0)
    values = (total - mean) * tf.math.rsqrt(variance + 1e-6) * contrast + level
    return tf.reshape(tf.clip_by_value(tf.round(values), 0.0, _BYTES - 1.0), shape)


def source(specs: Any, settings: SyntheticInputs, name: str) -> Source:
    """The source for a model of these input specifications.

    Args:
        specs: `tf.TensorSpec`s in the structure of the inputs; None: not known.
        settings: how inputs are drawn.
        name: of the model.

    Raises:
        ValueError: specifications are not known, or leave sizes open that nobody gives, or are of
            a type that cannot be drawn.
    """
    if specs is None:
        raise ValueError(
            f"It is not known what inputs the model {name!r} takes, so none can be made up: write "
            "it as a functional or Sequential model, or call it on a single array or dictionary "
            "of arrays before."
        )
    whole = tf.nest.map_structure(lambda spec: _whole(spec, settings, name), specs)
    return Source(whole, settings, (None,) * len(tf.nest.flatten(whole)))


def _whole(spec: Any, settings: SyntheticInputs, name: str) -> tf.TensorSpec:
    dtype = tf.as_dtype(spec.dtype)
    if not (dtype.is_floating or dtype.is_integer or dtype == tf.bool):
        raise ValueError(
            f"The model {name!r} takes inputs of type {dtype.name}, which cannot be "
            "drawn at random: prune the part of it behind their conversion."
        )
    batch, *sizes = tuple(spec.shape)
    if None in sizes and settings.size is None:
        raise ValueError(
            f"The model {name!r} takes inputs of shape {tuple(spec.shape)}: say what stands for "
            "the open sizes, get_method('admm', solver=ADMM(inputs=SyntheticInputs(size=32)))."
        )
    sizes = [settings.size if size is None else size for size in sizes]
    return tf.TensorSpec([batch or settings.batch, *sizes], dtype)


def _is_embedding(layer: Any) -> bool:
    return kind_of(layer).name == "Embedding" and isinstance(getattr(layer, "input_dim", None), int)
