# SPDX-License-Identifier: Apache-2.0
"""Keras models that predict as LiteRT files, where that is faster and computes the same."""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from tflite_export.convert.converter import convert
from tflite_export.convert.representative_data import examples
from tflite_export.convert.signature import signature
from tflite_export.devices.registry import executing
from tfprune.evaluation.examples import Examples
from tfprune.evaluation.file_predictor import FilePredictor
from tfprune.evaluation.networks import Network
from tfprune.evaluation.outputs import outputs_of
from tfprune.evaluation.prediction_store import Store, file_name
from tfprune.evaluation.settings import Evaluation

MANY = 20_000
"""From so many predictions on a conversion, of some seconds, is worth it."""
_TOLERANCE = 1e-4
_REFUSED = b"refused: "


def converted(
    keras: Any, first: Examples, *, settings: Evaluation, predictions: int, store: Store | None
) -> Any:
    """The predictor of the converted file, or the one of Keras with a note why.

    Args:
        keras: a `KerasPredictor`.
        first: the examples on which they have to agree.
        settings: the runtime asked for.
        predictions: how many there will be.
        store: keeps the file, or why there is none.

    Raises:
        ValueError: runtime "litert", and the file cannot be had.
    """
    asked = settings.runtime
    if asked == "keras" or asked == "auto" and (predictions < MANY or _has_gpu()):
        return keras
    name = file_name("converted", keras.fingerprint, suffix=".tflite")
    if store is not None and store.has(name):
        content = store.content(name)
    else:
        content = _checked(keras, first, settings.batch_size)
        if store is not None:
            store.write(name, [content])
    if not content.startswith(_REFUSED):
        return FilePredictor(
            content, keras.network.name, keras.fingerprint, first=first, batch=settings.batch_size
        )
    why = content[len(_REFUSED) :].decode()
    if asked == "litert":
        raise ValueError(
            f'{keras.network.name!r} does not run in LiteRT: {why}; pass runtime="keras" or "auto".'
        )
    keras.notes = (f"{keras.network.name} runs in Keras, not in LiteRT: {why}",)
    return keras


def _checked(keras: Any, first: Examples, batch: int) -> bytes:
    """The file, or why it cannot stand for the model."""
    try:
        content, is_open = _converted(keras.network, first)
        if not is_open:
            raise ValueError("the file takes one example at a time")
        file = FilePredictor(content, keras.network.name, "", first=first, batch=batch)
        error = _error(outputs_of(keras, first.inputs), outputs_of(file, first.inputs))
        if not error <= _TOLERANCE:
            raise ValueError(f"its outputs deviate by {error:.1e} of the largest")
    except (RuntimeError, ValueError, TypeError, NotImplementedError) as error:
        text = " ".join(str(error).split()) or type(error).__name__
        return _REFUSED + text[:300].encode()
    return content


def _converted(network: Network, first: Examples) -> tuple[bytes, bool]:
    model = network.plain
    known = signature(model, first.inputs)
    return file_of(model, known, examples(first.inputs, known, len(first)))


def file_of(model: Any, known: Any, inputs: dict[str, Any]) -> tuple[bytes, bool]:
    """A float32 file of a model without wrappers, and whether its batch is open.

    Args:
        model: built, of either Keras.
        known: its signature.
        inputs: {input name: some examples}.

    Raises:
        RuntimeError, ValueError: it cannot be converted.
    """
    made = convert(model, known, target=executing("mobile", "none"), quantize="none", inputs=inputs)
    return made.content, made.batch == "dynamic"


def _error(expected: tuple, got: tuple) -> float:
    """The largest deviation of an output, by its own largest value."""
    if [one.shape for one in expected] != [one.shape for one in got]:
        return float("inf")
    return max(
        abs(want - have).max(initial=0) / (abs(want).max(initial=0) or 1)
        for want, have in zip(expected, got, strict=True)
    )


def _has_gpu() -> bool:
    return bool(tf.config.list_physical_devices("GPU"))
