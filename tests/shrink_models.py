# SPDX-License-Identifier: Apache-2.0
"""Masked models for the tests of `tfprune.shrink`: half of every prunable group is dead."""

import numpy as np
import tensorflow as tf

import tfprune
from tfprune.channels.tracer import variables
from tfprune.layers.channel_graph import Role


def randomized(model, seed=5):
    """Random weights; variances stay positive."""
    generator = np.random.default_rng(seed)
    for site in model.weights:
        value = generator.normal(size=site.shape) * 0.4
        if "variance" in getattr(site, "path", site.name):
            value = np.abs(value) + 0.1
        if np.issubdtype(np.dtype(getattr(site.dtype, "name", site.dtype)), np.floating):
            site.assign(value.astype("float32"))
    return model


def masked(model, *, constants=False, seed=3):
    """Half of every prunable group, drawn at random, is zero wherever it is made.

    Args:
        constants: biases, betas and means of these channels stay as they are.

    Returns:
        {name of the group: how many channels are dead}.
    """
    generator = np.random.default_rng(seed)
    held, dead = variables(model), {}
    for group in tfprune.channel_groups(model):
        if not group.prunable:
            continue
        channels = generator.permutation(group.size)[: group.size // 2]
        dead[group.name] = len(channels)
        for one in group.members:
            is_made = one.role in (Role.PRODUCER, Role.PASSING)
            shifts = one.site.rpartition("/")[2] in ("bias", "beta", "moving_mean")
            if is_made or (shifts and not constants):
                value = held[one.site].numpy()
                np.moveaxis(value, one.axis, 0)[one.indices[channels]] = 0
                held[one.site].assign(value)
    return dead


def examples(model, count=4, seed=1):
    """Random inputs."""
    generator = np.random.default_rng(seed)
    found = [
        generator.integers(1, 9, (count, *one.shape[1:]))
        if "int" in str(one.dtype)
        else generator.normal(size=(count, *one.shape[1:])).astype("float32")
        for one in model.inputs
    ]
    return found if len(found) > 1 else found[0]


def outputs(model, data):
    """All outputs as one vector."""
    found = tf.nest.flatten(model(data, training=False))
    return np.concatenate([np.ravel(one) for one in found])


def deviation(model, small, data):
    """Largest difference of the outputs, relative to the largest output."""
    one, other = outputs(model, data), outputs(small, data)
    return np.abs(one - other).max() / np.abs(one).max()
