# SPDX-License-Identifier: Apache-2.0
"""Drawing k of n with learnable chances: Gumbel top-k, and its relaxation with its gradient.

Each row of logits phi [rows, n] is one distribution pi = softmax(phi). A draw takes k candidates
without replacement, by these chances: the k largest of z = phi + g, g standard Gumbel noise.

Its relaxation orders z descending, z_1 >= ... >= z_n, and takes one softmax after the other, each
over what the earlier ones left:

    soft_j = softmax of z_j, ..., z_n over tau ;  soft = soft_1 + ... + soft_k

With e = exp(z / tau) and S_j = e_j + ... + e_n, soft at i is e_i sum_{j <= min(i, k)} 1 / S_j, so
cumulative sums do for all k, and nothing larger than [rows, n] is made. As tau falls, soft
becomes the draw itself.

Paper: L. Gonzalez-Carabarin, I. Huijben, B. Veeling, A. Schmid, R. van Sloun, "Dynamic
Probabilistic Pruning: A General Framework for Hardware-Constrained Pruning at Different
Granularities", 2021, arXiv 2105.12686.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import tensorflow as tf

_TINY = 1e-20
_DEEPEST = -600.0  # exponents below this are cut; float64 ends at -708


def gumbel(shape: Any, seed: Any) -> tf.Tensor:
    """Standard Gumbel noise, -ln(-ln u), float32; the same for the same seed.

    Args:
        shape: of the noise.
        seed: two integers, a tensor or a sequence.

    Example:
        >>> gumbel((2, 3), (0, 7)).shape.as_list()
        [2, 3]
    """
    uniform = tf.random.stateless_uniform(shape, seed, dtype=tf.float32)
    return -tf.math.log(-tf.math.log(uniform + _TINY) + _TINY)


def soft_sample(perturbed: Any, k: Any, temperature: Any) -> tf.Tensor:
    """The relaxed draw: numbers in [0, 1] that sum to k in every row.

    Args:
        perturbed: z [rows, n], every row in descending order.
        k: how many are drawn of each row, an integer.
        temperature: tau > 0.

    Returns:
        float64 [rows, n].

    Example:
        >>> soft_sample([[3., 2., 0.]], 2, 0.1).numpy().round(3).tolist()
        [[1.0, 1.0, 0.0]]
    """
    weights, _, shares = _parts(perturbed, k, temperature)
    return weights * tf.cumsum(shares, axis=1)


def pulled_back(slope: Any, perturbed: Any, k: Any, temperature: Any) -> tf.Tensor:
    """The gradient by the logits, from the gradient by the relaxed draw.

        dL/dphi_i = e_i (u_i C_i - D_i) / tau,  u = dL/dsoft,
        C_i = sum_{j <= min(i, k)} 1 / S_j,  D_i = the same sum of U_j / S_j^2,
        U_j = sum_{l >= j} u_l e_l

    Args:
        slope: u [rows, n], in the order of `perturbed`.
        perturbed, k, temperature: as for `soft_sample`.

    Returns:
        float64 [rows, n]; every row sums to 0.

    Example:
        >>> pulled_back([[1., 0.]], [[0., 0.]], 1, 0.5).numpy().tolist()
        [[0.5, -0.5]]
    """
    weights, left, shares = _parts(perturbed, k, temperature)
    slope = _double(slope)
    mean = tf.cumsum(weights * slope, axis=1, reverse=True) / left
    pulled = weights * (slope * tf.cumsum(shares, axis=1) - tf.cumsum(shares * mean, axis=1))
    return pulled / _double(temperature)


def entropy(logits: Any) -> tf.Tensor:
    """H(softmax(phi)) of every row, in nats, float32 [rows].

    Example:
        >>> round(float(entropy([[2., 1., 0., -1.]])[0]), 5)
        0.94754
    """
    logs = tf.nn.log_softmax(tf.cast(logits, tf.float32))
    return -tf.reduce_sum(tf.exp(logs) * logs, axis=1)


def entropy_slope(logits: Any) -> tf.Tensor:
    """dH/dphi = -p (ln p + H), float32 [rows, n]; every row sums to 0.

    Example:
        >>> [round(float(one), 4) for one in entropy_slope([[0., 2.]])[0]]
        [0.21, -0.21]
    """
    logs = tf.nn.log_softmax(tf.cast(logits, tf.float32))
    chances = tf.exp(logs)
    return -chances * (logs - tf.reduce_sum(chances * logs, axis=1, keepdims=True))


def _parts(perturbed: Any, k: Any, temperature: Any) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """e, S, and 1/S of the first k places, else 0."""
    perturbed = _double(perturbed)
    depth = (perturbed - perturbed[:, :1]) / _double(temperature)
    weights = tf.exp(tf.maximum(depth, _DEEPEST))
    left = tf.cumsum(weights, axis=1, reverse=True)
    place = tf.range(tf.shape(perturbed)[1])
    shares = tf.where(place < tf.cast(k, place.dtype), 1 / left, tf.zeros_like(left))
    return weights, left, shares


def _double(values: Any) -> tf.Tensor:
    return tf.cast(values if tf.is_tensor(values) else np.asarray(values, np.float64), tf.float64)
