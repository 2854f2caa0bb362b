# SPDX-License-Identifier: Apache-2.0
"""Example inputs: from the user's data, or seeded random ones."""

from __future__ import annotations

import numpy as np

from tflite_export.convert.signature import Signature, layers_of

__all__ = ["examples", "named", "random_examples", "spread"]

_OPEN_AXIS = 16


def examples(data, signature: Signature, limit: int) -> dict[str, np.ndarray]:
    """Bring the user's data into one array per input.

    Args:
        data: one array; a list, tuple or dict of arrays for several inputs; or a
            tf.data.Dataset, batched or not, with or without labels.
        signature: the model's inputs.
        limit: at most this many examples, the first of a dataset, evenly spaced of arrays.
    Returns:
        {input name: array [examples, ...]} in the dtypes of the signature.
    Raises:
        ValueError: wrong number of inputs, names or shapes, or no example at all.
        TypeError: not arrays of real numbers and not a dataset.
    """
    if hasattr(data, "as_numpy_iterator"):
        return _from_dataset(data, signature, limit)
    arrays = _checked(named(data, signature), signature)
    return spread(arrays, limit)


def spread(arrays: dict[str, np.ndarray], limit: int) -> dict[str, np.ndarray]:
    """At most `limit` examples, evenly spaced, since data is often sorted by class.

    Example:
        >>> spread({"x": np.arange(10)}, 4)["x"]
        array([0, 3, 6, 9])
    """
    count = len(next(iter(arrays.values())))
    if count <= limit:
        return arrays
    rows = np.linspace(0, count - 1, limit).astype(int)
    return {name: array[rows] for name, array in arrays.items()}


def random_examples(model, signature: Signature, count: int) -> dict[str, np.ndarray]:
    """Seeded random inputs: standard normal, or valid indices where the model takes integers.

    Args:
        model: its Embedding layers bound the indices.
        signature: the model's inputs; open axes get length 16.
        count: number of examples.
    """
    generator = np.random.default_rng(0)
    embeddings = [layer for layer in layers_of(model) if type(layer).__name__ == "Embedding"]
    sizes = [int(layer.input_dim) for layer in embeddings]
    # A float input may feed an Embedding as well, then only indices make sense.
    embedded = bool(sizes) and len(signature.names) == 1
    made = {}
    for name, shape, dtype in zip(*_fields(signature), strict=True):
        filled = (count, *(_OPEN_AXIS if size is None else size for size in shape[1:]))
        if dtype == "bool":
            made[name] = generator.random(filled) < 0.5
        elif embedded or not np.issubdtype(_numpy(dtype), np.floating):
            made[name] = generator.integers(0, min(sizes, default=2), filled).astype(_numpy(dtype))
        else:
            made[name] = generator.standard_normal(filled).astype(_numpy(dtype))
    return made


def _fields(signature: Signature):
    return signature.names, signature.shapes, signature.dtypes


def _numpy(dtype: str) -> np.dtype:
    # Mixed precision declares its inputs as float16 or bfloat16; the file takes float32.
    return np.dtype("float32" if dtype in ("float16", "bfloat16") else dtype)


def named(data, signature: Signature) -> dict:
    """{input name: array} of what a user passed as the inputs of a model.

    Raises:
        ValueError: another number of inputs, or other names.
    """
    names = signature.names
    if isinstance(data, dict):
        given = {str(key): array for key, array in data.items()}
        for known in (names, signature.keys):
            if set(given) == set(known):
                return {name: given[key] for name, key in zip(names, known, strict=True)}
        raise ValueError(f"data has the inputs {sorted(given)}, expected {sorted(names)}")
    if isinstance(data, (list, tuple)):
        if len(data) != len(names):
            raise ValueError(
                f"data is a {type(data).__name__} of {len(data)}, expected {len(names)} array(s), "
                f"one for each input: {', '.join(names)} (without labels)"
            )
        return dict(zip(names, data, strict=True))
    if len(names) != 1:
        raise ValueError(
            f"data is one {type(data).__name__}, expected a list, tuple or dict of {len(names)} "
            f"arrays, one for each input: {', '.join(names)}"
        )
    return {names[0]: data}


def _checked(arrays: dict, signature: Signature) -> dict[str, np.ndarray]:
    result = {}
    for name, shape, dtype in zip(*_fields(signature), strict=True):
        array = np.asarray(arrays[name])
        if array.dtype == object or array.dtype.kind in "USV":
            raise TypeError(
                f"data for input {name!r} is a {type(arrays[name]).__name__} that is no array of "
                "numbers; pass NumPy arrays or a tf.data.Dataset"
            )
        if array.dtype.kind == "c":
            raise TypeError(
                f"data for input {name!r} is complex; pass real and imaginary part, or the "
                "magnitude"
            )
        fits = array.ndim == len(shape) and all(
            want in (None, got) for want, got in zip(shape, array.shape, strict=True)
        )
        if not fits:
            wanted = ", ".join(["examples", *("any" if n is None else str(n) for n in shape[1:])])
            raise ValueError(
                f"data for input {name!r} has shape {array.shape}, expected ({wanted})"
            )
        converted = array.astype(_numpy(dtype))
        if converted.dtype.kind == "f" and not np.all(np.isfinite(converted)):
            raise ValueError(f"data for input {name!r} has NaN or infinite values")
        if converted.dtype.kind in "iu" and not np.array_equal(converted, array):
            raise ValueError(
                f"data for input {name!r} has dtype {array.dtype} and values that are no {dtype}"
            )
        result[name] = converted
    counts = {name: len(array) for name, array in result.items()}
    if len(set(counts.values())) != 1:
        raise ValueError(f"data has a different number of examples for each input: {counts}")
    if 0 in counts.values():
        raise ValueError("data has no examples; pass at least one")
    return result


def _from_dataset(data, signature: Signature, limit: int) -> dict[str, np.ndarray]:
    parts, count = [], 0
    for element in data.as_numpy_iterator():
        arrays = named(_features(element, len(signature.names)), signature)
        first, shape = np.asarray(arrays[signature.names[0]]), signature.shapes[0]
        if first.ndim == len(shape) - 1:
            arrays = {name: np.asarray(array)[None] for name, array in arrays.items()}
        parts.append(_checked(arrays, signature))
        count += len(parts[-1][signature.names[0]])
        if count >= limit:
            break
    if not parts:
        raise ValueError("data is an empty dataset; pass at least one example")
    shapes = {part[name].shape[1:] for name in signature.names[:1] for part in parts}
    if len(shapes) > 1:
        raise ValueError(f"data has examples of different shapes {sorted(shapes)}; pad them")
    return {
        name: np.concatenate([part[name] for part in parts])[:limit] for name in signature.names
    }


def _features(element, inputs: int):
    """The x of Keras' (x, y) and (x, y, sample_weight); a bare tuple of all inputs as well."""
    if not isinstance(element, tuple):
        return element
    nested = isinstance(element[0], (tuple, list, dict))
    if inputs > 1 and len(element) == inputs and not nested:
        return element
    return element[0]
