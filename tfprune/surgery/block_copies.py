# SPDX-License-Identifier: Apache-2.0
"""Smaller copies of layers of the user's own: by their settings, or part by part."""

from __future__ import annotations

import itertools
from typing import Any, Callable, Iterable, Iterator

import numpy as np

from tfprune.backend.call_constants import Constant
from tfprune.backend.call_graph import call_graph
from tfprune.layers.call import LayerCall, without_masks
from tfprune.layers.graph import Call, RawOperation, Ref, leaves, mapped
from tfprune.layers.operation_kinds import operation_kind, sizes
from tfprune.layers.operations import elementwise
from tfprune.layers.resizing import Resizing, resized
from tfprune.layers.symbolic_tensor import SymbolicTensor, Unsupported
from tfprune.surgery.shrunk_layer import shrunk

Changed = tuple[tuple[str, ...], dict[str, Any]]
_TRIALS = 16
"""How many combinations of new sizes are tried."""

_NAMES = ("name", "build_config", "batch_input_shape", "query_shape", "key_shape", "value_shape")
"""Settings that say nothing about what a layer computes."""


def looked_into(layer: Any, survey: Any) -> bool:
    """Whether a walk went through what the layer itself does."""
    return any(step.inside is not None for step, _ in survey.by_operation.get(id(layer), ()))


def smaller(layer: Any, rebuild: Any) -> Any:
    """A copy of a layer that was looked into, with fewer channels; what stands in it is kept in
    `rebuild`, too.

    A copy from settings with other sizes is the best, as any file says them. Where no settings do,
    the layers inside are replaced by their smaller copies.

    Raises:
        Unsupported: neither computes the same with fewer channels.
    """
    reason = "its sizes cannot be found"
    known = rebuild.kept.survey.recipes
    wanted = (id(layer), *(rebuild.kept.size(rebuild.adapter.raw(one)) for one in layer.weights))
    first = known.get(wanted, (0, 0))
    for number, make in enumerate((_from_settings, _from_parts)):
        if number < first[0]:
            continue
        for place, (trial, new, changed) in enumerate(make(layer, rebuild.fork())):
            if (number, place) < first:
                continue
            try:
                calls = _called(layer, new, trial)
                _keep(layer, new, trial)
                _Check(trial).layer(layer, new, calls)
            except Unsupported as why:
                reason = str(why)
                continue
            if changed is not None:
                shrunk(new, trial.adapter, *changed)
            rebuild.adopt(trial)
            known[wanted] = number, place
            return new
    raise Unsupported(f"{layer.name} ({type(layer).__name__}) cannot be made smaller: {reason}")


def parts(layer: Any, adapter: Any) -> list[Any]:
    """The layers that a layer holds in its attributes, in an order that its copy has, too."""
    held = leaves([value for _, value in _attributes(layer, adapter)])
    found = {id(one): one for one in held if isinstance(one, adapter.Layer)}
    if {id(one) for one in adapter.sublayers(layer)} - found.keys():
        raise Unsupported(f"{layer.name} holds layers elsewhere than in its attributes")
    return list(found.values())


def _attributes(layer: Any, adapter: Any) -> Iterator[tuple[str, Any]]:
    """What the user's own class has put into a layer."""
    usual = vars(adapter.Layer())
    for name, value in vars(layer).items():
        is_kerass = name in usual or name.startswith("_self_")  # what TensorFlow tracks
        if not is_kerass and isinstance(value, (int, list, tuple, dict, adapter.Layer)):
            yield name, value


def _from_settings(layer: Any, trial: Any) -> Iterator[tuple[Any, Any, None]]:
    """Copies by other settings, all of which the layer's class knows to make."""
    if any(trial.shared.is_elsewhere(one) for one in parts(layer, trial.adapter)):
        return
    config = trial.settings(layer)
    for new in _combinations(config, _new_sizes(layer, trial.kept)):
        try:
            copy = trial.adapter.from_config(layer, new)
            _compare(layer, copy, trial)
        except (Unsupported, TypeError, ValueError, KeyError, AttributeError):
            continue  # these sizes do not go together, or not with the layers inside
        yield trial.fork(), copy, None


def _compare(layer: Any, copy: Any, trial: Any) -> None:
    """Raise `Unsupported` where layers that a copy has from the beginning have other settings."""
    adapter = trial.adapter
    is_nested = adapter.knows_graph(layer)
    if not is_nested and not looked_into(layer, trial.kept.survey):
        _Check(trial).settings(layer, copy)
        return
    before, after = (
        [
            one
            for one in (each.layers if is_nested else parts(each, adapter))
            if not adapter.is_input(one)
        ]
        for each in (layer, copy)
    )
    for one, other in zip(before, after if len(after) == len(before) else (), strict=False):
        _compare(one, other, trial)


def _from_parts(layer: Any, trial: Any) -> Iterator[tuple[Any, Any, Changed]]:
    """Copies whose layers are replaced, and whose attributes have other sizes."""
    adapter = trial.adapter
    held = dict(_attributes(layer, adapter))
    layers = {
        name: value
        for name, value in held.items()
        if any(isinstance(one, adapter.Layer) for one in leaves(value))
    }
    plain = {name: value for name, value in held.items() if name not in layers}
    for new in _combinations(plain, _new_sizes(layer, trial.kept)):
        fork = trial.fork()
        copy = fork.adapter.from_config(layer, trial.settings(layer))
        made = {name for name, _ in _attributes(copy, adapter)}  # others come when it is built
        put = tuple(name for name in layers if name in made)
        sizes = {name: value for name, value in new.items() if value != plain[name]}
        fork.adapter.put_layers(
            copy,
            {
                name: mapped(one, adapter.Layer, fork.copy)
                for name, one in layers.items()
                if name in put
            },
        )
        for name, value in sizes.items():
            setattr(copy, name, value)
        yield fork, copy, (put, {name: plain[name] for name in sizes})


def _keep(layer: Any, copy: Any, trial: Any) -> None:
    """Keep a layer's copy, and those of all layers inside that have none yet."""
    if id(layer) not in trial.copies:
        trial.keep(layer, copy)
        trial.adapter.rename(copy, layer.name)
    adapter = trial.adapter
    if adapter.knows_graph(layer):
        inside = layer.layers, copy.layers
    elif looked_into(layer, trial.kept.survey):
        trial.blocks.add(id(layer))
        inside = parts(layer, adapter), parts(copy, adapter)
    else:
        return
    if len(inside[0]) != len(inside[1]):
        raise Unsupported(f"{layer.name} would hold other layers")
    for one, other in zip(*inside, strict=True):
        if not adapter.is_input(one):
            _keep(one, other, trial)


def _new_sizes(layer: Any, kept: Any) -> dict[int, list[int]]:
    """Sizes of axes inside of a layer that change, with what they become."""
    shapes: list[tuple[Iterable[int], Iterable[int]]] = []
    for step, results in kept.survey.by_operation[id(layer)]:
        for one, made in [(step, results), *step.parts]:
            shapes += ((tensor.shape, kept.shape(tensor)) for tensor in (*one.values, *made))
        for weight in step.operation.weights:
            raw = kept.survey.adapter.raw(weight)
            shapes.append((map(int, raw.shape), kept.size(raw)))
    found: dict[int, list[int]] = {}
    for before, after in shapes:
        for old, new in zip(before, after, strict=True):
            if old != new and new not in found.setdefault(old, []):
                found[old].append(new)
    return found


def _combinations(values: dict[str, Any], new: dict[int, list[int]]) -> Iterator[dict[str, Any]]:
    """The same with some of the numbers in it changed: first none, then few."""
    numbers: list[int] = []
    mapped(values, int, numbers.append)
    choices = [
        place
        for place, number in enumerate(numbers)
        if not isinstance(number, bool) and number in new
    ]
    tried = itertools.chain.from_iterable(
        itertools.product(*([(place, one) for one in new[numbers[place]]] for place in chosen))
        for count in range(len(choices) + 1)
        for chosen in itertools.combinations(choices, count)
    )
    for chosen in itertools.islice(tried, _TRIALS):
        yield mapped(values, int, _exchanging(dict(chosen)))


def _exchanging(changed: dict[int, int]) -> Callable[[int], int]:
    """Function of a number after the other: those at some places become others."""
    places = itertools.count()
    return lambda old: changed.get(next(places), old)


def _reshaping(shapes: Iterable[Any]) -> Callable[[Ref], Ref]:
    """Function of a tensor after the other: the same of the next shape."""
    left = iter(shapes)
    return lambda ref: Ref(ref.key, next(left), ref.dtype)


def _called(layer: Any, copy: Any, trial: Any) -> list[tuple[LayerCall, tuple[Call, ...]]]:
    """Every call of a layer, with what its copy does in its place."""
    found = []
    for step, _ in trial.kept.survey.by_operation[id(layer)]:
        shapes = (trial.kept.shape(one) for one in step.values)
        args, kwargs = mapped(
            (step.source.args, without_masks(step.source.kwargs)), Ref, _reshaping(shapes)
        )
        graph = call_graph(copy, trial.adapter, args, kwargs)
        found.append((step, graph.calls))
    return found


class _Check:
    """Compares layers with their copies: they must do the same with other sizes.

    Args:
        trial: with the copies of all layers inside.
    """

    def __init__(self, trial: Any):
        self.trial, self.kept, self.adapter = trial, trial.kept, trial.adapter

    def layer(self, layer: Any, copy: Any, calls: list | None = None) -> None:
        """Raise `Unsupported` where they differ.

        Args:
            calls: of the copy, where they are known.
        """
        if self.adapter.knows_graph(layer):
            inside = list(layer.layers)
        elif looked_into(layer, self.kept.survey):
            for step, new in _called(layer, copy, self.trial) if calls is None else calls:
                self._calls(step, new)
            inside = parts(layer, self.adapter)
        else:
            self.settings(layer, copy)
            inside = []
        for one in inside:
            if not self.adapter.is_input(one):
                self.layer(one, self.trial.copies[id(one)])
        for old, new in self.trial.paired(layer):
            raw, other = self.adapter.raw(old), self.adapter.raw(new)
            if self.kept.size(raw) != tuple(map(int, other.shape)):
                raise Unsupported(
                    f"{layer.name} makes {old.name} of shape {tuple(other.shape)}, not "
                    f"{self.kept.size(raw)}"
                )

    def _calls(self, step: LayerCall, calls: tuple[Call, ...]) -> None:
        if len(calls) != len(step.parts):
            raise Unsupported(f"{step.name} computes something else with fewer channels")
        for (part, results), call in zip(step.parts, calls, strict=True):
            if not _is_alike(part.operation, call.operation):
                raise Unsupported(f"{step.name} computes something else with fewer channels")
            for tensor, ref in zip(results, call.outputs, strict=False):
                wanted = self.kept.shape(tensor)
                pairs = zip(wanted, ref.shape, strict=True)
                if len(wanted) != len(ref.shape) or any(
                    one != other and None not in (one, other) for one, other in pairs
                ):
                    raise Unsupported(f"{part.name} makes {ref.shape} instead of {wanted}")
            self._arguments(part, results, call)

    def _arguments(self, part: LayerCall, results: list[SymbolicTensor], call: Call) -> None:
        """Constants are the same, and slices take the same entries."""
        before, after = (
            list(_numbers(part.raw_kind, each))
            for each in ((part.args, part.kwargs), (call.args, call.kwargs))
        )
        if len(before) != len(after) or not all(map(np.array_equal, before, after)):
            raise Unsupported(f"{part.name} has constants that depend on the number of channels")
        if part.raw_kind == "getitem":
            wanted = sizes("getitem", part, results, self.kept).get("key")
            shape = self.kept.shape(part.value)
            if wanted is not None and _spelled(wanted, shape) != _spelled(call.args[1], shape):
                raise Unsupported(f"{part.name} takes other entries")

    def settings(self, layer: Any, copy: Any) -> None:
        """The settings are those that the new sizes need."""
        wanted = layer.get_config()
        resized(Resizing(layer, wanted, self.kept, self.trial.folding.biases))
        actual = copy.get_config()
        for name in wanted:
            if name not in _NAMES and repr(wanted[name]) != repr(actual.get(name)):
                raise Unsupported(f"{layer.name} would need {name}={wanted[name]!r}")


def _numbers(kind: str | None, arguments: Any) -> Iterator[Any]:
    """What an operation computes with beside tensors; arguments of others may be sizes."""
    is_elementwise = operation_kind(kind).propagate is elementwise
    for one in leaves(arguments):
        if isinstance(one, np.ndarray) and one.dtype.kind == "f":
            yield one
        elif isinstance(one, Constant) and is_elementwise:
            yield one.origin


def _is_alike(operation: Any, other: Any) -> bool:
    if isinstance(operation, RawOperation):
        return isinstance(other, RawOperation) and (
            (operation.kind, operation.name) == (other.kind, other.name)
        )
    return isinstance(other, type(operation))


def _spelled(key: Any, shape: tuple) -> str:
    """A key of slices, the same for the same entries."""
    parts = list(key) if isinstance(key, (list, tuple)) else [key]
    used = sum(part is not None and part is not Ellipsis for part in parts)
    if Ellipsis in parts:
        place = parts.index(Ellipsis)
        parts[place : place + 1] = [slice(None)] * (len(shape) - used)
    axes = iter(shape)
    spelled = []
    for part in parts:
        size = None if part is None else next(axes)
        if isinstance(part, slice) and size is not None:
            part = range(size)[part]
        spelled.append(part)
    return repr(spelled)
