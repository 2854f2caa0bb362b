# SPDX-License-Identifier: Apache-2.0
"""Constraints on the channels that can be taken out of a model."""

from __future__ import annotations

from typing import Any, Iterator

import numpy as np

from tfprune.layers.base import kind_of
from tfprune.layers.call import KeptChannels
from tfprune.layers.channel_graph import Ids
from tfprune.layers.operation_kinds import sizes
from tfprune.layers.resizing import Resizing, resized
from tfprune.layers.symbolic_tensor import Unsupported
from tfprune.surgery.constant_folding import Folding
from tfprune.surgery.rebuild import Rebuild, is_changed

Obstacle = tuple[Ids, str]


def obstacles(kept: KeptChannels, folding: Folding) -> list[Obstacle]:
    """Channels that cannot go, and why: each must stay before the others are looked at again."""
    return [
        (ids, reason)
        for ids, reason in (*_vanished(kept), *_unequal(kept), *_unsized(kept, folding))
        if ids.size
    ]


def _vanished(kept: KeptChannels) -> Iterator[Obstacle]:
    """Tensors that would be empty."""
    for step, results in kept.survey.tracer.history:
        for tensor in (*step.values, *results):
            for ids in tensor.axes:
                if ids is not None and ids.size and not kept.mask(ids).any():
                    yield kept.survey.labels[ids[:1]], f"{step.name} would have no channel left"


def _unequal(kept: KeptChannels) -> Iterator[Obstacle]:
    """Both directions of a recurrent layer have the same number of units."""
    survey = kept.survey
    for step, _ in survey.tracer.history:
        if kind_of(step.operation).name != "Bidirectional":
            continue
        units = []
        for layer in (step.operation.forward_layer, step.operation.backward_layer):
            variable = survey.adapter.raw(layer.cell.recurrent_kernel)
            units.append(
                next(
                    (
                        entry.ids
                        for entry in survey.by_variable.get(id(variable), ())
                        if entry.axis == len(variable.shape) - 2
                    ),
                    None,
                )
            )
        known = [ids for ids in units if ids is not None]
        if len(known) < len(units):
            continue
        left = [int(kept.mask(ids).sum()) for ids in known]
        for ids, count in zip(known, left, strict=True):
            gone = survey.labels[ids][~kept.mask(ids)]
            if max(left) > count:
                yield gone[: max(left) - count], f"{step.name} has as many units in each direction"


def _unsized(kept: KeptChannels, folding: Folding) -> Iterator[Obstacle]:
    """Layers and operations whose settings cannot say the new sizes."""
    survey = kept.survey
    asked: dict[int, Any] = {}
    for calls in survey.tracer.calls.values():
        for step, results in calls:
            operation = step.operation
            new: Any = None
            try:
                if step.inside is not None:
                    if id(operation) not in asked and is_changed(operation, kept, folding):
                        asked[id(operation)] = None
                        yield from _unsized_block(operation, kept, folding)
                    continue
                if survey.adapter.is_model(operation):
                    new = [
                        [int(kept.mask(ids).sum()) for ids in one.axes if ids is not None]
                        for one in step.values
                    ]
                elif survey.adapter.operation_name(operation) is not None:
                    new = sizes(survey.adapter.operation_name(operation), step, results, kept)
                elif id(operation) not in asked and is_changed(operation, kept, folding):
                    _try(
                        Resizing(operation, operation.get_config(), kept, folding.biases),
                        survey.adapter,
                    )
                else:
                    continue
                if not _alike(asked.setdefault(id(operation), new), new):
                    raise Unsupported(f"{step.name} is called with tensors of different sizes")
            except Unsupported as why:
                yield _touched(operation, kept), str(why)


def _unsized_block(layer: Any, kept: KeptChannels, folding: Folding) -> Iterator[Obstacle]:
    """What stands in the way of a layer that was looked into: the channels of one group inside of
    it, or all that run through it."""
    try:
        Rebuild(kept, folding).copy(layer)
    except (Unsupported, ValueError) as why:
        touched = _touched(layer, kept)
        for _, channels in kept.survey.groups:
            here = np.intersect1d(channels, touched)
            if 0 < len(here) < len(touched):
                alive = kept.alive.copy()
                alive[here] = True
                try:
                    Rebuild(KeptChannels(kept.survey, alive), folding).copy(layer)
                except (Unsupported, ValueError):
                    continue
                touched = here
                break
        yield touched, str(why)


def _alike(one: Any, other: Any) -> bool:
    return repr(one) == repr(other)


def _try(resizing: Resizing, home: Any) -> None:
    resized(resizing)
    try:
        home.from_config(resizing.layer, resizing.config)
    except Exception as error:
        why = f"({type(error).__name__}: {str(error)[:100]})"
        raise Unsupported(f"{resizing.layer.name} cannot be made anew {why}") from error


def _touched(operation: Any, kept: KeptChannels) -> Ids:
    """The channels that go and run into, out of or through a layer, in any of its calls."""
    survey = kept.survey
    found = [
        ids
        for step, results in survey.by_operation[id(operation)]
        for tensor in (*step.values, *results)
        for ids in tensor.axes
        if ids is not None
    ]
    is_model = survey.adapter.is_model(operation)
    for variable in () if is_model else getattr(operation, "weights", ()):
        entries = survey.by_variable.get(id(survey.adapter.raw(variable)), ())
        found += [entry.ids for entry in entries]
    labels = np.unique(np.concatenate([survey.labels[ids] for ids in found]))
    return labels[~kept.alive[labels]]
