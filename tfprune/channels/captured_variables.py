# SPDX-License-Identifier: Apache-2.0
"""Variables that a layer or an operation reads and no rule speaks for."""

from __future__ import annotations

import contextlib
import dis
import functools
import types
from types import CodeType, FunctionType
from typing import Any, Iterator

import tensorflow as tf

from tfprune.backend.base import Backend
from tfprune.layers.graph import leaves

_LIBRARIES = ("keras", "tf_keras", "tensorflow", "numpy")


def variables_read(operation: Any, adapter: Backend) -> dict[int, Any]:
    """The variables that a layer of unknown kind may read, by their ids.

    Its weights, those of the layers under it, and what its attributes, its methods and the
    functions that it holds refer to: variables of other layers may be among them.

    Args:
        operation: a layer or a raw operation.
        adapter: of its Keras.
    """
    found: dict[int, Any] = {}
    seen: set[int] = set()
    waiting = [operation, *_parts(operation)]
    while waiting:
        value = waiting.pop()
        if id(value) in seen:
            continue
        seen.add(id(value))
        raw = adapter.raw(value)
        if isinstance(raw, tf.Variable):
            found[id(raw)] = raw
        elif isinstance(value, adapter.Layer):
            with contextlib.suppress(ValueError):  # tf_keras, of a model that is not built
                waiting += value.weights
            for sub in adapter.sublayers(value):
                waiting += [sub, *_parts(sub)]
        else:
            waiting += _referred(value)
    return found


def variables_given(call: Any, adapter: Backend) -> dict[int, Any]:
    """The variables among the arguments of a call, by their ids."""
    raws = (adapter.raw(one) for one in leaves(call))
    return {id(one): one for one in raws if isinstance(one, tf.Variable)}


def _parts(layer: Any) -> Iterator[Any]:
    """What a layer holds, and the methods of the classes that are not Keras' own."""
    yield from leaves(
        [value for value in vars(layer).values() if not isinstance(value, (str, bytes))]
    )
    for cls in type(layer).__mro__:
        if not _is_of_library(cls):
            yield from (one for one in vars(cls).values() if isinstance(one, FunctionType))


def _referred(value: Any) -> Iterator[Any]:
    """What a function refers to: closures, defaults, and globals by their names."""
    if isinstance(value, functools.partial):
        yield from leaves([value.func, value.args, value.keywords])
    elif isinstance(value, types.MethodType):
        yield from (value.__self__, value.__func__)
    elif isinstance(value, FunctionType) and not _is_of_library(value):
        for cell in value.__closure__ or ():
            try:
                yield from leaves(cell.cell_contents)
            except ValueError:  # not filled yet
                continue
        yield from leaves([value.__defaults__, value.__kwdefaults__])
        for name in _names(value.__code__):
            yield from leaves(value.__globals__.get(name))


def _names(code: CodeType) -> set[str]:
    """The names of globals in a function and in those inside of it."""
    own = {one.argval for one in dis.get_instructions(code) if one.opname == "LOAD_GLOBAL"}
    return own.union(*(_names(one) for one in code.co_consts if isinstance(one, CodeType)))


def _is_of_library(value: Any) -> bool:
    return (value.__module__ or "").split(".")[0] in _LIBRARIES
