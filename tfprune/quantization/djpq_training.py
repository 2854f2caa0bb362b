# SPDX-License-Identifier: Apache-2.0
"""The beginning and the end of a run of joint pruning and quantization."""

from __future__ import annotations

from collections import Counter
from types import ModuleType
from typing import Any

import numpy as np

from tfprune.backend.find_sites import all_wrappers
from tfprune.channels.groups import Member
from tfprune.quantization import djpq_state
from tfprune.quantization.bop_loss import Price
from tfprune.quantization.djpq_graph import nodes
from tfprune.quantization.djpq_layer import is_joint
from tfprune.quantization.djpq_placement import Maker, Places, places

_DEAD = 20.0  # ln sigma^2 of a dropped channel: the last that is chosen to keep a layer alive


def joint_wrappers(model: Any, home: ModuleType) -> list[Any]:
    """The wrappers of joint pruning and quantization in a model, each once."""
    return list(dict.fromkeys(one for one in all_wrappers(model, home) if is_joint(one)))


def price_of(model: Any, home: ModuleType) -> Price:
    """The price of a wrapped model.

    Raises:
        ValueError: the model is not wrapped, or was changed since.
    """
    held = joint_wrappers(model, home)
    if not held:
        raise ValueError(
            f"Joint pruning and quantization stands in the forward pass, and the model "
            f"{model.name!r} is not wrapped for it: model = tfprune.prune(model, 'djpq'), compile "
            "and train that with PruningCallback()."
        )
    found = places(model, home, held[0].core.gate.activations)
    wrapped = {id(one.layer): one.core for one in held}
    if found.parts.keys() - wrapped.keys():
        raise ValueError(
            f"Some layers of the model {model.name!r} are wrapped for joint pruning and "
            "quantization and others are not: wrap the whole model, after its last change."
        )
    return Price(found, wrapped)


def begin(model: Any, home: ModuleType) -> None:
    """Soften the weights, note their scales, and let the model pay its price."""
    price = price_of(model, home)
    price.tie()
    held = joint_wrappers(model, home)
    if not djpq_state.restore(held, price.places, home):
        for one in held:
            if one.core.weights is not None:
                _soften(one)
    for one in held:
        one.core.is_running = True
        if one.core.weights is not None:
            _scale(one)
        one.core.hard.assign(0.0)
    optimizer = home.innermost_optimizer(model)
    if optimizer is not None:
        home.spare_decay(optimizer, [variable for one in held for variable in one.core.variables])
    calls = Counter(id(node.operation) for node in nodes(model, home))
    payer = min(held, key=lambda one: calls[id(one.layer)])
    count = calls[id(payer.layer)]  # every call of a layer adds to the loss
    payer.core.price = lambda: price.penalty(home.raw(payer.pruning_step)) / count


def finish(model: Any, home: ModuleType) -> None:
    """Quantize the weights, fold the gates, mask what is dropped; once more changes nothing."""
    held = joint_wrappers(model, home)
    for one in held:
        one.core.release()
    if all(float(one.core.hard.numpy()) for one in held):
        return
    found = price_of(model, home).places
    by_layer = {id(one.layer): one for one in held}
    kept = djpq_state.take(held, found, home)
    for one in held:
        if one.core.weights is not None:
            _quantize(one, home)
    folded = _fold(found, by_layer, home)
    _mask(found, by_layer, folded, home)
    for one in held:
        one.core.hard.assign(1.0)
    djpq_state.keep(kept, held, found, home)


def before_strip(model: Any, home: ModuleType) -> None:
    """Make ready for taking the wrappers off.

    Raises:
        ValueError: a run is on, or a layer is to be stripped by itself.
    """
    held = joint_wrappers(model, home)
    if any(one.core.is_running for one in held):
        raise ValueError(
            f"The model {model.name!r} is being trained: its gates are folded and its weights "
            "quantized when the run ends, and the plain model shares them. Strip it afterwards; "
            "after a run that was interrupted call the callback's finish() first."
        )
    if held and not home.is_model(model) and not float(held[0].core.hard.numpy()):
        raise ValueError(
            f"{model.name!r} is one layer of a model whose gates are folded "
            "together: strip the model."
        )
    finish(model, home)


def _soften(wrapper: Any) -> None:
    """What rounding took comes back."""
    kernel, mask, state = wrapper.core_variables()
    kernel.assign(kernel.numpy() + state["rest"].numpy() * mask.numpy())
    state["rest"].assign(np.zeros(kernel.shape, np.float32))


def _scale(wrapper: Any) -> None:
    """The scale of weights that have none yet is their largest."""
    kernel, _, state = wrapper.core_variables()
    scale = state["scale"].numpy()
    if not scale.any():
        largest = float(np.abs(kernel.numpy()).max())
        state["scale"].assign(np.full_like(scale, largest if largest > 0 else 1.0))


def _quantize(wrapper: Any, home: ModuleType) -> None:
    kernel, _, state = wrapper.core_variables()
    if float(wrapper.core.hard.numpy()):
        return
    value = kernel.numpy().astype(np.float32)
    shown = wrapper.core.weights(value, state["scale"].numpy()).numpy()
    kernel.assign(shown)
    state["rest"].assign(value - shown)


def _fold(found: Places, by_layer: dict[int, Any], home: ModuleType) -> dict[str, np.ndarray]:
    """Move the factors of the gates into weights; {channel group: which channels are kept}.

    The gate that is left is 1 with as much noise for its mean as before, so training could go on
    from here: z / mu = 1 + (sigma / mu) eps.
    """
    folded = {}
    for name, gated in found.gated.items():
        first = by_layer[id(gated.makers[0].end)].core.bottleneck
        mu, log_variance, kept = first.read()
        factors = np.where(kept, mu, 0.0).astype(np.float32)
        safe = np.where(kept, mu, 1.0)
        for maker in gated.makers:
            _multiply(maker, factors, by_layer, home)
            by_layer[id(maker.end)].core.bottleneck.write(
                kept.astype(np.float32), np.where(kept, log_variance - 2 * np.log(safe), _DEAD)
            )
        folded[name] = kept
    return folded


def _multiply(
    maker: Maker, factors: np.ndarray, by_layer: dict[int, Any], home: ModuleType
) -> None:
    if not maker.is_norm:
        kernel, _, state = by_layer[id(maker.fold)].core_variables()
        wide = _along(factors, state["scale"].shape)
        for variable in (kernel, state["rest"]):
            variable.assign(variable.numpy() * wide)
        state["scale"].assign(state["scale"].numpy() * np.where(wide > 0, wide, 1.0))
    for variable in maker.vectors(home):
        variable.assign(variable.numpy() * factors)


def _along(values: np.ndarray, shape: Any) -> np.ndarray:
    """Per-channel values in the shape of a scale, which has one axis of that length."""
    return values.reshape([len(values) if size == len(values) > 1 else 1 for size in shape])


def _mask(
    found: Places, by_layer: dict[int, Any], folded: dict[str, np.ndarray], home: ModuleType
) -> None:
    """Dropped channels: the filters that make them and the entries that read them become zero."""
    works = {work.site.name: work for work in found.works}
    for name, kept in folded.items():
        for member in found.gated[name].group.members:
            if member.site in works and not kept.all():
                _remove(by_layer[id(works[member.site].layer)], member, ~kept)


def _remove(wrapper: Any, member: Member, dropped: np.ndarray) -> None:
    kernel, mask, state = wrapper.core_variables()
    value = mask.numpy()
    place = [slice(None)] * value.ndim
    place[member.axis] = member.indices[dropped].ravel()
    value[tuple(place)] = 0
    mask.assign(value)
    for variable in (kernel, state["rest"]):
        variable.assign(variable.numpy() * value)
