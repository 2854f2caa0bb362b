# SPDX-License-Identifier: Apache-2.0
"""Find the prunable weights of a model, in the order in which its layers stand.

Written once for both Kerases; what differs between them is asked from the adapter module.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Iterator

from tfprune.backend.base import Backend
from tfprune.layers.base import Uses, has, kind_of
from tfprune.layers.prunable_weights import positions, reason_dense
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

    def into(self, layer: Any, is_model: bool, calls: tuple[Shapes, ...]) -> "_Place":
        own = None if is_model else layer.name
        return _Place(self.path + (layer.name,), self.layer or own, self.wrapper, calls)


def find(root: Any, adapter: Backend) -> tuple[list[Found], list[Skip]]:
    """All sites under a model or a layer, each variable once, and what stays dense."""
    seen: set[int] = set()
    found: list[Found] = []
    skipped: list[Skip] = []
    place = _Place(()) if adapter.is_model(root) else _Place((root.name,), root.name)
    for item in _visit(root, place, adapter, seen):
        (found if isinstance(item, Found) else skipped).append(item)
    return found, skipped


def is_wrapped(layer: Any, adapter: Backend) -> bool:
    """Whether it is one of our wrappers, for pruning or for fine-tuning on integer grids."""
    return adapter.is_wrapper(layer) or adapter.is_quantized(layer)


def all_wrappers(root: Any, adapter: Backend) -> Iterator[Any]:
    """The wrappers of every kind under a model or a layer, built or not; a shared one as often as
    it is held."""
    if is_wrapped(root, adapter):
        yield root
        return
    for layer in adapter.sublayers(root):
        yield from all_wrappers(layer, adapter)


def wrappers(root: Any, adapter: Backend) -> Iterator[Any]:
    """The wrappers that prune under a model or a layer, each as often as it is held."""
    return (one for one in all_wrappers(root, adapter) if adapter.is_wrapper(one))


def _visit(layer: Any, place: _Place, adapter: Backend, seen: set[int]) -> Iterator[Any]:
    if id(layer) in seen:
        return
    seen.add(id(layer))
    if adapter.is_wrapper(layer):
        inner = _Place(place.path[:-1] + (layer.layer.name,), layer.layer.name, layer, place.calls)
        yield from _wrapped(layer, inner, adapter, seen)
        return
    if adapter.is_quantized(layer):  # looked through: names are those of the plain model
        inner = _Place(
            place.path[:-1] + (layer.layer.name,), layer.layer.name, place.wrapper, place.calls
        )
        yield from _visit(layer.layer, inner, adapter, seen)
        return
    yield from _own(layer, place, adapter, seen)
    if adapter.has_prunable_weights(layer):
        return
    graph = adapter.calls(layer) if adapter.is_model(layer) else None
    for sub in adapter.sublayers(layer):
        calls = graph.get(id(sub), ()) if graph is not None else _inner(layer, place.calls)
        yield from _visit(sub, place.into(sub, adapter.is_model(sub), tuple(calls)), adapter, seen)


def _wrapped(wrapper: Any, place: _Place, adapter: Backend, seen: set[int]) -> Iterator[Any]:
    """What a wrapper prunes; an object may carry its own get_prunable_weights, as TF-MOT allows."""
    chosen = {id(adapter.raw(entry[0])): entry[0] for entry in wrapper.pruning_vars}
    inside = list(_visit(wrapper.layer, place, adapter, seen))
    known = {id(item.variable) for item in inside if isinstance(item, Found)}
    others = [variable for key, variable in chosen.items() if key not in known]
    for item in inside:
        if (not others) if isinstance(item, Skip) else id(item.variable) in chosen:
            yield item
    for variable in others:
        name = "/".join([*place.path, adapter.attribute_of(wrapper.layer, variable)])
        layout = of_shape(tuple(variable.shape))
        yield from _site(name, (wrapper.layer, variable), layout, None, place, adapter, seen)


def _own(layer: Any, place: _Place, adapter: Backend, seen: set[int]) -> Iterator[Any]:
    """The kernels that this layer itself holds, or why its weights stay dense."""
    name = "/".join(place.path)
    kernels = kind_of(layer).kernels
    if adapter.has_prunable_weights(layer):
        for variable in layer.get_prunable_weights():
            label = adapter.attribute_of(layer, variable)
            layout = of_shape(tuple(variable.shape))
            yield from _site(
                f"{name}/{label}", (layer, variable), layout, None, place, adapter, seen
            )
        return
    if not kernels:
        if adapter.own_trainable(layer):
            yield Skip(name, reason_dense(layer))
        return
    for row in kernels:
        variable = adapter.attribute(layer, row.attribute)
        if variable is None:
            continue
        if not adapter.is_float(variable):
            yield Skip(name, f"{row.attribute} is {adapter.dtype(variable)}, not a float weight")
            continue
        yield from _site(
            f"{name}/{row.attribute}",
            (layer, variable),
            row.layout(layer),
            row.uses,
            place,
            adapter,
            seen,
        )


def _site(
    name: str,
    held: tuple[Any, Any],
    layout: Layout,
    uses: Uses | None,
    place: _Place,
    adapter: Backend,
    seen: set[int],
) -> Iterator[Found]:
    owner, variable = held
    raw = adapter.raw(variable)
    if id(raw) in seen:
        return
    seen.add(id(raw))
    site = Site(name, tuple(raw.shape), layout, place.layer or name, _uses(uses, layout, place))
    yield Found(site, raw, place.wrapper, owner)


def _uses(uses: Uses | None, layout: Layout, place: _Place) -> int | None:
    if uses is None or not place.calls:
        return 0 if uses is Uses.LOOKUP else None
    each = [positions(uses, inputs, outputs, layout) for inputs, outputs in place.calls]
    return None if None in each else sum(each)


def _inner(layer: Any, calls: tuple[Shapes, ...]) -> tuple[Shapes, ...]:
    """Shapes for the layers inside a composite layer, where they can be told from its own."""
    return calls if has(layer, "loop") else ()
