# SPDX-License-Identifier: Apache-2.0
"""What is known of a weight without its model: its value, and numbers drawn for it."""

from __future__ import annotations

import math
from typing import Any, Sequence

import numpy as np

from tfprune.masks.array_namespace import is_tensor, tf

RESTING = ("weight", "noise")


def collect(needs: Sequence[str], weights: Sequence[Any], *, seed: int = 0) -> list[dict[str, Any]]:
    """Supply the statistics that a score needs, for all sites at once.

    Args:
        needs: names out of `RESTING`. `"weight"`: W itself. `"noise"`: i.i.d. uniform numbers in
            [0, 1), float32, the same at every call with the same seed, so that masks drawn from
            them are nested as sparsity grows.
        weights: one array or tensor per site.
        seed: seed of the noise.

    Returns:
        One dictionary per site, from name to what has the weight's shape and is of its kind, an
        array or a tensor.

    Raises:
        ValueError: a name that nobody supplies.
    """
    unknown = sorted(set(needs) - set(RESTING))
    if unknown:
        raise ValueError(f"Unknown statistics {unknown}; known are {list(RESTING)}.")
    return [
        {name: _supply(name, weight, seed, index) for name in needs}
        for index, weight in enumerate(weights)
    ]


def _supply(name: str, weight: Any, seed: int, index: int) -> Any:
    if name == "weight":
        return weight
    keys = np.random.SeedSequence([seed, index]).generate_state(2, np.uint32)
    size = math.prod(tuple(weight.shape))
    if is_tensor(weight):
        return _noise_tensor(weight.shape, size, keys)
    bits = _hashed(np.arange(size).astype(np.uint32), keys, np.uint32)
    return (bits.astype(np.float32) * np.float32(2**-24)).reshape(weight.shape)


def drawn(like: Any, seeds: Sequence[int], step: Any) -> Any:
    """I.i.d. uniform numbers in [0, 1), float32, the same for the same seeds and step.

    Args:
        like: an array or a tensor, whose shape and kind they have.
        seeds: integers.
        step: integer, or an integer tensor where `like` is a tensor.

    >>> drawn(np.ones(2), (5, 0), 7).tolist() == drawn(np.ones(2), (5, 0), 7).tolist()
    True
    """
    shape = tuple(like.shape)
    keys = np.random.SeedSequence(seeds).generate_state(2, np.uint32)
    if not is_tensor(like):
        own = _hashed(np.asarray([step]).astype(np.uint32), keys, np.uint32)
        bits = _hashed(np.arange(math.prod(shape)).astype(np.uint32) ^ (own << 8), keys, np.uint32)
        return (bits.astype(np.float32) * np.float32(2**-24)).reshape(shape)
    own = _hashed(tf.cast([step], tf.uint32), keys, lambda x: tf.constant(x, tf.uint32))
    counter = tf.cast(tf.range(math.prod(shape)), tf.uint32)
    counter = counter ^ (own * tf.constant(1 << 8, tf.uint32))
    bits = _hashed(counter, keys, lambda x: tf.constant(x, tf.uint32))
    return tf.reshape(tf.cast(bits, tf.float32) * 2**-24, shape)


def _noise_tensor(shape: Any, size: int, keys: Any) -> Any:
    bits = _hashed(tf.cast(tf.range(size), tf.uint32), keys, lambda x: tf.constant(x, tf.uint32))
    return tf.reshape(tf.cast(bits, tf.float32) * 2**-24, shape)


def _hashed(counter: Any, keys: Any, constant: Any) -> Any:
    """24 bits for each number of a counter, in uint32 arithmetic that wraps around.

    TensorFlow's stateless generators draw other numbers under XLA than outside of it, NumPy's
    others again; this is the same everywhere. Each round is one to one: the finalizer of
    MurmurHash3 (A. Appleby), under a key.
    """
    for key in keys:
        counter = counter + constant(key)
        for shift, factor in ((16, 0x85EBCA6B), (13, 0xC2B2AE35)):
            counter = (counter ^ (counter // constant(1 << shift))) * constant(factor)
        counter = counter ^ (counter // constant(1 << 16))
    return counter // constant(1 << 8)
