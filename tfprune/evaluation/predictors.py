# SPDX-License-Identifier: Apache-2.0
"""How each kind of network predicts: outputs as float32, block by block, in order."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Protocol

import numpy as np

from tfprune.evaluation.converted import converted
from tfprune.evaluation.examples import Examples
from tfprune.evaluation.file_predictor import FilePredictor
from tfprune.evaluation.nested import leaves, mapped
from tfprune.evaluation.networks import Network
from tfprune.evaluation.prediction_store import Store
from tfprune.evaluation.settings import Evaluation

Outputs = tuple[np.ndarray, ...]
_FIRST = 16


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


def predictor(
    network: Any,
    examples: Examples,
    *,
    settings: Evaluation = Evaluation(),
    predictions: int = 0,
    store: Store | None = None,
) -> Predictor:
    """What predicts for a network.

    With runtime "auto" a Keras model is converted to LiteRT in float32 for 20,000 predictions or
    more, where there is no GPU, the file's batch is open, and it agrees with Keras on the first
    examples to 1e-4 of the largest output.

    Args:
        network: a `Network`, what one is made of, or what `as_given` returned.
        examples: the first of them are tried.
        settings: batch size and runtime.
        predictions: how many examples it will see.
        store: keeps converted files.

    Raises:
        ValueError: inputs of another shape than the network takes; a converted file that does not
            agree, with runtime "litert".
        RuntimeError: an interpreter that is needed is not installed, or refuses the file.
    """
    given = network if hasattr(network, "blocks") else as_given(network, examples, settings)
    if given.runtime != "Keras":
        return given
    return converted(
        given, examples.first(_FIRST), settings=settings, predictions=predictions, store=store
    )


def as_given(network: Any, examples: Examples, settings: Evaluation = Evaluation()) -> Predictor:
    """What predicts without a conversion; for the arguments and errors see `predictor`."""
    network, first = Network.of(network), examples.first(_FIRST)
    if network.kind == "tflite":
        return FilePredictor(
            network.given, network.name, network.fingerprint, first=first, batch=settings.batch_size
        )
    kind = FunctionPredictor if network.kind == "function" else KerasPredictor
    return kind(network, first, settings.batch_size)


def outputs_of(predicting: Predictor, inputs: Any) -> Outputs:
    """All outputs at once."""
    return tuple(np.concatenate(each) for each in zip(*predicting.blocks(inputs)))


class FunctionPredictor:
    """A function batch -> outputs: one array, or several in a list, tuple or dict."""

    runtime, notes = "function", ()

    def __init__(self, network: Network, first: Examples, batch: int):
        self._network, self._batch = network, batch
        self.fingerprint = network.identified(outputs_of(self, first.inputs))

    def blocks(self, inputs: Any) -> Iterator[Outputs]:
        for part, count in parts(inputs, self._batch):
            try:
                found = self._network.given(part)
            except Exception as error:
                error.add_note(f"raised by the network {self._network.name!r}")
                raise
            yield arrays_of(found, count, self._network.name)


class KerasPredictor:
    """A model of either Keras in inference, traced once; it is not changed."""

    runtime, notes = "Keras", ()

    def __init__(self, network: Network, first: Examples, batch: int):
        self.network, self._batch, self._call = network, batch, None
        self._first = first
        known = network.fingerprint
        self.fingerprint = known or network.identified(outputs_of(self, first.inputs))

    def blocks(self, inputs: Any) -> Iterator[Outputs]:
        if self._call is None:
            from tfprune.evaluation.keras_calls import Call

            self._call = Call(self.network.model, self.network.name, self._first.inputs)
        for part, count in parts(inputs, self._call.fixed or self._batch):
            yield arrays_of(self._call(part, count), count, self.network.name)


def parts(inputs: Any, batch: int) -> Iterator[tuple[Any, int]]:
    """The inputs of some examples at a time, and how many these are."""
    total = len(next(leaves(inputs))[1])
    for start in range(0, total, batch):
        yield (
            mapped(lambda array: array[start : start + batch], inputs),
            min(batch, total - start),
        )


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
