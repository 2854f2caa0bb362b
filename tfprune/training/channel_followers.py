# SPDX-License-Identifier: Apache-2.0
"""Zeros what belongs to masked channels beside the kernels that make them."""

from __future__ import annotations

from typing import Any, Sequence

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
        self._followers = tuple(followers)
        self._sites, self._structure = tuple(sites), structure
        self._coupled = Coupled.of(
            sites, [structure.groups(one.shape, one.layout) for one in sites]
        )

    def __call__(self, variables: Sequence[Any], masks: Sequence[Any], final: Any) -> None:
        """Zero where all makers of a channel are masked.

        Args:
            variables: local copies of the followers' own.
            masks: of the sites.
            final: whether these masks are the last ones, a bool tensor; else nothing is done.
        """
        kept = [
            self._structure.reduce(mask, site.layout)
            for mask, site in zip(masks, self._sites, strict=True)
        ]
        alive = tf.concat([*self._coupled.pool(kept), [1]], 0) > 0  # a last one for all others
        alive |= ~final
        for variable, one in zip(variables, self._followers, strict=True):
            value = tf.convert_to_tensor(variable)
            across = [1] * len(value.shape)
            across[one.axis] = -1
            stays = tf.reshape(tf.gather(alive, self._coupled.places_of(one)), across)
            variable.assign(tf.where(stays, value, tf.zeros([], value.dtype)), read_value=False)
