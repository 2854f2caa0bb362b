# SPDX-License-Identifier: Apache-2.0
"""Settings as plain dictionaries and back: one round trip for every frozen dataclass.

A setting is written as `{"class_name": ..., "config": {field: value}}`, the form that Keras uses.
Only classes that were registered here are read back, so a file can never name other code.
"""

from __future__ import annotations

import dataclasses
import functools
import importlib
from typing import TYPE_CHECKING, Any, Callable, TypeVar, overload

from tfprune.output.argument_checks import check_fields, plain
from tfprune.output.caller_warning import accept_old_fields

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

_CLASSES: dict[str, Any] = {}
_NAMES: dict[type, str] = {}
_READERS: dict[str, Callable[[Any], Any]] = {}
_FALLBACKS: list[Callable[[str], type | None]] = []
T = TypeVar("T", bound="DataclassInstance")


@overload
def register(cls: type[T]) -> type[T]: ...
@overload
def register(*, name: str) -> Callable[[type[T]], type[T]]: ...
def register(cls: Any = None, *, name: str | None = None) -> Any:
    """Make a frozen dataclass readable by `from_config`; use it as a decorator.

    Its constructor refuses values that are not of their fields' types (`check_fields`). Names in
    files never change: a class that was renamed is registered by the name that it had, and says
    by `renamed`, {name: name that it had}, which of its fields were; the constructor takes both.

    Args:
        cls: the class.
        name: in files; None: the class's own.

    Raises:
        ValueError: another class of the same name is registered.
    """
    if cls is None:
        return functools.partial(register, name=name)
    name = _NAMES[cls] = name or cls.__name__
    if hasattr(cls, "renamed"):
        accept_old_fields(cls, cls.renamed)
    known = _CLASSES.setdefault(name, cls)
    if known.__qualname__ != cls.__qualname__ or known.__module__ != cls.__module__:
        raise ValueError(
            f"A setting named {name!r} is registered by {known.__module__}; "
            f"give the class of {cls.__module__} another name."
        )
    _CLASSES[name] = check_fields(cls)
    return cls


def name_in_files(cls: type) -> str:
    """The name of a class in files, which stays when the class is renamed."""
    return _NAMES.get(cls, cls.__name__)


def read_by(name: str, reader: Callable[[Any], Any]) -> None:
    """Let a function of the saved fields build the settings of this name."""
    _READERS[name] = reader


def add_fallback(find: Callable[[str], type | None]) -> None:
    """Let a function find the class of a name that is not registered here.

    Args:
        find: name -> its class, or None after a search that may have registered it. The latest
            added is asked first; it may raise a ValueError that says more than this module can.
    """
    _FALLBACKS.append(find)


def to_config(value: Any) -> Any:
    """Turn a setting into JSON types.

    Example:
        >>> from tfprune.masks.structures import Block
        >>> to_config(Block(1, 4))["class_name"]
        'Block'
    """
    if hasattr(type(value), "get_config") and not isinstance(value, type):
        config = value.get_config()
        if isinstance(config, dict) and set(config) == {"class_name", "config"}:
            return to_config(config)
        return {"class_name": name_in_files(type(value)), "config": to_config(config)}
    if dataclasses.is_dataclass(value):
        old = getattr(value, "renamed", {})
        fields = {
            old.get(field.name, field.name): to_config(getattr(value, field.name))
            for field in dataclasses.fields(value)
        }
        return {"class_name": name_in_files(type(value)), "config": fields}
    if isinstance(value, (list, tuple)):
        return [to_config(item) for item in value]
    if isinstance(value, dict):
        return {key: to_config(item) for key, item in value.items()}
    return plain(value)


def from_config(config: Any) -> Any:
    """Build the setting that `to_config` wrote.

    Raises:
        ValueError: the class is not known in this process.
    """
    if isinstance(config, list):
        return tuple(from_config(item) for item in config)
    if isinstance(config, dict) and {"class_name", "config"} <= set(config):
        return _build(config["class_name"], config["config"])
    if isinstance(config, dict):
        return {key: from_config(item) for key, item in config.items()}
    return config


def class_named(name: str) -> type:
    """The registered class of that name.

    Raises:
        ValueError: there is none.
    """
    for find in reversed(_FALLBACKS):
        if name in _CLASSES:
            break
        found = find(name)
        if found is not None:
            return found
    if name not in _CLASSES:
        raise ValueError(f"No setting named {name!r}; import the module that registers it first.")
    return _CLASSES[name]


def _build(name: str, fields: dict[str, Any]) -> Any:
    if name in _READERS:
        return _READERS[name](fields)
    cls: Any = class_named(name)
    if "from_config" in vars(cls) or name not in _CLASSES:
        return cls.from_config(fields)
    new = {old: name for name, old in getattr(cls, "renamed", {}).items()}
    return cls(**{new.get(key, key): from_config(value) for key, value in fields.items()})


@functools.cache
def named(text: str) -> Any:
    """The object of the name `"module:object"`, for tables in code: never for a text out of a file.

    Example:
        >>> named("math:sqrt")(4.0)
        2.0
    """
    module, _, name = text.partition(":")
    return getattr(importlib.import_module(module), name)
