# SPDX-License-Identifier: Apache-2.0
"""Points at which a model's layers are compared with the teacher's, from one forward pass.

What is compared is the output of the layer that holds the weights or, where a normalization or an
activation reads nothing but that, the output of these. No graph is needed: the tensors that pass
from layer to layer tell what follows what, in functional, nested and subclassed models alike.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Sequence

import tensorflow as tf

from tfprune.backend.model_view import Held
from tfprune.layers.base import has, kind_of
from tfprune.statistics.measured_model import Subject

_FOLLOWING = {"activation", "idle", "normalization"}


@dataclass(frozen=True)
class Station:
    """Some sites that one layer holds.

    Attributes:
        name: of the layer.
        sites: indices of the sites.
        ends: (layer, number of its call in a forward pass) of each output that is compared.
    """

    name: str
    sites: tuple[int, ...]
    ends: tuple[tuple[Any, int], ...]


@dataclass(frozen=True)
class Visit:
    """One call of a layer in a forward pass: its number, and the tensors in and out."""

    layer: Any
    number: int
    inputs: list[Any]
    outputs: list[Any]


def watched(subject: Subject, inputs: Any) -> list[Visit]:
    """Run a model once, eagerly; every call of its innermost layers, in order."""
    visits: list[Visit] = []
    numbers: dict[int, int] = {}

    def note(layer: Any, args: tuple, kwargs: dict[str, Any], outputs: Any) -> None:
        number = numbers.get(id(layer), 0)
        numbers[id(layer)] = number + 1
        visits.append(Visit(layer, number, _tensors((args, kwargs)), _tensors(outputs)))

    with subject.view.record_calls(_watchable(subject), note):
        subject.model(inputs, training=False)
    return visits


def stations(subject: Subject, visits: Sequence[Visit]) -> tuple[list[Station], list[int]]:
    """The stations in the order of the forward pass, and the sites that it does not pass."""
    sites: dict[int, list[int]] = {}
    for index, holder in enumerate(_holders(subject)):
        sites.setdefault(id(holder), []).append(index)
    found = {}
    for visit in visits:
        if id(visit.layer) in sites and id(visit.layer) not in found:
            ends = tuple(_end(one, visits) for one in visits if one.layer is visit.layer)
            found[id(visit.layer)] = Station(visit.layer.name, tuple(sites[id(visit.layer)]), ends)
    passed = {index for station in found.values() for index in station.sites}
    return list(found.values()), [i for i in range(len(subject.found)) if i not in passed]


def _end(visit: Visit, visits: Sequence[Visit]) -> tuple[Any, int]:
    """Where the output of a call is compared: behind what belongs to it."""
    while len(visit.outputs) == 1 and not _is_activated(visit.layer):
        made = visit.outputs[0]
        readers = [one for one in visits if any(part is made for part in one.inputs)]
        if len(readers) != 1 or not kind_of(readers[0].layer).traits & _FOLLOWING:
            break
        visit = readers[0]
    return visit.layer, visit.number


def _is_activated(layer: Any) -> bool:
    """Whether the output of a layer has passed an activation already."""
    if has(layer, "activation"):
        return True
    name = getattr(getattr(layer, "activation", None), "__name__", "linear")
    return name != "linear"


def _loop(held: Held) -> Any:
    """The outermost loop that a layer is in or that it is; None: in none.

    No tensor can be taken out of a loop that calls layers step by step.
    """
    return next((one for one in held.chain if has(one, "loop")), None)


def _holders(subject: Subject) -> list[Any]:
    """For each site the layer whose output is compared: its owner, or the loop that it is in."""
    found: dict[int, Any] = {}
    for held in subject.view.below:
        found.setdefault(id(held.layer), _loop(held) or held.layer)
    return [found.get(id(item.owner), item.owner) for item in subject.found]


def _watchable(subject: Subject) -> list[Any]:
    """The innermost layers, those that hold sites, and loops as a whole."""
    holders, found = {id(one) for one in _holders(subject)}, {}
    for held in subject.view.below:
        layer, loop = held.layer, _loop(held)
        is_inner = not subject.adapter.sublayers(layer) or id(layer) in holders
        if is_inner and loop is None or loop is layer:
            found[id(layer)] = layer
    return list(found.values())


def _tensors(structure: Any) -> list[Any]:
    return [part for part in tf.nest.flatten(structure) if tf.is_tensor(part)]
