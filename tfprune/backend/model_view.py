# SPDX-License-Identifier: Apache-2.0
"""One look at a model: its layers with their paths, its sites, its graph, its wrappers."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Callable, Iterable, Iterator

import tensorflow as tf

from tfprune.backend.base import Backend
from tfprune.backend.find_sites import Found, find
from tfprune.backend.substitute import Change, around, replaced
from tfprune.layers.base import kind_of
from tfprune.layers.graph import Graph
from tfprune.masks.sites import Skip


@dataclass(frozen=True, eq=False)
class Held:
    """A layer where a model holds it.

    Attributes:
        layer: without the wrapper around it.
        chain: the layers around it, the outermost first, itself included.
    """

    layer: Any
    chain: tuple[Any, ...]

    @property
    def path(self) -> str:
        """As in the names of sites."""
        return "/".join(layer.name for layer in self.chain)


@dataclass(frozen=True, eq=False)
class ModelView:
    """A model as it is now. Whoever changes the model looks at it anew.

    Attributes:
        model: a Keras model, or a layer; built or not.
        backend: of its Keras.
    """

    model: Any
    backend: Backend

    def at(self, model: Any) -> "ModelView":
        """Another model or layer of the same Keras, or the same one after a change."""
        return ModelView(model, self.backend)

    @property
    def is_model(self) -> bool:
        return self.backend.is_model(self.model)

    @property
    def has_graph(self) -> bool:
        """Whether its layers can be exchanged: a functional or Sequential model."""
        return self.is_model and self.backend.has_graph(self.model)

    @property
    def is_built(self) -> bool:
        return self.backend.is_built(self.model)

    @property
    def is_wrapper(self) -> bool:
        """Whether it is a wrapper itself, for pruning or for fine-tuning on integer grids."""
        return self.backend.is_wrapped(self.model)

    @cached_property
    def graph(self) -> Graph | None:
        """The graph of a functional or built Sequential model; None for any other."""
        return self.backend.graph(self.model)

    @cached_property
    def below(self) -> tuple[Held, ...]:
        """Every layer below, as often as it is held, before the layer that holds it."""
        return tuple(self._below(self.model, ()))

    def _below(self, layer: Any, chain: tuple[Any, ...]) -> Iterator[Held]:
        for sub in self.backend.sublayers(layer):
            inner = sub.layer if self.backend.is_wrapped(sub) else sub
            own = (*chain, inner)
            yield from self._below(inner, own)
            yield Held(inner, own)

    @cached_property
    def paths(self) -> dict[int, str]:
        """Where each layer stands in the model, by its id; one that is shared stands first."""
        found: dict[int, str] = {}
        for held in self.below:
            found.setdefault(id(held.layer), held.path)
        return found

    @cached_property
    def _found(self) -> tuple[tuple[Found, ...], tuple[Skip, ...]]:
        return find(self.model, self.backend)

    @property
    def sites(self) -> tuple[Found, ...]:
        """The prunable weights with their variables, each variable once."""
        return self._found[0]

    @property
    def skipped(self) -> tuple[Skip, ...]:
        """What stays dense, with the reason."""
        return self._found[1]

    @cached_property
    def operations(self) -> list[Any]:
        """Every layer below, and the operations of graphs that are no layers."""
        return self.backend.operations(self.model)

    @property
    def input_specs(self) -> Any:
        """What a model is called with: `tf.TensorSpec`s in the structure of its inputs; None:
        unknown. Sizes that the model leaves open are None."""
        return self.backend.input_specs(self.model)

    def in_single_precision(self) -> contextlib.AbstractContextManager[None]:
        """The model computes in float32 instead of half precision, while it lasts."""
        return replaced(self.backend.single_precision(self.model))

    def without_masking(self) -> contextlib.AbstractContextManager[None]:
        """Wrappers apply no masks in their calls, as long as kernels hold other values than their
        own."""
        held = (getattr(wrapper, "pruning_obj", None) for wrapper in self.wrappers)
        return replaced([(one, "weight_mask_op", tf.no_op) for one in held if one is not None])

    @property
    def may_hold_kernels(self) -> bool:
        """Whether there are prunable kernels, or will be when it is built."""
        layers = (self.model, *(held.layer for held in self.below))
        return bool(self.wrappers) or any(map(self._may_hold, layers))

    def _may_hold(self, layer: Any) -> bool:
        kind = kind_of(layer)
        late = "projections" in kind.traits
        return late or bool(kind.kernels) or self.backend.has_prunable_weights(layer)

    @cached_property
    def all_wrappers(self) -> tuple[Any, ...]:
        """The wrappers of every kind, built or not; a shared one as often as it is held."""
        return tuple(self._wrappers(self.model))

    def _wrappers(self, layer: Any) -> Iterator[Any]:
        if self.backend.is_wrapped(layer):
            yield layer
            return
        for sub in self.backend.sublayers(layer):
            yield from self._wrappers(sub)

    @cached_property
    def wrappers(self) -> tuple[Any, ...]:
        """The wrappers that prune."""
        return tuple(one for one in self.all_wrappers if self.backend.is_wrapper(one))

    @contextlib.contextmanager
    def record_calls(
        self,
        layers: Iterable[Any],
        note: Callable[[Any, tuple, dict[str, Any], Any], None],
        *,
        eagerly: bool = True,
    ) -> Iterator[None]:
        """Let `note(layer, args, kwargs, outputs)` see each call of some layers.

        Args:
            layers: below this one.
            note: called after each call, in the mode in which the caller was.
            eagerly: whether functions run eagerly meanwhile: what a model compiled of itself was
                traced before, and would pass by.
        """
        before = tf.config.functions_run_eagerly()

        def heard(layer: Any) -> Change:
            def forward(call, *args, **kwargs):
                outputs = call(*args, **kwargs)
                with _functions_run_eagerly(before):
                    note(layer, args, kwargs, outputs)
                return outputs

            return around(layer, forward)

        with replaced(map(heard, layers)), _functions_run_eagerly(eagerly or before):
            yield


@contextlib.contextmanager
def _functions_run_eagerly(wanted: bool) -> Iterator[None]:
    before = tf.config.functions_run_eagerly()
    tf.config.run_functions_eagerly(wanted)
    try:
        yield
    finally:
        tf.config.run_functions_eagerly(before)
