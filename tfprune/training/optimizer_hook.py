# SPDX-License-Identifier: Apache-2.0
"""Stands around an optimizer's update of each pruned kernel, for the gates that act on it."""

from __future__ import annotations

from typing import Any, Callable, Sequence

import tensorflow as tf

from tfprune.backend.base import Backend
from tfprune.training import in_place
from tfprune.training.mask_updater import Settle, Target, write_state


class OptimizerHook:
    """Lets gates change gradients and learn from them, in the compiled step.

    Args:
        settles: those whose gates act, each with its counter of finished steps.
        adapter: of the model's Keras.
    """

    def __init__(self, settles: Sequence[tuple[Settle, tf.Variable]], adapter: Backend):
        self._settles = settles
        self._adapter = adapter
        self._optimizer: Any = None
        self._acting: dict[Any, tuple[Settle, Target, tf.Variable]] = {}
        self.has_run = False

    def attach(self, model: Any) -> None:
        """Stand around the updates of the model's optimizer, until the adapter releases them.

        Raises:
            ValueError: the model has no optimizer.
            TypeError: its optimizer does not update variable by variable.
        """
        self._optimizer = self._adapter.innermost_optimizer(model)
        if self._optimizer is None:
            gates = ", ".join(dict.fromkeys(str(one.method.gate) for one, _ in self._settles))
            raise ValueError(
                f"{gates} acts on the optimizer's updates, but the model {model.name!r} has no "
                "optimizer: compile it first. In a loop of your own use the optimizer that the "
                "model was compiled with."
            )
        self._adapter.around_updates(self._optimizer, self._update)
        self._standing = vars(self._optimizer).get("update_step")
        key = self._optimizer._var_key
        self._acting = {
            key(target.kernel): (settle, target, step)
            for settle, step in self._settles
            for target in settle.targets
        }

    @property
    def is_attached(self) -> bool:
        """Whether nothing else has taken its place around the optimizer's updates."""
        return vars(self._optimizer).get("update_step") is self._standing

    def _update(self, update: Callable, gradient: Any, variable: tf.Variable) -> None:
        acting = self._acting.get(self._optimizer._var_key(variable))
        if acting is None:
            return update(gradient)
        self.has_run = True
        settle, target, step = acting
        gate = settle.method.gate
        now = settle.moment(target.site, (variable, *target.variables[1:]), step.read_value())
        gradient, changes = gate.learn(now, tf.convert_to_tensor(gradient))
        momenta = self._adapter.momenta(self._optimizer, variable)
        fresh, moves = gate.fresh(now), gate.moves(now)
        if fresh is not None:
            for one in momenta:
                one.assign(tf.where(fresh, tf.zeros([], one.dtype), one))
        # What was not shown is hidden, and zero in the kernel until it comes back.
        zero = gate.selects and gate.sees_what_moves and settle.compiles(variable)
        resting = [] if moves is None or zero else [variable]
        if moves is not None and gate.rests:
            resting += momenta
        held = [(one, one.read_value()) for one in resting]
        update(gradient)
        for one, before in held:
            if settle.compiles(one):
                in_place.restore(one, before, moves)
            else:
                one.assign(tf.where(moves, one, before))
        if zero:
            in_place.zero_still(variable, moves)
        write_state(target.state, changes)
