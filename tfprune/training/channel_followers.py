# SPDX-License-Identifier: Apache-2.0
"""Zeros what belongs to masked channels beside the kernels that make them."""

from __future__ import annotations

from typing import Any, Sequence

import numpy as np
import tensorflow as tf

from tfprune.masks.sites import Coupled, Follower, Site
from tfprune.masks.structures import Structure


class Following:
    """Biases, betas, gammas and means of masked channels, and what else belongs to them.

    Args:
        followers: what belongs to the channels.
        sites: the kernels that make them.
        structure: one group for each filter of a site.
    """

    def __init__(self, followers: Sequence[Follower], sites: Sequence[Site], structure: Structure):
        self.variables = [one.variable for one in followers]
        self._columns = [one.layout.columns for one in sites]
        coupled = Coupled.of(sites, [structure.groups(one.shape, one.layout) for one in sites])
        self._channels = sum(unit.size for unit in coupled.units)
        self._makers = np.concatenate([*coupled.places, [self._channels]])
        self._places = [self._along(one, coupled.places_of(one)) for one in followers]

    def __call__(self, variables: Sequence[Any], masks: Sequence[Any], final: Any) -> None:
        """Zero where all makers of a channel are masked.

        Args:
            variables: local copies of the followers' own.
            masks: of the sites, bool.
            final: whether these masks are the last ones, a bool tensor; else nothing is done.
        """
        filters = [
            tf.reshape(tf.reduce_any(mask, columns), [-1])
            for mask, columns in zip(masks, self._columns, strict=True)
        ]
        kept = tf.cast(tf.concat([*filters, [True]], 0), tf.int32)  # a last one for all others
        alive = tf.math.unsorted_segment_max(kept, self._makers, self._channels + 1) > 0
        alive |= ~final
        for variable, places in zip(variables, self._places, strict=True):
            value = tf.convert_to_tensor(variable)
            stays = tf.gather(alive, places)
            variable.assign(tf.where(stays, value, tf.zeros([], value.dtype)), read_value=False)

    @staticmethod
    def _along(follower: Follower, places: np.ndarray) -> np.ndarray:
        """Places along the axis that carries the channels, to be broadcast over the others."""
        across = [1] * len(follower.variable.shape)
        across[follower.axis] = -1
        return places.reshape(across)
