# SPDX-License-Identifier: Apache-2.0
"""The kind of a Keras model, its layers and its inputs, for both Kerases."""

from __future__ import annotations

import inspect
import re
import sys
from dataclasses import dataclass
from typing import Any

import numpy as np

from tflite_export.flatbuffer.signature_io import identifier

__all__ = ["Signature", "family", "flattened", "is_own", "keys_of", "layers_of", "signature"]


@dataclass(frozen=True)
class Signature:
    """The inputs of a model, in the order of `flattened`: one name, shape (batch axis first, None =
    open) and dtype each; `structure` is what the model is called with, positions in place of
    tensors; `keys` are the names as the model has them, by which data may go as well."""

    names: tuple[str, ...]
    shapes: tuple[tuple[int | None, ...], ...]
    dtypes: tuple[str, ...]
    structure: Any
    keys: tuple[str, ...] = ()

    def pack(self, tensors: dict) -> Any:
        """Arrange named tensors the way the model wants its first argument."""
        import tensorflow as tf

        return tf.nest.map_structure(lambda position: tensors[self.names[position]], self.structure)


def family(model: object) -> str:
    """The Keras that a model belongs to, read from its classes, not from the environment.

    Args:
        model: a Keras model.
    Returns:
        "keras" (Keras 3) or "tf_keras".
    Raises:
        TypeError: not a model of either Keras.
        ValueError: Keras 3 on another backend than TensorFlow.

    Example:
        >>> family(3)
        Traceback (most recent call last):
        TypeError: got int, expected a Keras 3 or tf_keras model
    """
    roots = {c.__module__.partition(".")[0] for c in type(model).__mro__ if c.__name__ == "Model"}
    if "tf_keras" in roots:
        return "tf_keras"
    if "keras" in roots:
        backend = sys.modules["keras"].config.backend()
        if backend != "tensorflow":
            raise ValueError(
                f"Keras runs on the {backend} backend, expected tensorflow; set "
                "KERAS_BACKEND=tensorflow before importing keras"
            )
        return "keras"
    raise TypeError(f"got {type(model).__name__}, expected a Keras 3 or tf_keras model")


def flattened(model, structure) -> tuple[list, Any]:
    """Tensors in the order in which the model's Keras counts them, that of `model.inputs` and
    `model.outputs`: lists as they are, dicts by their sorted keys (an OrderedDict of Keras 3 as it
    is).

    Args:
        model: of either Keras.
        structure: tensors, nested as the model takes or returns them.
    Returns:
        The tensors, and the structure with their positions in their place.
    """
    if family(model) == "keras":
        from keras import tree
    else:
        from tensorflow import nest as tree

    flat = tree.flatten(structure)
    return flat, tree.pack_sequence_as(structure, list(range(len(flat))))


def keys_of(positions) -> list[str] | None:
    """The names that a dict of tensors gives them, by position; None for other structures."""
    if not isinstance(positions, dict) or not all(isinstance(n, int) for n in positions.values()):
        return None
    return [str(key) for key in sorted(positions, key=positions.__getitem__)]


def is_own(layer) -> bool:
    """Whether a layer is of one of Keras' own classes, not of a class derived from it."""
    return type(layer).__module__.partition(".")[0] in ("keras", "tf_keras")


def layers_of(model) -> list:
    """A model and all layers in it, at any depth (private in both Kerases, of the same name)."""
    return list(model._flatten_layers())


def signature(model, data=None) -> Signature:
    """Find a model's inputs; a subclassed model that does not know them takes them from `data`.

    Args:
        model: a built model of either Keras.
        data: arrays as given to `export`, used only if the model does not know its inputs.
    Raises:
        ValueError: the model is not built, has stateful layers, takes several arguments, or its
            inputs cannot be known.
    """
    if not model.built:
        raise ValueError(
            f"model {model.name!r} is not built, so it has no weights to export; call it once on "
            "an example, or train it, before exporting"
        )
    stateful = [layer.name for layer in layers_of(model) if _is_stateful(layer)]
    if stateful:
        raise ValueError(
            f"layer {stateful[0]!r} is a stateful recurrent layer, which cannot be exported; build "
            "the model with stateful=False and the same weights"
        )
    several = _arguments(model)
    if len(several) > 1:
        raise ValueError(
            f"the call of model {model.name!r} takes {', '.join(several)}, expected one argument; "
            "let it take them as a list or dict"
        )
    found = _declared(model)
    if found is None:
        found = _from_data(model, data)
    if found is None:
        raise ValueError(
            f"the inputs of the subclassed model {model.name!r} are not known; pass example inputs "
            "as data= (arrays)"
        )
    return found


def _arguments(model) -> list[str]:
    """The arguments without which a model cannot be called."""
    known = inspect.signature(model.call).parameters.values()
    return [
        parameter.name
        for parameter in known
        if parameter.default is parameter.empty
        and parameter.kind in (parameter.POSITIONAL_ONLY, parameter.POSITIONAL_OR_KEYWORD)
        and parameter.name not in ("training", "mask")
    ]


def _is_stateful(layer) -> bool:
    return hasattr(layer, "unroll") and bool(getattr(layer, "stateful", False))


def _declared(model) -> Signature | None:
    import tensorflow as tf

    try:
        tensors = model.input
    except (AttributeError, ValueError, RuntimeError):
        tensors = None
    if tensors is None and hasattr(model, "save_spec"):
        spec = model.save_spec()
        tensors = spec[0][0] if spec and len(spec[0]) == 1 else None
    if tensors is None:
        shapes = getattr(model, "_build_shapes_dict", None) or {}
        if len(shapes) == 1:
            tensors = _specs(next(iter(shapes.values())), model.input_dtype)
    if tensors is None or not tf.nest.flatten(tensors):
        return None
    return _flattened(model, tensors)


def _specs(shape, dtype):
    """Keras 3 remembers shapes only: a tuple, or a list or dict of tuples."""
    import tensorflow as tf

    if isinstance(shape, dict):
        return {key: _specs(value, dtype) for key, value in shape.items()}
    if any(isinstance(size, (list, tuple)) for size in shape):
        return [_specs(value, dtype) for value in shape]
    return tf.TensorSpec(shape, dtype)


def _from_data(model, data) -> Signature | None:
    import tensorflow as tf

    if data is None or hasattr(data, "as_numpy_iterator"):
        return None
    return _flattened(
        model,
        tf.nest.map_structure(
            lambda a: tf.TensorSpec.from_tensor(tf.convert_to_tensor(np.asarray(a)[:1])), data
        ),
    )


def _flattened(model, tensors) -> Signature:
    import tensorflow as tf

    flat, structure = flattened(model, tensors)
    # The batch axis is always open here; whether the file keeps it open is decided later.
    shapes = tuple((None, *tuple(tensor.shape)[1:]) for tensor in flat)
    dtypes = tuple(tf.as_dtype(tensor.dtype).name for tensor in flat)
    keys = keys_of(structure) or [getattr(tensor, "name", None) or "" for tensor in flat]
    return Signature(_unique(keys), shapes, dtypes, structure, tuple(keys))


def _unique(names: list[str]) -> tuple[str, ...]:
    """Input names as identifiers. Names that Keras made up change from run to run: numbered, unless
    they are those numbers in another order, which somebody chose."""
    cleaned = [identifier(name) for name in names]
    numbered = ["input" if len(names) == 1 else f"input_{i}" for i in range(len(names))]
    made_up = re.compile(r"(keras_tensor|input)?(_\d+)*")
    doubtful = any(map(made_up.fullmatch, cleaned)) or len(set(cleaned)) < len(cleaned)
    return tuple(numbered if doubtful and set(cleaned) != set(numbered) else cleaned)
