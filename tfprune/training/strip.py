# SPDX-License-Identifier: Apache-2.0
"""Takes the wrappers off a model."""

from __future__ import annotations

from typing import Any

from tfprune.backend.model_view import ModelView
from tfprune.training.mask_updater import Settle
from tfprune.training.model_hooks import hooks_in
from tfprune.training.wrapped import method_of, target_of


def strip(view: ModelView, activations: bool = False) -> Any:
    """The plain layer or model; see `tfprune.strip_pruning`."""
    hooks = hooks_in(view)
    for one in hooks:
        one.strip(view)
    _apply_masks(view)
    for one in hooks if activations else ():
        view = view.at(one.keep_rounding(view))
    if view.is_wrapper:
        return view.model.layer
    if not view.all_wrappers:
        return view.model
    if view.has_graph:
        return view.backend.clone(view.model, lambda layer: _plain(view.at(layer)))
    _strip_in_place(view)
    return view.model


def _plain(view: ModelView) -> Any:
    if not isinstance(view.model, view.backend.Layer):
        return view.model  # a Keras 3 graph also holds operations that are no layers
    return view.backend.unwrap(view.model) if view.is_wrapper else strip(view)


def _apply_masks(view: ModelView) -> None:
    """A layer may be looked at in the middle of an epoch, between a step and its masking."""
    for item in (one for one in view.sites if one.wrapper is not None):
        Settle([target_of(item)], method_of(item.wrapper), timetable=None, final=0.0).apply()


def _strip_in_place(view: ModelView) -> None:
    """Subclassed models hold their layers as attributes, in lists and in dictionaries."""
    for name, value in list(vars(view.model).items()):
        plain = value if name.startswith("_") else _stripped(value, view)
        if plain is not value:
            view.backend.replace_attribute(view.model, name, plain)
    for sub in map(view.at, view.backend.sublayers(view.model)):
        if not sub.is_wrapper and not sub.has_graph:
            _strip_in_place(sub)


def _stripped(value: Any, owner: ModelView) -> Any:
    """What a model holds, without wrappers; itself where nothing changes."""
    if isinstance(value, owner.backend.Layer):
        view = owner.at(value)
        if view.is_wrapper:
            return value.layer
        return strip(view) if view.has_graph else value
    if isinstance(value, dict):
        new = {key: _stripped(item, owner) for key, item in value.items()}
        return new if any(new[key] is not value[key] for key in new) else value
    if not isinstance(value, (list, tuple)):
        return value
    items = [_stripped(item, owner) for item in value]
    return items if any(a is not b for a, b in zip(items, value, strict=True)) else value
