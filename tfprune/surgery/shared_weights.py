# SPDX-License-Identifier: Apache-2.0
"""Layers and variables that several layers hold: one again in a copy of the model."""

from __future__ import annotations

from collections import Counter
from typing import Any, Callable, Iterable

from tfprune.backend import adapter_of
from tfprune.channels.captured_variables import variables_read
from tfprune.layers.call import Walked

WHAT_TO_DO = (
    "Layers are copied by from_config(get_config()), which knows nothing of it. Call one layer "
    "twice instead, or give it to a layer of your own as an attribute (self.layer = layer) that "
    "is in its get_config()."
)


class Shared:
    """The layers of a model that stand at several places: in its graph and inside of others.

    Args:
        survey: of the model.
    """

    def __init__(self, survey: Walked):
        self.adapter = survey.adapter
        walked = survey.by_operation.keys() - survey.tracer.unknown
        self._walked = {
            key for key in walked if self.adapter.is_model(survey.by_operation[key][0][0].operation)
        }
        self._places: Counter[int] = Counter()
        steps = (step for calls in survey.tracer.calls.values() for step, _ in calls)
        for operation in {id(step.operation): step.operation for step in steps}.values():
            self._visit(operation)

    def _visit(self, operation: Any) -> None:
        self._places[id(operation)] += 1
        if self._places[id(operation)] > 1 or not isinstance(operation, self.adapter.Layer):
            return
        if id(operation) not in self._walked:  # the layers of those have calls of their own
            for sub in self.adapter.sublayers(operation):
                self._visit(sub)

    def is_elsewhere(self, layer: Any) -> bool:
        """Whether a layer stands at another place, too."""
        return self._places[id(layer)] > 1

    def join(self, old: Any, new: Any, copy: Callable[[Any], Any]) -> None:
        """Put the one copy of each shared layer into the copy of a layer that holds it.

        Args:
            old: a layer of the model.
            new: its copy, which has made layers of its own.
            copy: a shared layer's copy, the same wherever it stands.
        """
        held = {
            name: value
            for name, value in vars(old).items()
            if isinstance(value, self.adapter.Layer) and name in vars(new)
        }
        if any(self._places[id(one)] > 1 for one in held.values()):
            # All of them, so that they stay in the same order, and their variables with them.
            self.adapter.put_layers(
                new,
                {
                    name: copy(one) if self._places[id(one)] > 1 else vars(new)[name]
                    for name, one in held.items()
                },
            )
        for one, other in zip(
            self.adapter.sublayers(old), self.adapter.sublayers(new), strict=False
        ):
            if self._places[id(one)] <= 1:
                self.join(one, other, copy)


def refuse_lost_ties(pairs: Iterable[tuple[Any, Any, Any]]) -> None:
    """What was one variable must be one variable in the copy.

    Args:
        pairs: (layer, variable, its counterpart).

    Raises:
        ValueError: it is not.
    """
    known: dict[int, tuple[Any, Any]] = {}
    for layer, old, new in pairs:
        adapter = adapter_of(layer)
        first, counterpart = known.setdefault(id(adapter.raw(old)), (layer, new))
        if adapter.raw(counterpart) is not adapter.raw(new):
            raise ValueError(_tied(first, layer, old))


def refuse_unequal(layer: Any, held: tuple[list[Any], list[Any]], others: Iterable[Any]) -> None:
    """The copy of a layer must have as many variables as the layer.

    Args:
        held: the variables of both.
        others: layers and operations that may share some.

    Raises:
        ValueError: it has not, because one is shared with another layer.
        RuntimeError: it has not, for another reason.
    """
    own, theirs = held
    if len(own) == len(theirs):
        return
    adapter = adapter_of(layer)
    known = {id(adapter.raw(one)): one for one in own}
    for other in others:
        for one in getattr(other, "weights", ()) if other is not layer else ():
            if id(adapter.raw(one)) in known:
                raise ValueError(_tied(other, layer, one))
    raise RuntimeError(
        f"The copy of {layer.name!r} ({type(layer).__name__}) has {len(theirs)} "
        f"variables instead of {len(own)}: a layer makes the same variables "
        "whenever it is made by from_config(get_config()) and built."
    )


def refuse_outside(operation: Any, new: Any, own: set[int]) -> None:
    """The copy of a layer of unknown kind must not read variables of the given model.

    Args:
        own: the variables of the given model, by their ids.

    Raises:
        ValueError: it does.
    """
    adapter = adapter_of(new)
    for key, variable in variables_read(new, adapter).items():
        if key in own:
            raise ValueError(
                f"{operation.name!r} ({type(operation).__name__}) reads the variable "
                f"{variable.name!r} of another layer past Keras, as a function of its own does, so "
                f"its copy would still read the one of the given model. {WHAT_TO_DO}"
            )


def _tied(one: Any, other: Any, variable: Any) -> str:
    """That two layers share a variable in a way that cannot be copied, and what to do."""
    return (
        f"{one.name!r} and {other.name!r} share the variable "
        f"{getattr(variable, 'path', variable.name)!r}, and their copies would have one each. "
        f"{WHAT_TO_DO}"
    )
