# SPDX-License-Identifier: Apache-2.0
"""The layers of a dense model that those of its pruned or shrunk copy come from."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Any

import numpy as np

from tfprune.backend.model_view import ModelView
from tfprune.channels.model_channels import Survey
from tfprune.layers.base import kind_of
from tfprune.layers.call import KeptChannels
from tfprune.reconstruction.products import Product
from tfprune.statistics.stepwise_forward import Step, StepwiseForward


@dataclass(frozen=True, eq=False)
class Pair:
    """A kernel of the pruned model, and that of the dense one that it comes from.

    Attributes:
        pruned, dense: their products.
        left: the outputs of the dense one that the pruned one has: bool [outputs].
        factor: what they are multiplied with, as queries are where the width of a head has changed.
    """

    pruned: Product
    dense: Product
    left: np.ndarray
    factor: float = 1.0


def refuse_same(model: ModelView, dense: ModelView) -> None:
    """Raise where one of them is not built, or the dense model is of another Keras or shares
    weights with the pruned one."""
    if model.backend is not dense.backend:
        raise TypeError(
            f"The model {model.model.name!r} is one of {model.backend.NAME}, and the dense one of "
            f"{dense.backend.NAME}: load both with one Keras."
        )
    for one in (model, dense):
        if not one.is_built:
            raise ValueError(f"The model {one.model.name!r} is not built: call it on data before.")
    raw = model.backend.raw
    own = {id(raw(one)) for one in model.model.weights}
    shared = [one.name for one in dense.model.weights if id(raw(one)) in own]
    if shared:
        raise ValueError(
            f"The model {model.model.name!r} and the dense one share weights, such as "
            f"{shared[0]!r}, so that pruning changes both: copy the model before it is pruned, "
            "dense = clone_model(model); dense.set_weights(model.get_weights())."
        )


def removed_channels(record: Any) -> dict[str, list[int]]:
    """{name of a channel group: those that went}.

    Args:
        record: a `PruningRecord`, or a report of `shrink` or `shrink_to`.

    Raises:
        TypeError: something else.
    """
    record = getattr(record, "record", record)
    if hasattr(record, "sizes") and hasattr(record, "removed"):
        return {name: np.flatnonzero(gone).tolist() for name, gone in record.removed().items()}
    if hasattr(record, "groups"):
        return {one.name: list(one.removed) for one in record.groups}
    raise TypeError(
        f"record={record!r}: expected the report of tfprune.shrink or shrink_to, or a "
        f"tfprune.PruningRecord, got {type(record).__name__}."
    )


def pairs_of(
    model: ModelView, dense: ModelView, removed: dict[str, list[int]] | None
) -> tuple[list[Pair], dict[str, str]]:
    """The kernels that can be refitted, and why others cannot, by their names.

    Args:
        model, dense: built models.
        removed: the channels that went, as `removed_channels` says; None: none.

    Raises:
        ValueError: the models do not correspond; a layer is named.
    """
    ours, theirs = list(model.sites), list(dense.sites)
    names = {one.site.name: one for one in theirs}
    if {one.site.name for one in ours} == set(names):
        theirs = [names[one.site.name] for one in ours]
    if len(ours) != len(theirs):
        own, others = {one.site.name for one in ours}, set(names)
        odd = sorted(own ^ others)[0]
        raise ValueError(
            f"The models do not correspond: {model.model.name!r} has {len(ours)} kernels and the "
            f"dense one {len(theirs)}; {odd!r} is only in one of them. The dense model is the one "
            "that was pruned or shrunk, with its weights from before."
        )
    kept = kept_of(dense, removed)
    factors = _factors(dense, kept)
    pairs, skipped = [], {}
    for one, other in zip(ours, theirs, strict=True):
        masks = {} if kept is None else kept.masks(other.variable)
        shape = list(other.site.shape)
        for axis, mask in masks.items():
            shape[axis] = int(mask.sum())
        if type(one.owner) is not type(other.owner) or tuple(shape) != one.site.shape:
            raise ValueError(
                f"The models do not correspond: {one.site.name!r} has the shape {one.site.shape} "
                f"in a {type(one.owner).__name__}, where the dense model has {other.site.name!r}, "
                f"{tuple(shape)} in a {type(other.owner).__name__}. "
                + (
                    "Of a model that was shrunk pass record=report, what shrink or shrink_to "
                    "returned, or the tfprune.PruningRecord."
                    if removed is None
                    else "The dense model or the record is of another model."
                )
            )
        for name in ("strides", "padding", "dilation_rate", "data_format"):
            used, before = (getattr(item.owner, name, None) for item in (one, other))
            if used != before:
                raise ValueError(
                    f"The models do not correspond: {one.site.name!r} has {name}={used!r}, and "
                    f"{name}={before!r} in the dense one."
                )
        try:
            products = Product.of(one, model), Product.of(other, dense)
        except ValueError as reason:
            skipped[one.site.name] = str(reason)
            continue
        axes = [
            masks.get(axis, np.ones(other.site.shape[axis], bool))
            for axis in other.site.layout.outputs
        ]
        left = functools.reduce(np.logical_and.outer, axes).ravel()
        pairs.append(Pair(*products, left, factors.get(id(other.variable), 1.0)))
    return pairs, skipped


def kept_of(dense: ModelView, removed: dict[str, list[int]] | None) -> KeptChannels | None:
    """Which channels of the dense model are left; None: all of them.

    Raises:
        ValueError: the channels are of another model.
    """
    if not removed or not any(removed.values()):
        return None
    survey = Survey.of(dense.model)
    alive = np.ones(survey.tracer.book.count, bool)
    known = {group.name: channels for group, channels in survey.groups}
    for name, gone in removed.items():
        if name not in known:
            raise ValueError(
                f"The record is of another model: {dense.model.name!r} has no channel group "
                f"{name!r}, only {', '.join(sorted(known)[:5])}."
            )
        alive[known[name][gone]] = False
    return KeptChannels(survey, alive)


def _factors(dense: ModelView, kept: KeptChannels | None) -> dict[int, float]:
    found: dict[int, float] = {}
    for held in dense.below if kept is not None else ():
        find = kind_of(held.layer).factors
        if find is not None:
            found.update(find(held.layer, kept))
    return found


def align(model: StepwiseForward, dense: StepwiseForward) -> None:
    """Let the dense model take its steps in the pruned one's order.

    Raises:
        ValueError: they do not take the same steps; a layer is named.
    """
    places: dict[tuple, list[int]] = {}
    for place, step in enumerate(dense.steps):
        places.setdefault(_label(step), []).append(place)
    labels = [_label(step) for step in model.steps]
    theirs = [_label(step) for step in dense.steps]
    if labels != theirs and sorted(labels) == sorted(theirs):
        queues = {label: iter(each) for label, each in places.items()}
        dense.reorder([next(queues[label]) for label in labels])
    for one, other in zip(model.steps, dense.steps, strict=False):
        if type(_inner(one)) is not type(_inner(other)):
            raise ValueError(
                f"The models do not correspond: {_inner(one).name!r} is a "
                f"{type(_inner(one)).__name__}, where the dense model has {_inner(other).name!r}, "
                f"a {type(_inner(other)).__name__}."
            )
    if len(model.steps) != len(dense.steps):
        longer = max(model.steps, dense.steps, key=len)
        first = longer[min(len(model.steps), len(dense.steps))]
        raise ValueError(
            f"The models do not correspond: they call {len(model.steps)} and "
            f"{len(dense.steps)} layers; {_inner(first).name!r} is only in one of them."
        )


def _inner(step: Step) -> Any:
    """What is called, without the wrapper around it."""
    kind = getattr(type(step.operation), "wrapper_kind", None)
    return step.operation.layer if kind is not None else step.operation


def _label(step: Step) -> tuple[str, str]:
    inner = _inner(step)
    return type(inner).__name__, inner.name if hasattr(inner, "weights") else ""
