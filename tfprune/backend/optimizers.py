# SPDX-License-Identifier: Apache-2.0
"""Slots of optimizers for the variables that they train, and updates of these variables."""

from __future__ import annotations

import abc
from typing import Any, Callable

import tensorflow as tf

_NO_SLOTS = ("_trainable_variables", "_variables")
_NO_MOMENTA = ("accumulated_gradients", "model_variables_moving_average")


class OptimizerAccess(abc.ABC):
    """The optimizers of one Keras, private calls included."""

    @abc.abstractmethod
    def raw(self, variable: Any) -> Any:
        """The tf.Variable behind a variable, in its own dtype whatever the autocast scope."""

    def innermost_optimizer(self, model: Any) -> Any:
        """The optimizer that updates variables, below one that scales the loss; None: not
        compiled."""
        optimizer: Any = getattr(model, "optimizer", None)
        while hasattr(optimizer, "inner_optimizer"):
            optimizer = optimizer.inner_optimizer
        return optimizer

    def build_step(self, model: Any) -> None:
        """Create what the compiled step, which was made just now, would create: it may not create
        any variables, or is traced twice for them."""

    @abc.abstractmethod
    def build_slots(self, optimizer: Any, variables: Any) -> None:
        """Create what an optimizer keeps for variables."""

    @abc.abstractmethod
    def _place(self, optimizer: Any, variable: Any) -> tuple[int, int]:
        """(number of the variable, how many there are) in an optimizer."""

    def slots(self, optimizer: Any, variable: Any) -> dict[str, tf.Variable]:
        """All that the optimizer keeps for a variable, by name.

        Both Kerases keep slots in lists, one per kind, in the order of the variables.
        """
        index, count = self._place(optimizer, variable)
        lists = {
            name: value
            for name, value in vars(optimizer).items()
            if isinstance(value, list) and name not in _NO_SLOTS and len(value) == count
        }
        return {
            name.lstrip("_"): self.raw(each[index])
            for name, each in lists.items()
            if hasattr(each[index], "assign")
        }

    def momenta(self, optimizer: Any, variable: Any) -> list[tf.Variable]:
        """What the optimizer keeps for each entry of a variable."""
        held = self.slots(optimizer, variable)
        found = [one for name, one in held.items() if name not in _NO_MOMENTA]
        return list({id(one): one for one in found if one.shape == variable.shape}.values())

    def counters(self, optimizer: Any) -> dict[str, tf.Variable]:
        """The single numbers that an optimizer keeps, and the one inside of it, by name."""
        found = {
            name: self.raw(value)
            for name, value in vars(optimizer).items()
            if hasattr(value, "assign") and hasattr(value, "shape") and len(value.shape) == 0
        }
        inner = getattr(optimizer, "inner_optimizer", None)
        inside = {} if inner is None else self.counters(inner)
        return {**found, **{f"inner {name}": value for name, value in inside.items()}}

    def spare_decay(self, optimizer: Any, variables: list[Any]) -> None:
        """Except variables from an optimizer's decoupled weight decay; it may be built already."""
        if not hasattr(optimizer, "_use_weight_decay"):
            return  # tf_keras' legacy optimizers have no weight decay
        keys = [optimizer._var_key(one) for one in variables]
        spared = set(getattr(optimizer, "_exclude_from_weight_decay", None) or ())
        optimizer._exclude_from_weight_decay = list(spared.union(keys))
        cache = getattr(optimizer, "_exclude_from_weight_decay_cache", {})
        for key in keys:
            cache.pop(key, None)

    @abc.abstractmethod
    def around_updates(self, optimizer: Any, function: Callable) -> None:
        """Send each variable's update through `function(update, gradient, variable)`, until
        released; `update(gradient)` is the optimizer's own."""

    def release_updates(self, optimizer: Any) -> None:
        """Give the optimizer its updates back; also after a run that an exception ended."""
        for name in ("update_step", "_update_step_xla"):
            standing_in = vars(optimizer).get(name)
            if not hasattr(standing_in, "tfprune_own"):
                continue
            if standing_in.tfprune_own is None:
                object.__delattr__(optimizer, name)
            else:
                object.__setattr__(optimizer, name, standing_in.tfprune_own)

    def _put(self, optimizer: Any, name: str, function: Any) -> None:
        """Let a function stand in for a method of one optimizer until `release_updates`."""
        function.tfprune_own = vars(optimizer).get(name)
        object.__setattr__(optimizer, name, function)
