# SPDX-License-Identifier: Apache-2.0
"""Constants that dead channels carry, folded into what reads them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from tfprune.channels.model_channels import Survey
from tfprune.channels.normalization_folding import folds
from tfprune.layers.base import has, raw
from tfprune.layers.call import KeptChannels
from tfprune.layers.channel_graph import Ids, Role
from tfprune.layers.constants import Reader, readers, spreads
from tfprune.surgery.activation_constants import Seen, observed


@dataclass(frozen=True)
class Folded:
    """Constants that went into a layer.

    Attributes:
        reader: the kernel that read them.
        channels: how many of its entries.
        into: where they are now: "bias", "a new bias", or "moving_mean of" a normalization.
        border: whether the layer reads zeros beside the constants at the border of an image,
            where the folded model therefore differs.
    """

    reader: str
    channels: int
    into: str
    border: bool

    def __str__(self) -> str:
        where = ", exact but for the border" if self.border else ""
        return f"{self.channels} entries of {self.reader} into {self.into}{where}"


@dataclass
class Folding:
    """What folding changes: `added` by the id of a variable, `biases` by the id of a layer that
    had none, already without the channels that go."""

    added: dict[int, np.ndarray] = field(default_factory=dict)
    biases: dict[int, np.ndarray] = field(default_factory=dict)
    folded: list[Folded] = field(default_factory=list)


class Constants:
    """Looks once at what the readers of dead channels read; then tells what can be folded."""

    def __init__(self, model: Any, survey: Survey, dead: np.ndarray, data: Any):
        self.survey = survey
        wanted = {
            id(entry.variable)
            for entry in survey.tracer.book.entries.values()
            if entry.role is Role.CONSUMER and dead[survey.labels[entry.ids]].any()
        }
        adapter = survey.adapter
        self.readers = readers(model, adapter, wanted)
        self.seen = observed(model, adapter, self.readers, data) if self.readers else {}
        self.norms = folds(model)
        self.sites = {
            id(entry.variable): entry.site for entry in survey.tracer.book.entries.values()
        }

    def standing(self, kept: KeptChannels, borders: bool) -> list[tuple[Ids, str]]:
        """Channels that cannot go, since what they carry cannot be folded, with the reason.

        Args:
            borders: whether constants are folded where this is not exact at a border.
        """
        found = []
        for one in self.readers:
            gone, varying, constants = self._constants(one, kept)
            seen = self.seen[id(one.kernel)]
            if seen.reason or seen.low is None:
                reason = seen.reason or f"{one.layer.name} was not seen at work"
                found.append((self._channels(one, kept, gone), reason))
                continue
            if varying.any():
                reason = f"{self.sites[id(one.kernel)]} does not read a constant"
                found.append((self._channels(one, kept, varying), reason))
            if constants.any():
                why = self._obstacle(one, constants, borders)
                if why is not None:
                    found.append((self._channels(one, kept, constants != 0), why))
        return [(ids, reason) for ids, reason in found if ids.size]

    def fold(self, kept: KeptChannels) -> Folding:
        """Fold all constants of the channels that go."""
        result = Folding()
        for one in self.readers:
            *_, constants = self._constants(one, kept)
            if not constants.any():
                continue
            value = one.kind.constant(one, constants)
            into = self._sink(one)
            if into == "a new bias":
                for place, axis in enumerate(one.kind.makes(one)):
                    mask = kept.masks(one.kernel).get(axis)
                    value = value if mask is None else np.compress(mask, value, place)
                before = result.biases.get(id(one.layer), 0.0)
                result.biases[id(one.layer)] = before + value
            else:
                variable, change = self._change(one, into, value)
                result.added[id(variable)] = result.added.get(id(variable), 0.0) + change
            result.folded.append(
                Folded(
                    self.sites[id(one.kernel)], int(np.count_nonzero(constants)), into, spreads(one)
                )
            )
        return result

    def _constants(
        self, one: Reader, kept: KeptChannels
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Along the reading axes: what goes, what of it is read and varies, and the constants."""
        seen: Seen = self.seen[id(one.kernel)]
        axes = [entry.axis for entry in self._entries(one)]
        gone = np.zeros([one.kernel.shape[axis] for axis in axes], bool)
        for place, entry in enumerate(self._entries(one)):
            across = [1] * len(axes)
            across[place] = -1
            gone |= ~kept.mask(entry.ids).reshape(across)
        if not gone.any() or seen.low is None:
            return gone, np.zeros_like(gone), np.zeros(gone.shape)
        others = tuple(axis for axis in range(len(one.kernel.shape)) if axis not in axes)
        gone = gone & (one.kernel.numpy() != 0).any(axis=others)
        gone = np.broadcast_to(gone, seen.low.shape)  # a grouped convolution has one row a group
        return gone, gone & seen.varies(), np.where(gone, seen.constants(), 0.0)

    def _entries(self, one: Reader):
        return [
            entry
            for entry in self.survey.by_variable[id(one.kernel)]
            if entry.role is Role.CONSUMER
        ]

    def _channels(self, one: Reader, kept: KeptChannels, where: np.ndarray) -> Ids:
        """The channels that go and lie at these places."""
        entries = self._entries(one)
        where = where.reshape(-1, *where.shape[where.ndim - len(entries) :]).any(axis=0)
        found = []
        for place, entry in enumerate(entries):
            others = tuple(axis for axis in range(where.ndim) if axis != place)
            ids = entry.ids[where.any(axis=others) & ~kept.mask(entry.ids)]
            found.append(self.survey.labels[ids])
        return np.unique(np.concatenate(found))

    def _obstacle(self, one: Reader, constants: np.ndarray, borders: bool) -> str | None:
        value = one.kind.constant(one, constants)
        if isinstance(value, str):
            return value
        if spreads(one) and not borders:
            return (
                f"{one.layer.name} reads zeros beside it at the border; borders=True folds "
                "it, which is not exact there"
            )
        into = self._sink(one)
        if into is None:
            return f"{one.layer.name} has no bias to take up what it carries"
        if into == "bias" and self._change(one, into, value)[1] is None:
            return f"the bias of {one.layer.name} is too small to take up what it carries"
        return None

    def _sink(self, one: Reader) -> str | None:
        if one.variable("bias") is not None:
            return "bias"
        norm = self.norms.get(id(one.layer))
        if norm is not None and len(self.survey.by_operation.get(id(norm), ())) == 1:
            return f"moving_mean of {norm.name}"
        closed = any(has(layer, "projections") for layer in one.chain)
        return (
            None
            if closed or not hasattr(one.layer, "use_bias") and not hasattr(one.layer, "bias_axes")
            else "a new bias"
        )

    def _change(self, one: Reader, into: str, value: np.ndarray) -> tuple[Any, Any]:
        """The variable and what is added to it."""
        if into != "bias":
            return raw(one.adapter, self.norms[id(one.layer)], "moving_mean"), -value
        bias = one.variable("bias")
        shape = tuple(bias.shape)
        if len(shape) == 2 and one.kind.gates:
            return bias, np.stack([value, np.zeros_like(value)])
        return bias, value.reshape(shape) if value.size == np.prod(shape) else None
