# SPDX-License-Identifier: Apache-2.0
"""The examples on which networks are compared: arrays in memory, and what is assumed of them."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import chain
from typing import Any

import numpy as np

from tfprune.evaluation.labels import classes
from tfprune.evaluation.nested import leaves, mapped
from tfprune.statistics.calibration_data import CalibrationData, Feed

_BATCH = 256


@dataclass(frozen=True, eq=False)
class Examples:
    """Inputs and labels, all at once.

    Attributes:
        inputs: an array [examples, ...], or a list or dict of such arrays as the network takes
            them.
        labels: an array [examples, ...], several in a list or dict, or None.
        scale: what white is in the images, 255.0 or 1.0; None: the inputs are no images.
        notes: what was assumed.

    Example:
        >>> images = np.full((4, 8, 8, 3), 200, np.uint8)
        >>> examples = Examples.of((images, np.eye(4)))
        >>> len(examples), examples.labels, examples.scale
        (4, array([0, 1, 2, 3]), 255.0)
    """

    inputs: Any
    labels: Any = None
    scale: float | None = None
    notes: tuple[str, ...] = field(default=())

    @classmethod
    def of(cls, data: Any, *, scale: float | None = None) -> "Examples":
        """What a user passed as data; it is run through once.

        One-hot labels become class numbers. Images are what has four axes, one or three channels,
        and values from 0 to 255, or from 0 to 1.

        Args:
            data: what `tfprune.CalibrationData` takes: (x, y), x alone, a `tf.data.Dataset` or any
                iterable of such batches. Weights of examples are left out.
            scale: 255.0 or 1.0 where that is not to be told from the values.

        Raises:
            ValueError: no example, NaN or infinity in the inputs, unequal lengths, examples of
                different shapes, examples one by one that cannot be told from batches.
            TypeError: neither arrays nor an iterable; inputs that are no numbers.
        """
        if isinstance(data, cls):
            return data
        inputs, labels, weights = _collected(data)
        _check(inputs)
        notes = ["weights of examples are left out: each counts as one"] * (weights is not None)
        if labels is not None:
            labels, said = classes(labels)
            notes += said
        known, said = _scale(inputs, scale)
        return cls(inputs, labels, known, (*notes, *said))

    def __len__(self) -> int:
        return len(next(leaves(self.inputs))[1])

    def part(self, start: int, stop: int) -> "Examples":
        """The examples from `start` on, up to `stop`."""

        def cut(array):
            return array[start:stop]

        labels = None if self.labels is None else mapped(cut, self.labels)
        return replace(self, inputs=mapped(cut, self.inputs), labels=labels)

    def first(self, count: int | None) -> "Examples":
        """The first examples; all of them for None."""
        return self if count is None or count >= len(self) else self.part(0, count)

    @property
    def is_images(self) -> bool:
        """Whether one input is images, so that it can be corrupted."""
        return self.scale is not None

    @cached_property
    def image(self) -> str | None:
        """The name of the input that is images, as `leaves` gives it."""
        return _images(self.inputs)[0] if self.is_images else None

    @property
    def images(self) -> np.ndarray:
        """The input that is images, [examples, height, width, 1 or 3].

        Raises:
            ValueError: none is.
        """
        if self.image is None:
            raise ValueError("the inputs are no images.")
        return dict(leaves(self.inputs))[self.image]

    @cached_property
    def fingerprint(self) -> str:
        """A hash of inputs and labels."""
        found = hashlib.sha256(repr(self.scale).encode())
        for name, array in (*leaves(self.inputs, "x"), *leaves(self.labels, "y")):
            array = np.asarray(array)
            found.update(f"{name} {array.dtype.str} {array.shape}".encode())
            for start in range(0, len(array) if array.ndim else 0, _BATCH):
                found.update(np.ascontiguousarray(array[start : start + _BATCH]).tobytes())
        return found.hexdigest()


def _collected(data: Any) -> tuple[Any, Any, Any]:
    """Inputs, labels and weights of all examples."""
    import tensorflow as tf

    if isinstance(data, tf.data.Dataset) and _is_unbatched(data.element_spec):
        data = data.batch(_BATCH)
    data = CalibrationData.of(data)
    if data is None:
        raise TypeError("data=None: expected (x, y), a tf.data.Dataset or an iterable of batches.")
    if data.is_arrays:
        inputs, labels, weights = _triple(data.source)
        return _arrays(inputs), None if labels is None else _arrays(labels), weights
    batches = _batches(Feed(data).take())
    together = [list(part) for part in zip(*batches, strict=True)]
    inputs, labels, weights = (None if each[0] is None else _joined(each) for each in together)
    return inputs, labels, weights


def _is_unbatched(spec: Any) -> bool:
    """Whether the elements of a dataset are single examples, as far as their shapes tell."""
    import tensorflow as tf

    if not isinstance(spec, tuple) or len(spec) < 2:
        return False
    inputs, labels = (tf.nest.flatten(part) for part in spec[:2])
    if any(one.shape.rank == 0 for one in labels):
        return True
    sizes = {one.shape[0] for one in (*inputs, *labels) if one.shape.rank}
    return len(sizes - {None}) > 1  # batches have equally many inputs and labels


def _triple(source: Any) -> tuple[Any, Any, Any]:
    return (*source, None, None)[:3] if isinstance(source, tuple) else (source, None, None)


def _arrays(structure: Any) -> Any:
    return mapped(np.asarray, structure)


def _batches(taken: Iterator[tuple]) -> Iterator[tuple]:
    first = next(taken)  # `take` raises where there is none
    if first[1] is not None and any(not np.ndim(one) for _, one in leaves(first[1])):
        raise ValueError(
            "The data yields one example at a time, with one label each: expected batches, or the "
            "arrays (x, y); a tf.data.Dataset can also be passed as data.batch(32)."
        )
    for batch in chain([first], taken):
        yield tuple(None if part is None else _arrays(part) for part in batch)


def _joined(batches: list[Any]) -> Any:
    parts = [dict(leaves(batch)) for batch in batches]
    names = iter(parts[0])

    def join(_: Any) -> np.ndarray:
        name = next(names)
        arrays = [part[name] for part in parts if name in part]
        shapes = {one.shape[1:] for one in arrays}
        if len(shapes) > 1 or len(arrays) < len(parts):
            raise ValueError(
                f"The data has examples of different shapes: {shapes}. Pad or resize "
                "them to one shape."
            )
        return np.concatenate(arrays)

    return mapped(join, batches[0])


def _check(inputs: Any) -> None:
    arrays = dict(leaves(inputs))
    if not arrays:
        raise ValueError("data holds no input: pass (x, y), or x alone.")
    for name, array in arrays.items():
        what = f"data: the input {name!r}" if name else "data: the input"
        if array.dtype.kind not in "fiub" or not array.ndim:
            raise TypeError(
                f"{what} has type {array.dtype} and shape {array.shape}; expected an "
                "array of real numbers [examples, ...]."
            )
        if not len(array):
            raise ValueError("data holds no example; pass at least one.")
        for start in range(0, len(array) if array.dtype.kind == "f" else 0, _BATCH):
            if not np.isfinite(array[start : start + _BATCH]).all():
                raise ValueError(
                    f"{what} holds NaN or infinity, so that every output would, too. "
                    "Clean the data first."
                )


def _images(inputs: Any) -> list[str]:
    """The names of the inputs that have the shape of images."""
    return [name for name, array in leaves(inputs) if array.ndim == 4 and array.shape[3] in (1, 3)]


def _scale(inputs: Any, asked: float | None) -> tuple[float | None, tuple[str, ...]]:
    """What white is, and what is to be said of it."""
    names = _images(inputs)
    if len(names) != 1:
        shapes = ", ".join(str(list(array.shape)) for _, array in leaves(inputs))
        if asked is not None:
            raise ValueError(
                f"scale={asked!r}: expected one input of images [examples, height, "
                f"width, 1 or 3 channels], got {shapes}. Leave scale out."
            )
        return None, ()
    array = dict(leaves(inputs))[names[0]]
    low, high = (float(one) for one in (array.min(), array.max()))
    span = f"values from {low:g} to {high:g}"
    if asked is not None:
        cut = low < 0 or high > asked
        return asked, (
            f"images have {span}: what is outside of 0 to {asked:g} is cut off before "
            "they are corrupted",
        ) * cut
    if low < 0 or high > 255 or array.dtype.kind == "b":
        return None, (
            f"inputs with {span} are taken for no images (expected 0 to 255, or 0 to 1):"
            " they are not corrupted; scale= says otherwise",
        )
    scale = 1.0 if array.dtype.kind == "f" and high <= 1 else 255.0
    return scale, (f"images have {span}: taken for 0 to {scale:g}",)
