# SPDX-License-Identifier: Apache-2.0
"""Outputs of a network as float32 arrays, and the protocol of what predicts them."""

from __future__ import annotations

from collections.abc import Iterator
from operator import itemgetter
from typing import Any, Protocol

import numpy as np

from tfprune.evaluation.nested import leaves, mapped

Outputs = tuple[np.ndarray, ...]


class Predictor(Protocol):
    """What predicts.

    Attributes:
        fingerprint: of the network: equal ones predict the same.
        runtime: "Keras", "LiteRT", "TFLite Micro" or "function".
        notes: what was assumed.
    """

    fingerprint: str
    runtime: str
    notes: tuple[str, ...]

    def blocks(self, inputs: Any) -> Iterator[Outputs]:
        """float32 outputs [block, ...], one array for each output, of all examples in order."""


def outputs_of(predicting: Predictor, inputs: Any) -> Outputs:
    """All outputs at once."""
    return tuple(np.concatenate(each) for each in zip(*predicting.blocks(inputs), strict=True))


def parts(inputs: Any, batch: int) -> Iterator[tuple[Any, int]]:
    """The inputs of some examples at a time, and how many these are."""
    total = len(next(leaves(inputs))[1])
    for start in range(0, total, batch):
        yield (mapped(itemgetter(slice(start, start + batch)), inputs), min(batch, total - start))


def arrays_of(given: Any, count: int, name: str) -> Outputs:
    """What a network returned as float32 arrays.

    Raises:
        ValueError: something else than arrays with one row for each example.
    """
    found = []
    for at, one in leaves(given):
        array = np.asarray(one)
        if (
            array.dtype.kind not in "fiub"
            and array.dtype.name != "bfloat16"
            or not array.ndim
            or len(array) != count
        ):
            which = f"output {at!r}" if at else "output"
            raise ValueError(
                f"{name!r}: its {which} for {count} examples has type {array.dtype} "
                f"and shape {array.shape}; expected numbers, a row for each example."
            )
        found.append(np.asarray(array, np.float32))
    if not found:
        raise ValueError(f"{name!r} returned {given!r}; expected arrays, one row for each example.")
    return tuple(found)
