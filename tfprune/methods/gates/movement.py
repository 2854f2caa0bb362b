# SPDX-License-Identifier: Apache-2.0
"""The gate that learns a score for every weight: movement pruning."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import tensorflow as tf

from tfprune.masks.serialization import register
from tfprune.methods.gates.base import Gate, adam
from tfprune.methods.statistics_table import keeps

# Below zero is worst, and the energy of a Pattern is a sum of squares.
keeps(
    "movement",
    per_group=True,
    structures=("Element", "Block", "NofM", "Kernel", "Column", "Channel", "Filter"),
)


@register(name="Moving")
@dataclass(frozen=True)
class MovementGate(Gate):
    """Every group has a score S, learned beside the weights, and W*M is what the network sees.

        dL/dS = sum over the group of g W,  g taken at W*M
        gradient of W = g M

    S begins at 0, falls where the weights move towards zero and rises where they move away. It is
    learned for groups that are masked, too, so that they come back; the weights of those rest
    beside the kernel. The optimizer's weight decay does not touch S. An optimizer's decoupled
    weight decay acts on the kernel only, not on the weights that rest.

    Attributes:
        rate: learning rate of S, constant.
        optimizer: of S: "adam" or "sgd", plain.
        penalty: lambda, of the loss lambda mean(sigmoid(S)) of each site; where the rule keeps a
            `course` from 0 to 1, lambda times that.

    Raises:
        ValueError: a rate that is not above zero, an unknown optimizer, a penalty below zero.

    Paper: V. Sanh, T. Wolf, A. M. Rush, "Movement Pruning: Adaptive Sparsity by Fine-Tuning",
    2020, arXiv 2005.07683.

    Example:
        >>> MovementGate(optimizer="sgd").rate
        0.01
    """

    rate: float = 0.01
    optimizer: str = "adam"
    penalty: float = 0.0

    def __post_init__(self):
        if not 0 < self.rate < math.inf:
            raise ValueError(f"rate={self.rate}: expected a learning rate above 0.")
        if self.optimizer not in ("adam", "sgd"):
            raise ValueError(f"optimizer={self.optimizer!r}: expected 'adam' or 'sgd'.")
        if not 0 <= self.penalty < math.inf:
            raise ValueError(f"penalty={self.penalty}: expected a number of at least 0.")

    @property
    def hides(self) -> bool:
        return True

    def state(self, site, structure):
        # Without a pooling the structure's candidates are single weights.
        shape = (
            site.shape
            if structure.pooling is None
            else (structure.groups(site.shape, site.layout),)
        )
        zeros = {"movement": np.zeros(shape, np.float32)}
        if self.optimizer == "adam":
            zeros["first_moment"] = zeros["second_moment"] = zeros["movement"]
            zeros["movements"] = np.zeros((), np.float32)
        return zeros

    def learn(self, now, gradient):
        values = tf.cast(gradient * now.weight, tf.float32)
        grouped = now.structure.pooling is not None
        slope = now.structure.total(values, now.site.layout) if grouped else values
        if self.penalty:
            slope += self._pull(now.state)
        return now.where_kept(gradient), self._learned(now.state, slope)

    def _pull(self, state: dict[str, Any]) -> Any:
        """d/dS of lambda mean(sigmoid(S))."""
        likely = tf.sigmoid(state["movement"])
        strength = self.penalty * state.get("course", 1.0) / likely.shape.num_elements()
        return strength * likely * (1 - likely)

    def _learned(self, state: dict[str, Any], slope: Any) -> dict[str, Any]:
        if self.optimizer == "sgd":
            return {"movement": state["movement"] - self.rate * slope}
        steps = state["movements"] + 1
        moved, first, second = adam(
            state["movement"],
            slope,
            moments=(state["first_moment"], state["second_moment"]),
            steps=steps,
            rate=self.rate,
        )
        return {
            "movement": moved,
            "first_moment": first,
            "second_moment": second,
            "movements": steps,
        }
