# SPDX-License-Identifier: Apache-2.0
"""The gate of networks that stay sparse: connections are dropped, and others grown."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import tensorflow as tf

from tfprune.masks.serialization import register
from tfprune.methods.gates.base import Gate


@register(name="Growing")
@dataclass(frozen=True)
class RegrowthGate(Gate):
    """What is masked is zero and learns nothing; what is grown begins at zero, without momenta.

        gradient of W = g M;  where M = 0 neither W nor its momenta move

    A pruned weight is lost, and one that a later mask lets in begins anew.

    Attributes:
        gradient: whether to keep g of the last step for all weights, the masked ones included:
            rules that grow by gradient need it.

    Paper: U. Evci, T. Gale, J. Menick, P. S. Castro, E. Elsen, "Rigging the Lottery: Making All
    Tickets Winners", 2020, arXiv 1911.11134.

    Example:
        >>> RegrowthGate().hides
        False
    """

    gradient: bool = True

    @property
    def hides(self) -> bool:
        return False

    def state(self, site, structure):
        kept = {"last_mask": np.ones(site.shape, np.float32)}
        if self.gradient:
            kept["dense_gradient"] = np.zeros(site.shape, np.float32)
        return kept

    def learn(self, now, gradient):
        changes = {"last_mask": now.kept}
        if self.gradient:
            changes["dense_gradient"] = gradient
        return now.where_kept(gradient), changes

    def moves(self, now):
        return now.kept

    def fresh(self, now):
        return tf.logical_and(now.kept, tf.equal(now.state["last_mask"], 0))
