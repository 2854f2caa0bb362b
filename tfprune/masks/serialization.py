# SPDX-License-Identifier: Apache-2.0
"""Settings as plain dictionaries and back: one round trip for every frozen dataclass.

A setting is written as `{"class_name": ..., "config": {field: value}}`, the form that Keras uses.
Only classes that were registered here are read back, so a file can never name other code.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any, Callable, TypeVar

from tfprune.output.argument_checks import check_fields
from tfprune.output.plain_numbers import plain

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

_CLASSES: dict[str, Any] = {}
T = TypeVar("T", bound="DataclassInstance")


def register(cls: type[T]) -> type[T]:
    """Make a frozen dataclass readable by `from_config`; use it as a decorator.

    Its constructor refuses values that are not of their fields' types (`check_fields`).

    Raises:
        ValueError: another class of the same name is registered.
    """
    known = _CLASSES.setdefault(cls.__name__, cls)
    if known.__qualname__ != cls.__qualname__ or known.__module__ != cls.__module__:
        raise ValueError(
            f"A setting named {cls.__name__!r} is registered by {known.__module__}; "
            f"give the class of {cls.__module__} another name."
        )
    _CLASSES[cls.__name__] = check_fields(cls)
    return cls


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
        return {"class_name": type(value).__name__, "config": to_config(config)}
    if dataclasses.is_dataclass(value):
        fields = {f.name: to_config(getattr(value, f.name)) for f in dataclasses.fields(value)}
        return {"class_name": type(value).__name__, "config": fields}
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
    if name not in _CLASSES:
        raise ValueError(f"No setting named {name!r}; import the module that registers it first.")
    return _CLASSES[name]


_fallback: Callable[[str], Any] = class_named


def set_fallback(find: Callable[[str], type]) -> None:
    """Let `find(name)` look for a class that is not registered; it raises ValueError for none."""
    global _fallback
    _fallback = find


def _build(name: str, fields: dict[str, Any]) -> Any:
    cls = _CLASSES.get(name)
    if cls is None:
        return _fallback(name).from_config(fields)
    if "from_config" in vars(cls):
        return cls.from_config(fields)
    return cls(**{key: from_config(value) for key, value in fields.items()})
