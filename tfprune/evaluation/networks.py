# SPDX-License-Identifier: Apache-2.0
"""Networks to compare: models of either Keras, saved ones, .tflite files, functions."""

from __future__ import annotations

import hashlib
import json
import os
import re
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from tflite_export.convert.signature import layers_of
from tflite_export.flatbuffer.validate import verified
from tfprune.backend import get, view
from tfprune.backend.saved_model import keras_of_file
from tfprune.surgery.reinitialize import fresh_weights
from tfprune.training.strip import strip
from tfprune.training.tfmot import load

_KNOWN = ("keras", "tf_keras", "tfprune", "tensorflow_model_optimization")
_TFLITE = b"TFL3"  # behind the first four bytes of every file


@dataclass(frozen=True, eq=False)
class Network:
    """One network under its name; a saved model is loaded when it is first needed.

    Attributes:
        name: that the user gave.
        kind: "keras", "tflite" or "function".
        given: the model, the path of a saved one, the bytes of a .tflite file, or the function.
    """

    name: str
    kind: str
    given: Any

    @classmethod
    def of(cls, given: Any, name: str = "network") -> "Network":
        """What a user passed.

        Raises:
            TypeError: nothing of that.
            FileNotFoundError: no file there.
            ValueError: a file that is neither a saved Keras model nor a .tflite file.
        """
        if isinstance(given, cls):
            return given
        if isinstance(given, (bytes, bytearray)):
            return cls(name, "tflite", _tflite(bytes(given), name))
        if isinstance(given, (str, os.PathLike)):
            path = Path(given)
            if not path.exists():
                raise FileNotFoundError(f"{name!r}: no file at {path}.")
            if path.is_file() and (path.suffix == ".tflite" or _starts_as_tflite(path)):
                return cls(name, "tflite", _tflite(path.read_bytes(), f"{name}: {path}"))
            return cls(name, "keras", path)
        if any(
            one.__name__ == "Model" and one.__module__.startswith(("keras.", "tf_keras."))
            for one in type(given).__mro__
        ):
            return cls(name, "keras", given)
        if callable(given):
            return cls(name, "function", given)
        raise TypeError(
            f"{name!r} is {type(given).__name__}; expected a Keras model, the path of "
            "a .keras, .h5 or .tflite file, bytes of a .tflite file, or a function "
            "batch -> outputs."
        )

    @cached_property
    def model(self) -> Any:
        """The Keras model."""
        if not isinstance(self.given, Path):
            return self.given
        package = keras_of_file(self.given)
        with fresh_weights(get(package), 0):  # which the loaded ones replace
            return load(str(self.given), package)

    @property
    def plain(self) -> Any:
        """The Keras model without wrappers, which shares its weights.

        Raises:
            ValueError: a wrapped subclassed model, which stripping would change; a run is on.
        """
        seen = view(self.model)
        if not seen.has_graph:
            if seen.wrappers:
                raise ValueError(
                    "a wrapped subclassed model cannot be stripped without changing it"
                    ": call tfprune.strip_pruning(model) before"
                )
            return self.model
        with fresh_weights(seen.backend, 0):  # which those of the model replace
            return strip(seen)

    @cached_property
    def fingerprint(self) -> str | None:
        """A hash of a file's bytes, or of a model's weights and configuration; None where only its
        outputs tell what it is: a function, a model with classes or layers of the user's own."""
        if self.kind == "tflite":
            return hashlib.sha256(self.given).hexdigest()
        if self.kind == "function":
            return None
        if isinstance(self.given, Path) and self.given.is_file():
            return hashlib.sha256(self.given.read_bytes()).hexdigest()
        return _of_model(self.model)

    def identified(self, outputs: tuple[np.ndarray, ...]) -> str:
        """A hash of what the network gives for some examples, its name, and its weights.

        Args:
            outputs: for the first examples.
        """
        found = hashlib.sha256(self.name.encode())
        for array in outputs:
            found.update(str(array.shape).encode() + np.ascontiguousarray(array).tobytes())
        if self.kind == "keras":
            _add_weights(found, self.model)
        return found.hexdigest()


def _tflite(content: bytes, name: str) -> bytes:
    try:
        verified(content)
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from error
    return content


def _starts_as_tflite(path: Path) -> bool:
    with open(path, "rb") as file:
        return file.read(8)[4:] == _TFLITE


def _of_model(model: Any) -> str | None:
    # The code of a layer of the user's own is in no configuration.
    own = any(
        type(layer).__module__.split(".")[0] not in _KNOWN or type(layer).__name__ == "Lambda"
        for layer in layers_of(model)
    )
    if own or not view(model).has_graph:
        return None
    found = hashlib.sha256(_configuration(model).encode())
    _add_weights(found, model)
    return found.hexdigest()


def _configuration(model: Any) -> str:
    """The configuration, without the names that Keras numbers through a process."""
    text = json.dumps(model.get_config(), default=repr)
    for number, name in enumerate(dict.fromkeys(layer.name for layer in layers_of(model))):
        text = text.replace(json.dumps(name), f'"#{number}"')
    return re.sub(r" at 0x[0-9a-f]+", "", text)


def _add_weights(found: Any, model: Any) -> None:
    for variable in model.weights:
        array = np.asarray(variable)
        found.update(f"{array.dtype} {array.shape}".encode())
        found.update(np.ascontiguousarray(array).tobytes())
