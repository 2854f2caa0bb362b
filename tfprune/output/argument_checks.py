# SPDX-License-Identifier: Apache-2.0
"""Checks of arguments, whose errors name what was passed and what was expected."""

from __future__ import annotations

import dataclasses
import functools
import inspect
import os
import sys
from numbers import Integral, Real
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

T = TypeVar("T", bound="DataclassInstance")
_KINDS: dict[str, tuple[type | tuple[type, ...], str]] = {
    "bool": ((bool, np.bool_), "True or False"),
    "int": (Integral, "an integer"),
    "float": (Real, "a number"),
    "str": (str, "a text"),
    "None": (type(None), "None"),
}


def check_path(path: Any, what: str) -> str:
    """The path as text.

    Args:
        path: what was passed.
        what: it should be a path of.

    Raises:
        TypeError: neither text nor a path.
        ValueError: an empty one, or one that no file can have.

    >>> check_path("", "a folder")
    Traceback (most recent call last):
    ...
    ValueError: path='': expected the path of a folder; no file can have this one.
    """
    if not isinstance(path, (str, bytes, os.PathLike)):
        raise TypeError(
            f"path={path!r}: expected the path of {what}, a str or pathlib.Path, got "
            f"{type(path).__name__}."
        )
    text = os.fsdecode(path)
    if not text or "\0" in text:
        raise ValueError(f"path={text!r}: expected the path of {what}; no file can have this one.")
    return text


def check_kind(name: str, value: Any, kind: type | tuple[type, ...], expected: str) -> None:
    """Raise TypeError if a value is of none of these types.

    >>> check_kind("structure", 3, str, "a structure such as tfprune.Filter()")
    Traceback (most recent call last):
    ...
    TypeError: structure=3: expected a structure such as tfprune.Filter(), got int.
    """
    kinds = kind if isinstance(kind, tuple) else (kind,)
    if not isinstance(value, kinds) or isinstance(value, bool) and bool not in kinds:
        got = type(value).__name__
        if isinstance(value, type) and issubclass(value, kinds):
            got = f"the class: write {value.__name__}(...)"
        raise TypeError(f"{name}={value!r}: expected {expected}, got {got}.")


def check_fields(cls: type[T]) -> type[T]:
    """Let the constructor of a dataclass refuse values that are not of their fields' types.

    Checked are fields of `bool`, `int`, `float`, `str` or a class of the module, with or without
    None. What a class says itself of its values, it says first.

    Raises:
        TypeError: from the constructor.
    """
    fields = {
        field.name: field.type
        if isinstance(field.type, str)
        else getattr(field.type, "__name__", str(field.type))
        for field in dataclasses.fields(cls)
    }
    init = cls.__init__

    @functools.wraps(init)
    def __init__(self, *args, **kwargs):
        try:
            init(self, *args, **kwargs)
        except (AttributeError, TypeError):
            given = (
                dict(zip(inspect.signature(init).parameters, (self, *args), strict=False)) | kwargs
            )
            _check(cls, {name: fields[name] for name in given if name in fields}, given)
            raise
        _check(cls, fields, vars(self))

    setattr(cls, "__init__", __init__)
    return cls


def _check(cls: type, fields: dict[str, str], values: dict[str, Any]) -> None:
    # Other classes last: a constructor may turn numbers into them.
    for name in sorted(fields, key=lambda name: fields[name].split(" ")[0] not in _KINDS):
        parts = fields[name].split(" | ")
        kinds = [kind for kind in (_kind(cls, part) for part in parts) if kind is not None]
        value = values.get(name)
        if len(kinds) < len(parts) or name not in values:
            continue
        is_flag = isinstance(value, bool) and "bool" not in fields[name]
        if is_flag or not any(isinstance(value, kind) for kind, _ in kinds):
            expected = " or ".join(text for _, text in kinds)
            raise TypeError(
                f"{cls.__name__}({name}={value!r}): expected {expected}, got "
                f"{type(value).__name__}."
            )


def _kind(cls: type, name: str) -> tuple[Any, str] | None:
    """The type of that name and what to call it; None: not known."""
    if name in _KINDS:
        return _KINDS[name]
    for one in cls.__mro__:  # a field may come from a class of another module
        found = getattr(sys.modules.get(one.__module__), name, None)
        if isinstance(found, type) and found is not Any:
            return found, f"{'an' if name[0] in 'AEIOU' else 'a'} {name}"
    return None


def plain(value):
    """A number of NumPy, or an array that is one, as Python's; anything else as it is.

    >>> import numpy as np
    >>> plain(np.uint8(3)), plain(np.array(0.5)), plain("0.5")
    (3, 0.5, '0.5')
    """
    is_scalar = isinstance(value, (np.generic, np.ndarray)) and value.ndim == 0
    return value.item() if is_scalar else value


def is_integer(value):
    """Whether it is an integer; a truth value is none."""
    return isinstance(value, Integral) and not isinstance(value, bool)


def is_real(value):
    """Whether it is a real number; a truth value is none."""
    return isinstance(value, Real) and not isinstance(value, (bool, np.bool_))
