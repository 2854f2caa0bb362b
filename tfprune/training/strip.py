# SPDX-License-Identifier: Apache-2.0
"""Takes the wrappers off a model."""

from __future__ import annotations

from typing import Any

from tfprune.backend.base import Backend
from tfprune.backend.find_sites import find, is_wrapped
from tfprune.training.mask_updater import Settle
from tfprune.training.model_hooks import hooks_in
from tfprune.training.wrapped import method_of, target_of


def strip(model: Any, home: Backend, activations: bool = False) -> Any:
    """The plain layer or model; see `tfprune.strip_pruning`."""
    hooks = hooks_in(model, home)
    for one in hooks:
        one.strip(model, home)
    _apply_masks(model, home)
    for one in hooks if activations else ():
        model = one.keep_rounding(model, home)
    if is_wrapped(model, home):
        return model.layer
    if not _holds_wrapper(model, home):
        return model
    if home.is_model(model) and home.has_graph(model):
        return home.clone(model, lambda layer: _plain(layer, home))
    _strip_in_place(model, home)
    return model


def _plain(layer: Any, home: Backend) -> Any:
    if not isinstance(layer, home.Layer):
        return layer  # a Keras 3 graph also holds operations that are no layers
    return home.unwrap(layer) if is_wrapped(layer, home) else strip(layer, home)


def _holds_wrapper(layer: Any, home: Backend) -> bool:
    return is_wrapped(layer, home) or any(
        _holds_wrapper(sub, home) for sub in home.sublayers(layer)
    )


def _apply_masks(model: Any, home: Backend) -> None:
    """A layer may be looked at in the middle of an epoch, between a step and its masking."""
    wrapped = [item for item in find(model, home)[0] if item.wrapper is not None]
    for item in wrapped:
        Settle([target_of(item)], method_of(item.wrapper), timetable=None, final=0.0).apply()


def _strip_in_place(owner: Any, home: Backend) -> None:
    """Subclassed models hold their layers as attributes, in lists and in dictionaries."""
    for name, value in list(vars(owner).items()):
        if name.startswith("_") or not _is_holder(value, home):
            continue
        plain = _stripped(value, home)
        if plain is not value:
            home.replace_attribute(owner, name, plain)
    for sub in home.sublayers(owner):
        if not is_wrapped(sub, home) and not (home.is_model(sub) and home.has_graph(sub)):
            _strip_in_place(sub, home)


def _is_holder(value: Any, home: Backend) -> bool:
    return isinstance(value, (home.Layer, list, tuple, dict))


def _stripped(value: Any, home: Backend) -> Any:
    if isinstance(value, home.Layer):
        if is_wrapped(value, home):
            return value.layer
        graph = home.is_model(value) and home.has_graph(value)
        return strip(value, home) if graph else value
    if isinstance(value, dict):
        new = {key: _stripped(item, home) for key, item in value.items()}
        return new if any(new[key] is not value[key] for key in new) else value
    if not isinstance(value, (list, tuple)):
        return value
    items = [_stripped(item, home) for item in value]
    return items if any(a is not b for a, b in zip(items, value, strict=True)) else value
