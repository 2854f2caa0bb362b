# SPDX-License-Identifier: Apache-2.0
"""Attributes of layers replaced for a while, past both Kerases' attribute tracking."""

from __future__ import annotations

import contextlib
import functools
from typing import Any, Callable, Iterable, Iterator

import tensorflow as tf

_ABSENT = object()
Change = tuple[Any, str, Any]


@contextlib.contextmanager
def replaced(changes: Iterable[Change]) -> Iterator[None]:
    """Set attributes of objects, and give each its old value back at the end, whatever happens.

    Args:
        changes: (object, name of the attribute, value) of each.
    """
    before = []
    try:
        for owner, name, value in changes:
            before.append((owner, name, vars(owner).get(name, _ABSENT)))
            object.__setattr__(owner, name, value)
        yield
    finally:
        for owner, name, value in reversed(before):
            if value is _ABSENT:
                object.__delattr__(owner, name)
            else:
                object.__setattr__(owner, name, value)


def shown_as(layer: Any, variable: Any, value: Any) -> Change:
    """The change that lets the layer see a value where it holds a variable, in the type in which
    it computes.

    Args:
        variable: as the layer holds it, or the tf.Variable behind that.
    """
    name = next(
        key
        for key, held in vars(layer).items()
        if held is variable
        or any(getattr(held, inner, None) is variable for inner in ("_value", "_variable"))
    )
    return layer, name, tf.cast(value, layer.compute_dtype)


def around(layer: Any, function: Callable) -> Change:
    """The change that sends the layer's forward pass through `function(call, *args, **kwargs)`."""
    call = layer.call

    @tf.autograph.experimental.do_not_convert
    @functools.wraps(call)
    def replacement(*args, **kwargs):
        return function(call, *args, **kwargs)

    return layer, "call", replacement
