# SPDX-License-Identifier: Apache-2.0
"""Finds the prunable weights of a model, in the order in which its layers stand."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Iterator

from tfprune.backend.base import Backend
from tfprune.layers.base import KernelSpec, Uses, has, kind_of, positions, reason_dense
from tfprune.masks.kernel_layout import Layout, of_shape
from tfprune.masks.sites import Site, Skip

Shapes = tuple[Any, Any]


@dataclass(frozen=True)
class Found:
    """A site with its variable, and the wrapper that holds its mask (None: not wrapped).

    `owner` is the innermost layer that holds the variable.
    """

    site: Site
    variable: Any
    wrapper: Any = None
    owner: Any = None


@dataclass(frozen=True)
class _Place:
    """Where the walk stands."""

    path: tuple[str, ...]
    layer: str | None = None
    wrapper: Any = None
    calls: tuple[Shapes, ...] = ()

    @property
    def name(self) -> str:
        return "/".join(self.path)

    def through(self, holder: Any, wrapper: Any) -> "_Place":
        inner = holder.layer.name
        return _Place((*self.path[:-1], inner), inner, wrapper, self.calls)

    def into(self, layer: Any, is_model: bool, calls: tuple[Shapes, ...]) -> "_Place":
        own = None if is_model else layer.name
        return _Place(self.path + (layer.name,), self.layer or own, self.wrapper, calls)


def find(root: Any, backend: Backend) -> tuple[tuple[Found, ...], tuple[Skip, ...]]:
    """All sites under a model or a layer, each variable once, and what stays dense."""
    place = _Place(()) if backend.is_model(root) else _Place((root.name,), root.name)
    items = list(_Finder(backend).visit(root, place))
    return (
        tuple(one for one in items if isinstance(one, Found)),
        tuple(one for one in items if isinstance(one, Skip)),
    )


class _Finder:
    def __init__(self, backend: Backend):
        self.backend = backend
        self.seen: set[int] = set()

    def visit(self, layer: Any, place: _Place) -> Iterator[Found | Skip]:
        if id(layer) in self.seen:
            return
        self.seen.add(id(layer))
        if self.backend.is_wrapper(layer):
            yield from self._wrapped(layer, place.through(layer, layer))
            return
        if self.backend.is_quantized(layer):  # looked through: names are those of the plain model
            yield from self.visit(layer.layer, place.through(layer, place.wrapper))
            return
        yield from self._own(layer, place)
        if self.backend.has_prunable_weights(layer):
            return
        is_model = self.backend.is_model
        graph = self.backend.calls(layer) if is_model(layer) else None
        for sub in self.backend.sublayers(layer):
            calls = graph.get(id(sub), ()) if graph is not None else _inner(layer, place.calls)
            yield from self.visit(sub, place.into(sub, is_model(sub), tuple(calls)))

    def _wrapped(self, wrapper: Any, place: _Place) -> Iterator[Found | Skip]:
        """What a wrapper prunes; an object may carry its own get_prunable_weights, as TF-MOT
        allows."""
        chosen = {id(self.backend.raw(entry[0])): entry[0] for entry in wrapper.pruning_vars}
        inside = list(self.visit(wrapper.layer, place))
        known = {id(item.variable) for item in inside if isinstance(item, Found)}
        others = [variable for key, variable in chosen.items() if key not in known]
        for item in inside:
            if (not others) if isinstance(item, Skip) else id(item.variable) in chosen:
                yield item
        yield from self._listed(wrapper.layer, others, place)

    def _own(self, layer: Any, place: _Place) -> Iterator[Found | Skip]:
        """The kernels that this layer itself holds, or why its weights stay dense."""
        kernels = kind_of(layer).kernels
        if self.backend.has_prunable_weights(layer):
            yield from self._listed(layer, layer.get_prunable_weights(), place)
            return
        if not kernels:
            if self.backend.own_trainable(layer):
                yield Skip(place.name, reason_dense(layer))
            return
        for spec in kernels:
            variable = self.backend.attribute(layer, spec.attribute)
            if variable is None:
                continue
            if self.backend.is_float(variable):
                yield from self._site(spec.attribute, layer, variable, place, spec=spec)
            else:
                dtype = self.backend.dtype(variable)
                yield Skip(place.name, f"{spec.attribute} is {dtype}, not a float weight")

    def _listed(self, layer: Any, variables: Any, place: _Place) -> Iterator[Found]:
        """Variables of which it is only known that they are to be pruned."""
        for variable in variables:
            label = self.backend.attribute_of(layer, variable)
            yield from self._site(label, layer, variable, place)

    def _site(
        self,
        label: str,
        owner: Any,
        variable: Any,
        place: _Place,
        *,
        spec: KernelSpec | None = None,
    ) -> Iterator[Found]:
        raw = self.backend.raw(variable)
        if id(raw) in self.seen:
            return
        self.seen.add(id(raw))
        name = f"{place.name}/{label}"
        layout = of_shape(tuple(variable.shape)) if spec is None else spec.layout(owner)
        positions = _uses(None if spec is None else spec.uses, layout, place)
        site = Site(name, tuple(raw.shape), layout, place.layer or name, positions)
        yield Found(site, raw, place.wrapper, owner)


def _uses(uses: Uses | None, layout: Layout, place: _Place) -> int | None:
    if uses is None or not place.calls:
        return 0 if uses is Uses.LOOKUP else None
    each = [positions(uses, inputs, outputs, layout) for inputs, outputs in place.calls]
    known = [one for one in each if one is not None]
    return sum(known) if len(known) == len(each) else None


def _inner(layer: Any, calls: tuple[Shapes, ...]) -> tuple[Shapes, ...]:
    """Shapes for the layers inside a composite layer, where they can be told from its own."""
    return calls if has(layer, "loop") else ()
