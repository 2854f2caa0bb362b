# SPDX-License-Identifier: Apache-2.0
"""Hooks of methods that put something of their own into a model, at the moments of its life."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Callable

from tfprune.backend.base import Backend
from tfprune.backend.model_view import ModelView
from tfprune.backend.registration import wrapper_class
from tfprune.masks.serialization import named
from tfprune.methods.base import Method
from tfprune.methods.gates import Gate
from tfprune.training.wrap import exchange_layers, refuse_wrapped


def _insert(to_prune: Any, backend: Backend, method: Method) -> Any:
    made: list[Any] = []
    wrapper = wrapper_class(backend.NAME, "PrunedLayer")

    def wrap(layer: Any) -> Any:
        made.append(wrapper(layer, method=method))
        return made[-1]

    wrapped = exchange_layers(to_prune, backend, wrap)
    if not made:  # some layers of a model may be wrapped, with other settings
        for one in to_prune if isinstance(to_prune, (list, tuple)) else [to_prune]:
            refuse_wrapped(ModelView(one, backend))
    return wrapped


def _nothing(*args: Any) -> None:
    pass


def _same(view: ModelView) -> Any:
    return view.model


@dataclass(frozen=True)
class ModelHooks:
    """What is done with a whole model around its training; by default what plain gates need.

    A gate names its hooks by the text in `Gate.hooks`; a wrapper holds those of its model as the
    attribute `hooks`. All but the first two take a view of the model.

    Attributes:
        insert: (what to prune, its backend, method) -> the wrapped model, layer or list, which
            computes what the plain one does before it is trained. ValueError: it cannot be wrapped.
        refuse_pruning: (wrapper); ValueError: what is in it cannot be pruned.
        begin: before the first step of a run. ValueError: the model is not wrapped for it.
        finish: at the end of a run what was soft becomes hard. Once more changes nothing.
        strip: before the wrappers are taken off. ValueError: a run is on.
        keep_rounding: the model, after `strip`, with plain operations for what is done to
            activations.
        report_lines: texts for the report by the name of the site; under "" of the whole model.
        traced: the model through which paths are followed, or a text that says why they cannot be.
    """

    insert: Callable[[Any, Backend, Method], Any] = _insert
    refuse_pruning: Callable[[Any], None] = _nothing
    begin: Callable[[ModelView], None] = _nothing
    finish: Callable[[ModelView], None] = _nothing
    strip: Callable[[ModelView], None] = _nothing
    keep_rounding: Callable[[ModelView], Any] = _same
    report_lines: Callable[[ModelView], dict[str, tuple[str, ...]]] = lambda view: {}
    traced: Callable[[ModelView], Any] = _same


_PLAIN = ModelHooks()


def hooks_of(gate: Gate | None) -> ModelHooks:
    """The hooks that a gate names."""
    return named(gate.hooks) if gate is not None and gate.hooks else _PLAIN


def hooks_in(view: ModelView) -> list[ModelHooks]:
    """The hooks of the wrappers under a model or a layer, each once."""
    held = (getattr(wrapper, "hooks", _PLAIN) for wrapper in view.all_wrappers)
    return list(dict.fromkeys(held))  # TF-MOT's wrappers have none


def refuse_pruning(view: ModelView) -> None:
    """Raise ValueError if a model or a layer is wrapped for what is pruned no more."""
    for wrapper in view.all_wrappers:
        getattr(wrapper, "hooks", _PLAIN).refuse_pruning(wrapper)


def begin(view: ModelView, methods: list[Method]) -> None:
    """Before the first step of a run.

    Raises:
        ValueError: a method has a place in the forward pass, and the model is not wrapped for it.
    """
    named_by = [hooks_of(method.gate) for method in methods]
    for one in dict.fromkeys([*named_by, *hooks_in(view)]):
        one.begin(view)


def finish(view: ModelView) -> None:
    """At the end of a run."""
    for one in hooks_in(view):
        one.finish(view)


def report_lines(view: ModelView) -> dict[str, tuple[str, ...]]:
    """Texts for the report, by the name of the site; under "" of the whole model."""
    said: dict[str, tuple[str, ...]] = {}
    for one in hooks_in(view):
        said.update(one.report_lines(view))
    return said
