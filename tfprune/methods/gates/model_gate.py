# SPDX-License-Identifier: Apache-2.0
"""Gates that stand in the forward pass of a whole model, which is wrapped for them."""

from __future__ import annotations

import abc
from types import ModuleType
from typing import Any, ClassVar

from tfprune.backend.find_sites import wrappers
from tfprune.methods.gates.base import Gate


class Standing(Gate):
    """A gate that does more than mask kernels: it puts something of its own into the model.

    Whoever wraps, trains, strips or reports a model asks its standing gates at these moments.
    Such a gate finds by itself how much is pruned, so a method with it is asked for no sparsity.
    """

    asks: ClassVar[str] = ""
    """How to say how much is wanted, for errors."""

    @abc.abstractmethod
    def insert(self, model: Any, home: ModuleType, method: Any) -> Any:
        """The wrapped model; before it is trained it computes what the plain one does.

        Raises:
            ValueError: what is passed cannot be wrapped.
        """

    @abc.abstractmethod
    def begin(self, model: Any, home: ModuleType) -> None:
        """Before the first step of a run.

        Raises:
            ValueError: the model is not wrapped for this gate.
        """

    @abc.abstractmethod
    def finish(self, model: Any, home: ModuleType) -> None:
        """At the end of a run: what was soft becomes hard. Once more changes nothing."""

    @abc.abstractmethod
    def strip(self, model: Any, home: ModuleType) -> None:
        """Before the wrappers are taken off.

        Raises:
            ValueError: a run is on.
        """

    @abc.abstractmethod
    def keep_rounding(self, model: Any, home: ModuleType) -> Any:
        """The model, after `strip`, with plain operations for what the gate does to activations."""

    @abc.abstractmethod
    def notes(self, model: Any, home: ModuleType) -> dict[str, tuple[str, ...]]:
        """Texts for the report, by the name of the site; under "" of the whole model."""


def standing(model: Any, home: ModuleType) -> list[Standing]:
    """The gates that stand in a model, each once."""
    gates = {}
    for wrapper in wrappers(model, home):
        gate = getattr(getattr(wrapper, "method", None), "gate", None)  # TF-MOT's have no method
        if isinstance(gate, Standing):
            gates[repr(gate)] = gate
    return list(gates.values())


def begin(model: Any, home: ModuleType, method: Any) -> None:
    """Before the first step of a run.

    Args:
        model: the model that is trained.
        home: the adapter of its Keras.
        method: of the callback; None: the settings of the wrapped layers.

    Raises:
        ValueError: the method's gate must stand in the model, and it is not wrapped for it.
    """
    if method is not None and isinstance(method.gate, Standing):
        method.gate.begin(model, home)
    for gate in standing(model, home):
        gate.begin(model, home)


def finish(model: Any, home: ModuleType) -> None:
    """At the end of a run."""
    for gate in standing(model, home):
        gate.finish(model, home)


def notes(model: Any, home: ModuleType) -> dict[str, tuple[str, ...]]:
    """Texts for the report, by the name of the site; under "" of the whole model."""
    said: dict[str, tuple[str, ...]] = {}
    for gate in standing(model, home):
        said.update(gate.notes(model, home))
    return said
