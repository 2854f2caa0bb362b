# SPDX-License-Identifier: Apache-2.0
"""One example of a model, for the test in a C package."""

from __future__ import annotations

import numpy as np

from tflite_export.api import c_sources
from tflite_export.flatbuffer.aligned_buffers import ALIGNMENT
from tflite_export.flatbuffer.signature_io import Port, by_name, ports, quantized

__all__ = ["example", "written"]

_TYPES = {
    "int8": "int8_t",
    "uint8": "uint8_t",
    "int16": "int16_t",
    "int32": "int32_t",
    "float32": "float",
}
_KINDS = {"int8": "INT8", "uint8": "UINT8", "int16": "INT16", "int32": "INT32", "float32": "FLOAT"}


def example(content: bytes, inputs) -> list[np.ndarray]:
    """The inputs of one example as the file stores them.

    Args:
        content: bytes of a .tflite file.
        inputs: {input name: array [examples, ...]} of real values, a list of arrays by position,
            or one array; the first example is taken. None: seeded random numbers over the whole
            range.
    Raises:
        ValueError: other names or shapes than the file's, or values that are no finite real
            numbers.
    """
    taken, _ = ports(content)
    if inputs is None:
        return [_random(port) for port in taken]
    inputs = by_name(inputs, taken)
    stored = []
    for port in taken:
        array = np.asarray(inputs[port.name])
        if array.ndim != len(port.shape) or array[:1].shape != port.single:
            raise ValueError(f"input {port.name!r} has shape {array.shape}, expected {port.single}")
        if array.dtype.kind not in "biuf":
            raise ValueError(
                f"input {port.name!r} has numbers of type {array.dtype}, expected real ones"
            )
        if not _finite(array[:1]):
            raise ValueError(f"input {port.name!r} has NaN or infinite values")
        stored.append(quantized(array[:1], port))
    return stored


def _finite(array: np.ndarray) -> bool:
    return array.dtype.kind != "f" or bool(np.all(np.isfinite(array)))


def _random(port: Port) -> np.ndarray:
    draw = np.random.default_rng(0)
    if port.dtype.startswith("float"):
        return draw.standard_normal(port.single).astype(port.dtype)
    if not port.scale:
        # Integers that are no quantized numbers are indices or counts: 0 and 1 are always valid.
        return draw.integers(0, 2, port.single).astype(port.dtype)
    limits = np.iinfo(port.dtype)
    return draw.integers(limits.min, limits.max + 1, port.single).astype(port.dtype)


def written(
    names: dict[str, str],
    given: list[np.ndarray],
    outputs: tuple[Port, ...],
    expected: list[np.ndarray] | None,
) -> str:
    """The C source of an example.

    Args:
        names: "name" and "guard", as in the package's other files.
        given: inputs in the file's order and types.
        outputs: the outputs of the file.
        expected: their values, None if nothing runs the file here.
    Raises:
        ValueError: a type that the generated main does not compare, or outputs that no program
            can be compared with: NaN or infinite.
    """
    arrays: list[str] = []
    tables: dict[str, list[str]] = {"inputs": [], "outputs": []}
    for number, tensor in enumerate(given):
        arrays.append(_array(f"input_{number}", tensor))
        tables["inputs"].append(_row(names, f"input_{number}", tensor))
    empty = [np.empty(port.single, port.dtype) for port in outputs]
    for port, tensor in zip(outputs, expected or empty, strict=True):
        name = f"output_{port.position}" if expected else "NULL"
        if expected and not _finite(tensor):
            raise ValueError(
                f"output {port.name!r} has NaN or infinite values for this example; pass another "
                "one (inputs=)"
            )
        if expected:
            arrays.append(_array(name, tensor))
        tables["outputs"].append(_row(names, name, tensor))
    rows = {side: "\n".join(found) for side, found in tables.items()}
    return c_sources.VECTOR_C.substitute(names, arrays="\n".join(arrays), **rows)


def _array(name: str, tensor: np.ndarray) -> str:
    """The numbers of a tensor, aligned as a kernel would want them."""
    kind = _known(name, tensor)
    return (
        f"_Alignas({ALIGNMENT}) static const {_TYPES[kind]} {name}[] = "
        f"{{\n{c_sources.array(tensor)}\n}};"
    )


def _row(names: dict[str, str], name: str, tensor: np.ndarray) -> str:
    kind = _KINDS[_known(name, tensor)]
    return f"  {{{name}, {tensor.size}, {tensor.nbytes}, {names['guard']}_{kind}}},"


def _known(name: str, tensor: np.ndarray) -> str:
    if tensor.dtype.name not in _TYPES:
        raise ValueError(f"{name} is of type {tensor.dtype.name}; possible are {list(_TYPES)}")
    return tensor.dtype.name
