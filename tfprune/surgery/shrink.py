# SPDX-License-Identifier: Apache-2.0
"""A smaller model without the dead channels of a given one; a fresh one of the same shape."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from tfprune.backend import view
from tfprune.backend.model_view import ModelView
from tfprune.channels.model_channels import Survey
from tfprune.layers.call import KeptChannels
from tfprune.masks.costs import macs
from tfprune.reconstruction.correspondence import pairs_of, refuse_same
from tfprune.reconstruction.layer_walk import batches_of
from tfprune.reconstruction.reconstruct import refit_to
from tfprune.surgery.agreement import agreement, check_finite, check_inputs
from tfprune.surgery.constant_folding import Constants, Folding
from tfprune.surgery.constraints import obstacles
from tfprune.surgery.optimizer_state import copy_slots
from tfprune.surgery.rebuild import Rebuild
from tfprune.surgery.reinitialize import fresh_weights
from tfprune.surgery.shrink_report import GroupChange, ShrinkReport
from tfprune.training.strip import strip


def shrink(
    model: Any,
    *,
    round_to: int = 1,
    min_channels: int = 1,
    data: Any = None,
    borders: bool = False,
    optimizer: bool = False,
    reconstruct: Any = None,
    dense: Any = None,
) -> tuple[Any, ShrinkReport]:
    """Take the dead channels out of a model: a new, ordinary, smaller model with its weights.

    A channel is dead if everything that makes it is zero, in all layers that make it together
    (see `tfprune.channel_groups`): prune with `structure=Filter(coupled=True)` for that, which
    leaves nothing of a masked channel. After other pruning a bias or a beta may make a dead channel
    a constant other than zero: it is folded into what reads it, where that is exact. In evaluation
    the new model computes what the given one computes, but for rounding.

    Args:
        model: a built functional or Sequential model of Keras 3 or tf_keras, with nested models
            and shared layers. It is not changed. Wrapped layers are stripped first.
        round_to: each group keeps so many channels, or a multiple of it, as far as it has them,
            as accelerators like 8 or 16.
        min_channels: each group keeps at least so many; 1 or more.
        data: inputs of the model, to look at what dead channels carry, and to say in the report
            how far the new model's outputs are from the given one's; None: a few random ones, and
            nothing is said.
        borders: whether constants are also folded where a convolution with `padding="same"` sees
            zeros beside them, so that the new model is another one at the border of an image;
            otherwise these channels stay.
        optimizer: whether momenta and counters are taken over into the new model's optimizer; a
            note names what starts anew.
        reconstruct: inputs, some hundreds, as for `tfprune.reconstruct`: the new model is refitted
            on them to what `dense` gives, and computes then something else than the given one.
        dense: for `reconstruct`, the model before its channels were zeroed: a copy, for what they
            gave is gone from the given one. Not changed.

    Returns:
        The new model, compiled if the given one is, and a `ShrinkReport`. What cannot be made
        smaller stays, with its reason in the report.

    Raises:
        TypeError: not a Keras model, or `dense` is of the other Keras; `data` that is no arrays.
        ValueError: a subclassed model, which has no graph, or one that is not built; a layer
            that cannot be copied, or shares a variable so that its copy would not; `round_to` or
            `min_channels` below 1; a model that does not run on random inputs; weights or `data`
            that are NaN or infinite; `data` with labels; one of `reconstruct` and `dense` without
            the other, or what `tfprune.reconstruct` refuses.

    Example:
        >>> import keras, tfprune
        >>> model = keras.Sequential([
        ...     keras.Input((8, 8, 3)), keras.layers.Conv2D(16, 3, activation="relu"),
        ...     keras.layers.GlobalAveragePooling2D(), keras.layers.Dense(2)])
        >>> report = tfprune.sparsify(model, "magnitude", 0.5,
        ...                           structure=tfprune.Filter(coupled=True))
        >>> small, report = tfprune.shrink(model)
        >>> small.count_params(), report.parameters
        (242, (482, 242))
    """
    for name, value in (("round_to", round_to), ("min_channels", min_channels)):
        if not isinstance(value, (int, np.integer)) or value < 1:
            raise ValueError(f"{name} is a number of channels, 1 or more; got {value!r}.")
    if (reconstruct is None) != (dense is None):
        raise ValueError(
            "reconstruct= and dense= go together: what the zeroed channels gave is gone from the "
            "model. Copy it before it is pruned, dense = clone_model(model); "
            "dense.set_weights(model.get_weights()), and call tfprune.shrink(model, "
            "reconstruct=images, dense=dense); or let tfprune.shrink_to choose the channels of a "
            "dense model."
        )
    seen = view(stripped(view(model)))
    survey, batches = Survey.of(seen.model), None
    if reconstruct is not None:
        whole = view(dense)
        refuse_same(seen, whole)
        pairs_of(seen, whole, {})
        batches = batches_of(seen, reconstruct)
    small, report = shrunk(
        survey, model, asked=(borders, round_to, min_channels), data=data, optimizer=optimizer
    )
    if batches is None:
        return small, report
    return small, replace(report, refit=refit_to((view(small), whole), batches, record=report))


def shrunk(
    survey: Survey,
    like: Any,
    *,
    asked: tuple[bool, int, int] = (False, 1, 1),
    data: Any = None,
    optimizer: bool = False,
) -> tuple[Any, ShrinkReport]:
    """The smaller model and what was done; see `shrink`.

    Args:
        survey: of a model without wrappers, whose weights may have changed since.
        like: the model whose compilation is taken over: the same, or one that wraps its layers.
        asked: `borders`, `round_to` and `min_channels`.
    """
    model = survey.tracer.view.model
    check_finite(model, "shrink a model from before")
    check_inputs(model, data)
    found = dead(survey)
    constants = Constants(survey, found, data)
    kept, reasons = _kept(survey, found, constants, asked)
    folding = constants.fold(kept)
    rebuild = Rebuild(kept, folding)
    small = rebuild.of(model)
    rebuild.set_weights()
    notes = _finished(small, like, survey.tracer.view)
    if optimizer:
        notes += copy_slots(like, small, rebuild)
    agreed = None if data is None else agreement(model, small, data)
    outcome = (found, kept, reasons)
    return small, _report((model, small), rebuild, outcome, (folding, notes, agreed))


def reinitialize(model: Any, seed: int | None = None) -> Any:
    """The same architecture with fresh weights, from each layer's own initializers.

    To train a pruned architecture from scratch: `reinitialize(shrink(model)[0])`. What layers
    know from data before training, as Normalization does, is kept.

    Args:
        model: a functional or Sequential model, built. It is not changed; wrapped layers are
            stripped.
        seed: two calls with the same seed give the same weights; None: new ones each time.
            Initializers with a seed of their own keep it.

    Returns:
        A new model, compiled if the given one is.

    Raises:
        TypeError: not a Keras model.
        ValueError: as `tfprune.shrink`.

    Example:
        >>> import keras
        >>> model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(2)])
        >>> one, other = reinitialize(model, seed=1), reinitialize(model, seed=1)
        >>> bool((one.get_weights()[0] == other.get_weights()[0]).all())
        True
    """
    given, model = model, stripped(view(model))
    survey = Survey.of(model)
    kept = KeptChannels(survey, np.ones(survey.tracer.book.count, bool))
    rebuild = Rebuild(kept, Folding())
    with fresh_weights(survey.adapter, seed):
        new = rebuild.of(model)
    rebuild.set_weights(only=("Normalization",))
    _finished(new, given, survey.tracer.view)
    return new


def stripped(view: ModelView) -> Any:
    """The model without the wrappers of pruning."""
    if view.is_model and not view.has_graph:
        return view.model  # refused by the walk, and not to be changed in place
    return strip(view)


def _kept(
    survey: Survey, found: np.ndarray, constants: Constants, asked: tuple[bool, int, int]
) -> tuple[KeptChannels, dict[int, list[str]]]:
    """Which channels stay, and for each channel that stays though it is dead the reason."""
    borders, round_to, least = asked
    kept = KeptChannels(survey, ~found)
    reasons: dict[int, list[str]] = {}
    while True:
        revived = list(_rounded(kept, round_to, least)) or constants.standing(kept, borders)
        revived = revived or obstacles(kept, constants.fold(kept))
        if not revived:
            return kept, reasons
        for channels, reason in revived:
            kept.alive[channels] = True
            for channel in channels:
                reasons.setdefault(int(channel), []).append(reason)


def _rounded(kept: KeptChannels, round_to: int, least: int):
    """Dead channels that stay to fill a group up: the first ones."""
    for group, channels in kept.survey.groups:
        left = int(kept.alive[channels].sum())
        if left == len(channels):
            continue
        wanted = max(-(-left // round_to) * round_to, least, 1)
        missing = min(wanted, len(channels)) - left
        if missing > 0:
            why = (
                "one channel stays of a group that is all dead"
                if not left and round_to == least == 1
                else f"round_to={round_to}"
                if wanted > least
                else f"min_channels={least}"
            )
            yield channels[~kept.alive[channels]][:missing], why


def _finished(new: Any, given: Any, view: ModelView) -> list[str]:
    """Compile like the given model; what is different from the one without wrappers."""
    notes, model = [], view.model
    compiled_like = given if view.backend.is_model(given) else model
    try:
        done = view.backend.recompiled(new, compiled_like)
    except (TypeError, ValueError) as error:
        done = False
        notes.append(f"compile failed with {type(error).__name__}: {str(error)[:100]}")
    if not done:
        notes.append(
            "not compiled as the given model is, whose settings cannot be copied: call "
            "model.compile(...)"
        )
    beside = view.backend.lost(model)
    if beside is not None:
        notes.append(f"{beside} are not taken over")
    if type(new) is not type(model) and type(new).__name__ != type(model).__name__:
        notes.append(
            f"a plain {type(new).__name__}: {type(model).__name__} has a constructor of "
            "its own, so what its methods do in training is not taken over"
        )
    return notes


def _report(models: tuple[Any, Any], rebuild: Rebuild, outcome: tuple, more: tuple) -> ShrinkReport:
    found, kept, reasons = outcome
    folding, notes, agreed = more
    survey: Survey = kept.survey
    groups = []
    for group, channels in survey.groups:
        why = [group.reason] if group.reason else []
        for channel in channels:
            why += reasons.get(int(channel), [])
        groups.append(
            GroupChange(
                group.name,
                len(channels),
                int(kept.alive[channels].sum()),
                int(found[channels].sum()),
                tuple(dict.fromkeys(why)),
                tuple(np.flatnonzero(~kept.alive[channels]).tolist()),
            )
        )
    same = {id(survey.adapter.raw(new)): id(survey.adapter.raw(old)) for old, new in rebuild.pairs}
    (before, unknown), (after, _) = (_macs(model, survey, same) for model in models)
    whole, small = (int(model.count_params()) for model in models)
    return ShrinkReport(
        tuple(groups),
        tuple(folding.folded),
        (whole, small),
        (before, after),
        unknown,
        tuple(notes),
        agreed,
    )


def _macs(model: Any, survey: Survey, same: dict[int, int]) -> tuple[int, tuple[str, ...]]:
    """Of the kernels whose use is known, and the names of the others.

    Args:
        model: the one that was walked through, or a smaller copy, whose layers inside of layers of
            the user's own may have other names.
        same: {id of a variable of a copy: id of its variable in the given model}.
    """
    raw = survey.adapter.raw
    uses = {id(raw(one.variable)): survey.positions(one.site) for one in survey.tracer.view.sites}
    total, unknown = 0, []
    for item in survey.tracer.view.at(model).sites:
        key, count = id(raw(item.variable)), item.site.positions
        count = uses.get(same.get(key, key)) if count is None else count
        total += macs(item.site.shape, count) or 0
        unknown += [item.site.name] if count is None else []
    return total, tuple(unknown)


def dead(survey: Survey) -> np.ndarray:
    """Which channels carry nothing of the model's input: bool, for every channel.

    A channel is dead if every entry of every kernel that makes it is zero: what it carries then
    comes from biases alone. NaN is not zero.
    """
    variables = {entry.site: entry.variable for entry in survey.tracer.book.entries.values()}
    known: dict[tuple[str, int], np.ndarray] = {}

    def nonzero(site: str, axis: int) -> np.ndarray:
        if (site, axis) not in known:
            value = np.asarray(variables[site].numpy() != 0)
            others = tuple(each for each in range(value.ndim) if each != axis)
            known[site, axis] = np.any(value, axis=others, keepdims=False)
        return known[site, axis]

    found = np.zeros(survey.tracer.book.count, bool)
    for group, channels in survey.groups:
        if group.prunable and group.producers:
            made = [nonzero(one.site, one.axis)[one.indices].any(axis=1) for one in group.producers]
            found[channels] = ~np.any(made, axis=0)
    return found
