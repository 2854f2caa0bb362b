# SPDX-License-Identifier: Apache-2.0
"""The beginning and the end of a run of joint pruning and quantization."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np

from tfprune.backend.model_view import ModelView
from tfprune.channels.groups import Member
from tfprune.quantization import djpq_state
from tfprune.quantization.bop_loss import Price
from tfprune.quantization.djpq_graph import nodes
from tfprune.quantization.djpq_layer import LearnedCore, Quantizer, is_joint
from tfprune.quantization.djpq_placement import Maker, Places, places

_DEAD = 20.0  # ln sigma^2 of a dropped channel: the last that is chosen to keep a layer alive

Cores = dict[int, LearnedCore]
"""{id of a layer: what its wrapper adds}."""


def cores_of(view: ModelView) -> list[LearnedCore]:
    """What the wrappers of joint pruning and quantization in a model add, each once."""
    return list(dict.fromkeys(one.core for one in view.all_wrappers if is_joint(one)))


def price_of(view: ModelView) -> Price:
    """The price of a wrapped model.

    Raises:
        ValueError: the model is not wrapped, or was changed since.
    """
    cores = cores_of(view)
    if not cores:
        raise ValueError(
            f"Joint pruning and quantization stands in the forward pass, and the model "
            f"{view.model.name!r} is not wrapped for it: model = tfprune.prune(model, 'djpq'), "
            "compile and train that with PruningCallback()."
        )
    found = places(view, cores[0].gate.activations)
    wrapped = {id(core.layer): core for core in cores}
    if found.parts.keys() - wrapped.keys():
        raise ValueError(
            f"Some layers of the model {view.model.name!r} are wrapped for joint pruning and "
            "quantization and others are not: wrap the whole model, after its last change."
        )
    return Price(found, wrapped)


def begin(view: ModelView) -> None:
    """Soften the weights, note their scales, and let the model pay its price."""
    price = price_of(view)
    price.tie()
    cores = cores_of(view)
    softened = djpq_state.restore(cores, price.places)
    for core in cores:
        core.is_running = True
        if core.weights is not None:
            if not softened:
                _soften(core)
            _note_scale(core)
        core.hard.assign(0.0)
    optimizer = view.backend.innermost_optimizer(view.model)
    if optimizer is not None:
        own = [variable for core in cores for variable in core.variables]
        view.backend.spare_decay(optimizer, own)
    calls = Counter(id(node.operation) for node in nodes(view))
    payer = min(cores, key=lambda core: calls[id(core.layer)])
    count = calls[id(payer.layer)]  # every call of a layer adds to the loss
    payer.price = lambda: price.penalty(payer.step) / count


def finish(view: ModelView) -> None:
    """Quantize the weights, fold the gates, mask what is dropped; once more changes nothing."""
    cores = cores_of(view)
    for core in cores:
        core.release()
    if all(float(core.hard.numpy()) for core in cores):
        return
    price = price_of(view)
    soft = djpq_state.take(cores, price.places)
    for core in cores:
        if core.weights is not None and not float(core.hard.numpy()):
            _quantize(core, core.weights)
    _mask(price.places, price.wrapped, _fold(price.places, price.wrapped))
    for core in cores:
        core.hard.assign(1.0)
    djpq_state.keep(soft, cores, price.places)


def before_strip(view: ModelView) -> None:
    """Make ready for taking the wrappers off.

    Raises:
        ValueError: a run is on, or a layer is to be stripped by itself.
    """
    cores = cores_of(view)
    if any(core.is_running for core in cores):
        raise ValueError(
            f"The model {view.model.name!r} is being trained: its gates are folded and its weights "
            "quantized when the run ends, and the plain model shares them. Strip it afterwards; "
            "after a run that was interrupted call the callback's finish() first."
        )
    if cores and not view.is_model and not float(cores[0].hard.numpy()):
        raise ValueError(
            f"{view.model.name!r} is one layer of a model whose gates are folded "
            "together: strip the model."
        )
    finish(view)


def _soften(core: LearnedCore) -> None:
    """What rounding took comes back."""
    core.kernel.assign(core.kernel.numpy() + core.rest.numpy() * core.mask.numpy())
    core.rest.assign(np.zeros(core.kernel.shape, np.float32))


def _note_scale(core: LearnedCore) -> None:
    """The scale of weights that have none yet is their largest."""
    scale = core.scale.numpy()
    if not scale.any():
        largest = float(np.abs(core.kernel.numpy()).max())
        core.scale.assign(np.full_like(scale, largest if largest > 0 else 1.0))


def _quantize(core: LearnedCore, quantizer: Quantizer) -> None:
    value = core.kernel.numpy().astype(np.float32)
    shown = quantizer(value, core.scale.numpy()).numpy()
    core.kernel.assign(shown)
    core.rest.assign(value - shown)


def _fold(found: Places, cores: Cores) -> dict[str, np.ndarray]:
    """Move the factors of the gates into weights; {channel group: which channels are kept}.

    The gate that is left is 1 with as much noise for its mean as before, so training could go on
    from here: z / mu = 1 + (sigma / mu) eps.
    """
    folded = {}
    gates = {key: core.bottleneck for key, core in cores.items() if core.bottleneck is not None}
    for name, gated in found.gated.items():
        mu, log_variance, kept = gates[id(gated.makers[0].end)].read()
        factors = np.where(kept, mu, 0.0).astype(np.float32)
        safe = np.where(kept, mu, 1.0)
        for maker in gated.makers:
            _multiply(maker, factors, cores)
            gates[id(maker.end)].write(
                kept.astype(np.float32), np.where(kept, log_variance - 2 * np.log(safe), _DEAD)
            )
        folded[name] = kept
    return folded


def _multiply(maker: Maker, factors: np.ndarray, cores: Cores) -> None:
    if maker.norm is None:
        core = cores[id(maker.layer)]
        wide = _along(factors, core.scale.shape)
        for variable in (core.kernel, core.rest):
            variable.assign(variable.numpy() * wide)
        core.scale.assign(core.scale.numpy() * np.where(wide > 0, wide, 1.0))
    for variable in maker.vectors:
        variable.assign(variable.numpy() * factors)


def _along(values: np.ndarray, shape: Any) -> np.ndarray:
    """Per-channel values in the shape of a scale, which has one axis of that length."""
    return values.reshape([len(values) if size == len(values) > 1 else 1 for size in shape])


def _mask(found: Places, cores: Cores, folded: dict[str, np.ndarray]) -> None:
    """Dropped channels: the filters that make them and the entries that read them become zero."""
    works = {work.site.name: work for work in found.works}
    for name, kept in folded.items():
        for member in found.gated[name].group.members:
            if member.site in works and not kept.all():
                _remove(cores[id(works[member.site].layer)], member, ~kept)


def _remove(core: LearnedCore, member: Member, dropped: np.ndarray) -> None:
    value = core.mask.numpy()
    place: list[Any] = [slice(None)] * value.ndim
    place[member.axis] = member.indices[dropped].ravel()
    value[tuple(place)] = 0
    core.mask.assign(value)
    for variable in (core.kernel, core.rest):
        variable.assign(variable.numpy() * value)
