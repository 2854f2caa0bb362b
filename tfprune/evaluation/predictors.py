# SPDX-License-Identifier: Apache-2.0
"""Predictors of functions and Keras models: outputs as float32, block by block, in order."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from tfprune.evaluation.converted import converted
from tfprune.evaluation.examples import Examples
from tfprune.evaluation.file_predictor import FilePredictor
from tfprune.evaluation.keras_calls import Call
from tfprune.evaluation.networks import Network
from tfprune.evaluation.outputs import Outputs, Predictor, arrays_of, outputs_of, parts
from tfprune.evaluation.prediction_store import Store
from tfprune.evaluation.settings import Evaluation

_FIRST = 16


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
    if network.kind == "function":
        return FunctionPredictor(network, first, settings.batch_size)
    return KerasPredictor(network, first, settings.batch_size)


class FunctionPredictor:
    """A function batch -> outputs: one array, or several in a list, tuple or dict."""

    runtime = "function"
    notes: tuple[str, ...] = ()

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

    runtime = "Keras"
    notes: tuple[str, ...] = ()

    def __init__(self, network: Network, first: Examples, batch: int):
        self.network, self._batch, self._first = network, batch, first
        self._call: Call | None = None
        known = network.fingerprint
        self.fingerprint = known or network.identified(outputs_of(self, first.inputs))

    def blocks(self, inputs: Any) -> Iterator[Outputs]:
        if self._call is None:
            self._call = Call(self.network.model, self.network.name, self._first.inputs)
        for part, count in parts(inputs, self._call.fixed or self._batch):
            yield arrays_of(self._call(part, count), count, self.network.name)
