# SPDX-License-Identifier: Apache-2.0
"""The places of gates and quantizers in a model, and the cost of each layer.

Found anew whenever it is needed, from the plain model or the wrapped one: nothing of it has to be
saved.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Any

import numpy as np

from tfprune.backend.base import Backend
from tfprune.backend.find_sites import Found
from tfprune.backend.model_view import ModelView
from tfprune.channels.groups import ChannelGroup, Member, channel_groups
from tfprune.layers.base import stock_kind_of
from tfprune.layers.channel_graph import Role
from tfprune.layers.elementwise import HOMOGENEOUS, ZERO_AT_ZERO
from tfprune.masks.costs import macs
from tfprune.masks.sites import Site, Skip
from tfprune.quantization.djpq_graph import Node, nodes
from tfprune.quantization.settings import Part


@dataclass(frozen=True, eq=False)
class Maker:
    """A layer that makes gated channels.

    Attributes:
        layer: the layer.
        site: of its kernel.
        end: the layer behind which the gate stands: itself, its normalization or its activation.
        norm: the normalization that takes the factors at the end; None: its own kernel does.
        vectors: the variables beside a kernel that are multiplied by the factors.
    """

    layer: Any
    site: Site
    end: Any
    norm: Any
    vectors: tuple[Any, ...]


@dataclass(frozen=True, eq=False)
class Gated:
    """Channels that have one gate vector: all that make or pass on a channel group."""

    group: ChannelGroup
    makers: tuple[Maker, ...]


@dataclass(frozen=True, eq=False)
class Work:
    """One quantized layer and what it costs.

    Attributes:
        layer: the layer itself, not its wrapper.
        site: of its kernel.
        macs: of one example, unpruned.
        reads, makes: {name of a gated channel group: fraction of its input or output entries}.
        raw: whether it reads the model's own inputs.
    """

    layer: Any
    site: Site
    macs: int
    reads: dict[str, float]
    makes: dict[str, float]
    raw: bool


@dataclass(frozen=True, eq=False)
class Places:
    """What stands where.

    Attributes:
        works: the quantized layers, in the model's order.
        gated: the gates, by the name of their channel group.
        parts: {id of a layer: what is wrapped around it}.
        skipped: what is not quantized or not gated, and why.
    """

    works: tuple[Work, ...]
    gated: dict[str, Gated]
    parts: dict[int, Part]
    skipped: tuple[Skip, ...]


def places(view: ModelView, activations: bool = True) -> Places:
    """Find out what stands where in a functional or Sequential model, wrapped already or not.

    Raises:
        ValueError: no graph; not built; nothing that can be quantized.
    """
    graph = nodes(view)
    calls = Counter(id(node.operation) for node in graph)
    by_layer = {id(node.operation): node for node in graph}
    held, skipped = {}, []
    for item in view.sites:
        reason = _unquantized(item, by_layer)
        if reason:
            skipped.append(Skip(item.site.name, f"not quantized: {reason}"))
        else:
            held[item.site.name] = item
    if not held:
        raise ValueError(
            f"The model {view.model.name!r} has no layer that can be quantized: Dense, "
            "EinsumDense or a convolution, with fixed sizes of its inputs."
        )
    gated: dict[str, Gated] = {}
    groups = channel_groups(view.model)
    for group in groups:
        made = _gated(group, held, by_layer, calls, view.backend)
        if isinstance(made, str):
            skipped.append(Skip(group.name, f"its channels have no gate: {made}"))
        elif made is not None:
            gated[group.name] = made
    works = tuple(_work(item, by_layer[id(item.owner)], groups, gated) for item in held.values())
    return Places(works, gated, _parts(works, gated, by_layer, activations), tuple(skipped))


def _unquantized(item: Found, by_layer: dict[int, Node]) -> str | None:
    if "one_product" not in stock_kind_of(item.owner).traits or id(item.owner) not in by_layer:
        return "only Dense, EinsumDense and convolutions are, on their own"
    if not item.site.positions:
        return "how often its weights are used is not known, so its bit operations are not either"
    return None


def _gated(
    group: ChannelGroup,
    held: dict[str, Found],
    by_layer: dict[int, Node],
    calls: Counter,
    adapter: Backend,
) -> Gated | str | None:
    """The gate of a group; why it has none; or None if there is nothing to gate at all."""
    makers = [one for one in group.members if one.role in (Role.PRODUCER, Role.PASSING)]
    if not makers:
        return None
    if not group.prunable:
        return group.reason
    made = []
    for member in makers:
        item = held.get(member.site)
        if item is None:
            return f"{member.site} cannot be gated"
        if not _is_whole(member, item.site):
            return f"{member.site} makes other channels, too"
        maker = _maker(item, by_layer[id(item.owner)], calls, adapter)
        if isinstance(maker, str):
            return f"{member.site}: {maker}"
        made.append(maker)
    return Gated(group, tuple(made))


def _is_whole(member: Member, site: Site) -> bool:
    """Whether the group's channels are all the layer's outputs, in their order."""
    outputs = [axis for axis in site.layout.outputs if site.shape[axis] > 1]
    count = site.shape[member.axis]
    return outputs in ([member.axis], []) and np.array_equal(
        member.indices, np.arange(count)[:, None]
    )


def _maker(item: Found, node: Node, calls: Counter, adapter: Backend) -> Maker | str:
    """Follow a layer through its normalization and activation to where its gate stands.

    A gate stands behind an activation f only if f(c x) = c f(x), so that the factors can be folded
    into the weights before it; else before it, if zeros stay zeros in it.
    """
    if getattr(node.operation, "data_format", None) == "channels_first":
        return "its channels come first, gates are for channels that come last"
    end, fold, through = node, node, node.activation or "linear"
    after = node.reader
    if after is not None and "batch_statistics" in after.traits:
        norm = after.operation
        if not (norm.scale and norm.center):
            return f"{norm.name} has no gamma or no beta, which would take its factors"
        end = fold = after
        through = "linear"
    if through not in HOMOGENEOUS:
        return f"its activation {through} stands before its factors, which cannot be folded"
    after = end.reader
    if after is not None and "activation" in after.traits:
        if after.activation in HOMOGENEOUS:
            end = after
        elif after.activation not in ZERO_AT_ZERO:
            return f"{after.operation.name} makes something of zeros"
    for one in (node, end, fold):
        if calls[id(one.operation)] > 1:
            return f"{one.operation.name} is used several times"
    names = ("bias",) if fold is node else ("gamma", "beta")
    found = [adapter.attribute(fold.operation, name) for name in names]
    vectors = tuple(adapter.raw(variable) for variable in found if variable is not None)
    norm = None if fold is node else fold.operation
    return Maker(item.owner, item.site, end.operation, norm, vectors)


def _work(
    item: Found, node: Node, groups: tuple[ChannelGroup, ...], gated: dict[str, Gated]
) -> Work:
    reads: dict[str, float] = {}
    makes: dict[str, float] = {}
    for group in groups:
        for member in group.members if group.name in gated else ():
            if member.site != item.site.name:
                continue
            share = member.indices.size / item.site.shape[member.axis]
            side = reads if member.role is Role.CONSUMER else makes
            side[group.name] = side.get(group.name, 0.0) + share
    raw = all(one.is_raw_input for one in node.sources)
    count = macs(item.site.shape, item.site.positions)
    assert count is not None  # others are not quantized
    return Work(item.owner, item.site, count, reads, makes, raw)


def _parts(
    works: tuple[Work, ...], gated: dict[str, Gated], by_layer: dict[int, Node], activations: bool
) -> dict[int, Part]:
    channels = {id(maker.end): each.group.size for each in gated.values() for maker in each.makers}
    parts = {}
    for work in works:
        sources = by_layer[id(work.layer)].sources
        kind = "unsigned" if all(one.is_positive for one in sources) else "signed"
        inputs = kind if activations and not work.raw else ""
        parts[id(work.layer)] = Part(True, inputs, channels.pop(id(work.layer), 0))
    parts.update({layer: Part(channels=count) for layer, count in channels.items()})
    return parts
