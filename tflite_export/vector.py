"""One example of a model, for the test in a C package."""

from __future__ import annotations

import numpy as np

from tflite_export import c_sources
from tflite_export.aligned import ALIGNMENT
from tflite_export.ports import Port, by_name, ports, quantised

__all__ = ["example", "written"]

_TYPES = {"int8": "int8_t", "int16": "int16_t", "int32": "int32_t", "float32": "float"}
_KINDS = {"int8": "INT8", "int16": "INT16", "int32": "INT32", "float32": "FLOAT"}


def example(content: bytes, inputs) -> list[np.ndarray]:
    """The inputs of one example as the file stores them.

    Args:
        content: bytes of a .tflite file.
        inputs: {input name: array [examples, ...]} of real values, or one array; the first is
            taken. None: seeded random numbers over the whole range.
    Raises:
        ValueError: other names or shapes than the file's.
    """
    taken, _ = ports(content)
    if inputs is None:
        return [_random(port) for port in taken]
    inputs = by_name(inputs, taken)
    stored = []
    for port in taken:
        array = np.asarray(inputs[port.name])
        if array.ndim != len(port.shape) or array[:1].shape != port.single:
            raise ValueError(
                f"input {port.name!r} has shape {array.shape}, expected {port.single}"
            )
        stored.append(quantised(array[:1], port))
    return stored


def _random(port: Port) -> np.ndarray:
    draw = np.random.default_rng(0)
    if port.dtype.startswith("float"):
        return draw.standard_normal(port.single).astype(port.dtype)
    if not port.scale:
        # Integers that are no quantised numbers are indices or counts: 0 and 1 are always valid.
        return draw.integers(0, 2, port.single).astype(port.dtype)
    limits = np.iinfo(port.dtype)
    return draw.integers(limits.min, limits.max + 1, port.single).astype(port.dtype)


def written(names: dict[str, str], given: list, expected: list) -> str:
    """The C source of an example.

    Args:
        names: "name" and "guard", as in the package's other files.
        given, expected: inputs and outputs in the file's order and types.
    Raises:
        ValueError: a type that the generated main does not compare.
    """
    arrays, tables = [], {}
    for side, tensors in (("input", given), ("output", expected)):
        rows = []
        for number, tensor in enumerate(tensors):
            kind = tensor.dtype.name
            if kind not in _TYPES:
                raise ValueError(f"{side} {number} is of type {kind}; possible are {list(_TYPES)}")
            inside = c_sources.array(tensor)
            # Aligned as a kernel would want its tensor.
            arrays.append(f"_Alignas({ALIGNMENT}) static const {_TYPES[kind]} {side}_{number}[] = "
                          f"{{\n{inside}\n}};")
            rows.append(f"  {{{side}_{number}, {tensor.size}, {tensor.nbytes}, "
                        f"{names['guard']}_{_KINDS[kind]}}},")
        tables[side + "s"] = "\n".join(rows)
    return c_sources.VECTOR_C.substitute(names, arrays="\n".join(arrays), **tables)
