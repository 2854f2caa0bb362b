# SPDX-License-Identifier: Apache-2.0
"""The gate that leaves groups out of single steps, by chance."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import tensorflow as tf

from tfprune.masks.serialization import register
from tfprune.methods.gates.base import Gate


@register(name="Sampled")
@dataclass(frozen=True)
class StochasticGate(Gate):
    """In every step each group is left out with its own chance, and learns nothing in it.

        forward pass at W*S,  S = 0 for a whole group with probability p, drawn anew in every step

    What is left out of a step comes out of it unchanged, its momenta included. Between two steps
    the weights of all groups with p < 1 are there. Needs a rule that keeps `chance`, p.

    Attributes:
        seed: of the draws.

    Paper: H. Wang, Q. Zhang, Y. Wang, H. Hu, "Structured Probabilistic Pruning for Convolutional
    Neural Network Acceleration", 2017, arXiv 1709.06994.

    Example:
        >>> StochasticGate(seed=3).hides
        True
    """

    sees_what_moves: ClassVar[bool] = True
    seed: int = 0

    @property
    def hides(self) -> bool:
        return True

    def present(self, now):
        return self.moves(now), {}

    def moves(self, now):
        # Drawn twice in a step from one seed, which is cheaper than a mask that is kept.
        chance = now.state["chance"]
        seed = now.draws(self.seed)
        drawn = tf.random.stateless_uniform(tf.shape(chance), seed, dtype=tf.float32)
        return now.structure.expand(drawn >= chance, now.site.shape, now.site.layout)
