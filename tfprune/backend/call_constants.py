# SPDX-License-Identifier: Apache-2.0
"""Values in the graph of a call that do not depend on the data: constants, and sizes of tensors."""

from __future__ import annotations

import inspect
from dataclasses import dataclass
from typing import Any, Sequence

import numpy as np
import tensorflow as tf


@dataclass(frozen=True)
class Constant:
    """An array that is the same whatever the data are, but whose entries are not known.

    Attributes:
        origin: the same for arrays that are computed in the same way.
    """

    shape: tuple[int | None, ...]
    origin: int = 0


def evaluated(operation: tf.Operation, inputs: Sequence[Any]) -> list[Any]:
    """What an operation of constants makes: arrays, whose entries are None where they depend on
    sizes that are left open.

    Args:
        inputs: arrays, `Constant`s, or a tensor whose size alone is read.
    """
    if operation.type in ("Shape", "ShapeN", "Rank", "Size"):
        return [_size(operation, one) for one in inputs]
    if operation.type == "Const":
        return [tf.make_ndarray(operation.get_attr("value"))]
    if any(not isinstance(one, np.ndarray) for one in inputs):
        return _unknown(operation, inputs)
    if any(one.dtype == object for one in inputs):
        is_known = operation.type in _SIZES
        return [_of_sizes(operation, inputs)] if is_known else _unknown(operation, inputs)
    try:
        return _run(operation, inputs)
    except Exception:  # an operation that draws numbers, or has no eager form
        return _unknown(operation, inputs)


def _unknown(operation: tf.Operation, inputs: Sequence[Any]) -> list[Any]:
    origin = hash((operation.type, *map(_origin, inputs)))
    return [Constant(_shape(one), origin) for one in operation.outputs]


def _origin(value: Any) -> int:
    is_array = isinstance(value, np.ndarray)
    return hash(repr(value.tolist())) if is_array else getattr(value, "origin", 0)


def _shape(tensor: tf.Tensor) -> tuple[int | None, ...]:
    return () if tensor.shape.rank is None else tuple(tensor.shape)


def _size(operation: tf.Operation, value: Any) -> Any:
    shape = tuple(value.shape)
    if operation.type == "Rank":
        return np.array(len(shape), np.int32)
    if operation.type == "Size":
        return Constant(()) if None in shape else np.array(int(np.prod(shape)), np.int32)
    return np.array(shape, object if None in shape else np.int32)


_SIZES = ("StridedSlice", "Pack", "ConcatV2", "Cast", "Reshape")


def _of_sizes(operation: tf.Operation, inputs: Sequence[np.ndarray]) -> Any:
    """Sizes put together or taken apart, some of them open."""
    if operation.type == "Cast":
        return inputs[0]
    if operation.type == "Reshape":
        return inputs[0].reshape(np.asarray(inputs[1], int))
    if operation.type == "Pack":
        return _tidy(np.stack([one.astype(object) for one in inputs], operation.get_attr("axis")))
    if operation.type == "ConcatV2":
        return _tidy(np.concatenate([one.astype(object) for one in inputs[:-1]], int(inputs[-1])))
    start, stop, step = (int(one[0]) for one in inputs[1:])
    if operation.get_attr("shrink_axis_mask") & 1:
        return _tidy(np.array(inputs[0][start], object))
    begin = None if operation.get_attr("begin_mask") & 1 else start
    end = None if operation.get_attr("end_mask") & 1 else stop
    return _tidy(inputs[0][begin:end:step])


def _tidy(value: np.ndarray) -> np.ndarray:
    is_known = all(one is not None for one in value.ravel())
    return value.astype(np.int32) if is_known else value


def _run(operation: tf.Operation, inputs: Sequence[np.ndarray]) -> list[np.ndarray]:
    """Run a copy of the operation at once."""
    given = iter(inputs)
    arguments: dict[str, Any] = {}
    run = getattr(tf.raw_ops, operation.type)
    known = inspect.signature(run).parameters
    for one in operation.op_def.input_arg:
        count = operation.get_attr(one.number_attr) if one.number_attr else None
        name = one.name if one.name in known else "axis"  # of `reduction_indices` and others
        arguments[name] = next(given) if count is None else [next(given) for _ in range(count)]
    inferred = {one.type_attr for one in operation.op_def.input_arg} | {
        one.number_attr for one in operation.op_def.input_arg
    }
    for one in operation.op_def.attr:
        if one.name not in inferred:
            arguments[one.name] = operation.get_attr(one.name)
    with tf.init_scope():
        results = run(**arguments)
    return [
        np.asarray(one) for one in (results if isinstance(results, (list, tuple)) else [results])
    ]
