# SPDX-License-Identifier: Apache-2.0
"""The data that a score looks at: arrays, a data set or any iterable, as checked batches."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from numbers import Integral
from typing import Any, Iterator

import numpy as np


@dataclass(frozen=True)
class CalibrationData:
    """Examples for scores that look at data: with labels (SNIP, GraSP, Fisher, Taylor, ...) or,
    for scores that look at the inputs of layers (SiPP, PFP), without.

    Args:
        source: a tuple (x, y) or (x, y, sample_weight) of arrays or tensors (x and y may be lists
            or dictionaries for several inputs or outputs); or a `tf.data.Dataset`, or any iterable,
            of such tuples, one per batch. Without labels: (x,), or x alone where it is one array
            or a dictionary, for the source as for its batches.
        loss: a Keras loss, its name or a function (labels, outputs) -> loss per example; None:
            the loss that the model was compiled with.
        batch_size: examples per batch, where the source is arrays.
        batches: how many batches one pass takes; the next pass takes the following ones, and
            begins anew at the end. None: all of them in every pass.

    Raises:
        ValueError: a number below 1; arrays of different lengths; `batches` is missing for data
            that never ends.
        TypeError: neither arrays nor an iterable.

    Example:
        >>> CalibrationData((np.ones((10, 4)), np.zeros(10)), batch_size=4).batch_size
        4
    """

    source: Any
    loss: Any = None
    batch_size: int = 32
    batches: int | None = None

    def __post_init__(self):
        for name in ("batch_size", "batches"):
            value = getattr(self, name)
            wrong = not isinstance(value, Integral) or isinstance(value, bool) or value < 1
            if wrong and not (name == "batches" and value is None):
                raise ValueError(
                    f"CalibrationData({name}={value!r}): expected an integer of at least 1."
                )
        if not self.is_arrays and (
            isinstance(self.source, (str, bytes, type))
            or not {"__iter__", "__getitem__"} & set(dir(self.source))
        ):
            raise TypeError(
                f"data={self.source!r}: expected arrays (x, y), a tf.data.Dataset or another "
                "iterable of such batches"
                + (
                    "; call the function and pass what it returns."
                    if callable(self.source)
                    else f", got {type(self.source).__name__}."
                )
            )
        if self.batches is None and _is_endless(self.source):
            raise ValueError(
                "The data never ends, so that no pass over it would: pass "
                "tfprune.CalibrationData(data, "
                "batches=n) for n batches a pass, or the data without repeat()."
            )
        if self.is_arrays:
            lengths = {_length(part) for part in _leaves(_triple(self.source))}
            if len(lengths) > 1:
                raise ValueError(
                    f"Data: the arrays hold {sorted(lengths)} examples; expected equally many "
                    "inputs, labels and weights."
                )

    @property
    def is_arrays(self) -> bool:
        """Whether the source is arrays, which have to be cut into batches."""
        return isinstance(self.source, tuple) or _is_input(self.source)

    @classmethod
    def of(cls, value: Any) -> "CalibrationData | None":
        """What a user passed as `data`, or its source, as CalibrationData; None stays None."""
        return value if value is None or isinstance(value, cls) else cls(value)


_EMPTY = (
    "The data yields no batch: pass arrays (x, y), or a data set or list of batches that can be "
    "run through again for every update."
)


class Feed:
    """Hands out the batches of `CalibrationData`, pass after pass.

    Args:
        data: the data.

    Attributes:
        taken: how many batches were handed out.
    """

    def __init__(self, data: CalibrationData):
        self.data = data
        self.taken = 0
        self._stream: Iterator | None = None

    def go_on_from(self, taken: int) -> None:
        """Begin the next pass where that of another feed would, of the same data.

        Args:
            taken: how many batches that one has handed out.
        """
        self.taken = taken
        if self.data.batches is None:
            return  # every pass begins at the beginning
        stream, left, passed = self._batches(), taken, 0
        while left:
            if next(stream, None) is not None:
                left, passed = left - 1, passed + 1
            elif not passed:
                return
            else:
                stream, left, passed = self._batches(), left % passed, 0
        self._stream = stream

    def take(self) -> Iterator[tuple[Any, Any, Any]]:
        """(x, y or None, sample_weight or None) for each batch of the next pass.

        Raises:
            ValueError: no batch at all, or one without examples; inputs that are NaN or infinite;
                a batch that is neither inputs nor a tuple (x, y) or (x, y, sample_weight).
        """
        limit, taken = self.data.batches, 0
        stream, self._stream = self._stream, None
        while True:
            anew = stream is None
            stream = stream or self._batches()
            before = taken
            for batch in stream:
                yield _checked(batch)
                taken += 1
                self.taken += 1
                if taken == limit:
                    self._stream = stream
                    return
            if limit is None or (anew and taken == before):
                break
            stream = None
        if not taken:
            raise ValueError(_EMPTY)

    def peek(self) -> tuple[Any, Any, Any]:
        """The first batch of the next pass, which that pass will see, too.

        Raises:
            ValueError: as `take` does.
        """
        for _ in range(2):  # the held stream may be at its end
            stream = self._batches() if self._stream is None else self._stream
            self._stream = None
            first = next(stream, None)
            if first is not None:
                self._stream = itertools.chain([first], stream)
                return _checked(first)
        raise ValueError(_EMPTY)

    def _batches(self) -> Iterator[Any]:
        if not self.data.is_arrays:
            # Some iterators have a length and go on for ever.
            source = self.data.source
            return itertools.islice(source, _size(source))
        return _slices(_triple(self.data.source), self.data.batch_size)


def _size(source: Any) -> int | None:
    """How many batches one pass has, None if that is not known."""
    try:
        return len(source)
    except TypeError:
        return None


def _is_endless(source: Any) -> bool:
    import tensorflow as tf

    if isinstance(source, tf.data.Dataset):
        return bool(source.cardinality() == tf.data.INFINITE_CARDINALITY)
    return isinstance(source, (itertools.cycle, itertools.count, itertools.repeat))


def _slices(arrays: tuple, size: int) -> Iterator[tuple]:
    import tensorflow as tf

    length = _length(_leaves(arrays)[0])
    for start in range(0, length, size):
        rows = slice(start, start + size)
        yield tf.nest.map_structure(
            lambda part, rows=rows: None if part is None else part[rows], arrays
        )


def _checked(batch: Any) -> tuple[Any, Any, Any]:
    import tensorflow as tf

    inputs, labels, weights = _triple(batch)
    for part in tf.nest.flatten(inputs):
        values = np.asarray(part)
        if values.shape[:1] == (0,):
            raise ValueError("A batch of the data holds no example; leave empty batches out.")
        if values.dtype.kind == "c":
            raise ValueError(
                f"The data holds inputs of type {values.dtype}; expected real "
                "numbers: pass real and imaginary part, or the magnitude."
            )
        if values.dtype.kind == "f" and not np.isfinite(values).all():
            raise ValueError(
                "The data holds inputs that are NaN or infinite; scores computed from them would "
                "be NaN, too. Clean the data first."
            )
    return inputs, labels, weights


def _triple(batch: Any) -> tuple[Any, Any, Any]:
    if _is_input(batch):
        batch = (batch,)
    if not isinstance(batch, (tuple, list)) or len(batch) not in (1, 2, 3):
        what = f"{len(batch)} parts" if isinstance(batch, (tuple, list)) else type(batch).__name__
        raise ValueError(
            f"A batch of the data is {what}; expected a tuple (x, y) or (x, y, sample_weight)."
        )
    inputs, labels, weights = (*batch, None, None)[:3]
    return inputs, labels, weights


def _is_input(value: Any) -> bool:
    """Whether something is inputs without labels: an array, or several under their names."""
    return isinstance(value, dict) or (hasattr(value, "shape") and hasattr(value, "dtype"))


def _leaves(arrays: tuple) -> list[Any]:
    import tensorflow as tf

    return [part for part in tf.nest.flatten(arrays) if part is not None]


def _length(part: Any) -> int:
    return int(part.shape[0]) if hasattr(part, "shape") else len(part)
