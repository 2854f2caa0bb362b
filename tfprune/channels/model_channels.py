# SPDX-License-Identifier: Apache-2.0
"""A model's channels as one array of numbers, and what is left of its tensors without some."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from math import prod
from typing import Any

from tfprune.backend.base import Backend
from tfprune.channels.groups import ChannelGroup, grouped
from tfprune.channels.inner_uses import inner_uses
from tfprune.channels.tracer import Tracer, walked
from tfprune.layers.call import LayerCall
from tfprune.layers.channel_graph import Entry, Ids
from tfprune.layers.dense import labels_of
from tfprune.layers.symbolic_tensor import SymbolicTensor
from tfprune.masks.sites import Site


@dataclass(frozen=True, eq=False)
class Survey:
    """A walk through a model.

    Attributes:
        tracer: the walk.
        labels: for every number of the channel graph the channel that it stands for.
        groups: the channel groups, each with its channels.
        recipes: how layers of the user's own were made smaller, by layer and sizes.
    """

    tracer: Tracer
    labels: Ids
    groups: tuple[tuple[ChannelGroup, Ids], ...]
    recipes: dict[tuple, tuple[int, int]] = field(default_factory=dict)

    @classmethod
    def of(cls, model: Any) -> "Survey":
        """Walk through a model; see `walked` for the errors."""
        tracer = walked(model)
        labels = tracer.book.labels()
        at, found = _by_place(tracer), []
        for group in grouped(tracer.book):
            first = group.members[0]
            found.append((group, labels[at[first.site, first.axis].ids[first.indices[:, 0]]]))
        return cls(tracer, labels, tuple(found))

    @property
    def adapter(self) -> Backend:
        return self.tracer.adapter

    @cached_property
    def by_place(self) -> dict[tuple[str, int], Entry]:
        """The entry of each axis of a variable, by the name of its site."""
        return _by_place(self.tracer)

    @cached_property
    def by_variable(self) -> dict[int, list[Entry]]:
        """The entries of each variable, by its id, by axis."""
        found: dict[int, list[Entry]] = {}
        for entry in self.tracer.book.entries.values():
            found.setdefault(id(entry.variable), []).append(entry)
        return {key: sorted(each, key=lambda one: one.axis) for key, each in found.items()}

    @cached_property
    def by_operation(self) -> dict[int, list[tuple[LayerCall, list[SymbolicTensor]]]]:
        """Every call of each layer or operation, by its id."""
        found: dict[int, list[tuple[LayerCall, list[SymbolicTensor]]]] = {}
        for step, results in self.tracer.history:
            found.setdefault(id(step.operation), []).append((step, results))
        return found

    @cached_property
    def uses(self) -> dict[str, int]:
        """How often each weight of an EinsumDense, and of kernels inside of layers that were looked
        into, is used for one example, by its site's name. The same without some channels."""
        found: dict[str, int] = {}
        inside: set[int] = set()
        for step, _ in reversed(self.tracer.history):  # a layer comes after those inside of it
            if step.inside is not None and id(step) not in inside:
                for name, count in inner_uses(step):
                    if count is not None:
                        found[name] = found.get(name, 0) + count
            if step.inside is not None:
                inside.update(id(one) for one, _ in step.parts)
            if id(step) in inside:
                continue
            equation = getattr(step.operation, "equation", None)
            if not isinstance(equation, str) or not hasattr(step.operation, "bias_axes"):
                continue
            inputs, kernel, _ = labels_of(equation, len(step.value.shape), step.name)
            sizes = [
                size
                for size, label in zip(step.value.shape[1:], inputs[1:], strict=True)
                if label not in kernel
            ]
            known = [size for size in sizes if size is not None]
            if len(known) == len(sizes):
                name = f"{step.name}/kernel"
                found[name] = found.get(name, 0) + prod(known)
        return found

    def positions(self, site: Site) -> int | None:
        """How often each weight of a kernel is used for one example; None: not known.

        Args:
            site: of this model, or of the same without some channels.
        """
        return self.uses.get(site.name) if site.positions is None else site.positions


def _by_place(tracer: Tracer) -> dict[tuple[str, int], Entry]:
    return {(entry.site, entry.axis): entry for entry in tracer.book.entries.values()}
