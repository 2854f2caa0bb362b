# SPDX-License-Identifier: Apache-2.0
"""Gates whose mask multiplies the weight: as it is, after a soft threshold, or as it decays."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import tensorflow as tf

from tfprune.masks.serialization import register
from tfprune.methods.gates.base import Gate


@register(name="Fixed")
@dataclass(frozen=True)
class MaskGate(Gate):
    """A mask that multiplies the weight: y = f(x; W*M).

    Attributes:
        straight_through: False: a pruned weight is lost (set to zero) when it is pruned, as in
            TF-MOT. True: its value is kept beside the kernel, receives the gradient taken at W*M
            in full, and returns when the mask lets it. An optimizer's decoupled weight decay acts
            on the kernel only, not on the kept values.

    Paper of the straight-through form: T. Lin, S. U. Stich, L. Barba, D. Dmitriev, M. Jaggi,
    "Dynamic Model Pruning with Feedback", 2020, arXiv 2006.07253.

    Example:
        >>> MaskGate().hides
        False
    """

    straight_through: bool = False

    @property
    def hides(self) -> bool:
        return self.straight_through


@register(name="Soft")
@dataclass(frozen=True)
class SoftThresholdGate(Gate):
    """A soft threshold, y = f(x; S(W)), with the gradient taken at S(W) applied to W in full.

        S(W) = W max(2^-20, 1 - t / s),  s = abs(W) for single weights, the score of groups

    So what is kept is never zero, however small it becomes (in half precision 2^-5). s is the
    pooled magnitude of a group. When masks are chosen, t becomes the largest s below the smallest
    that is kept: by magnitude the largest of what is pruned, by another score 0 at worst. There is
    one t for each site, or for each row where rows keep equally many. So a weight that is about to
    be pruned is small already, and one that returns begins small. Between two choices of masks,
    and after the last one, t stays. Overlapping candidates (`Pattern`) are masked without
    shrinking. An optimizer's decoupled weight decay acts on the kernel only.

    Paper: A. Vanderschueren, C. De Vleeschouwer, "Are Straight-Through gradients and
    Soft-Thresholding all you need for Sparse Training?", 2022, arXiv 2212.01076.

    Example:
        >>> SoftThresholdGate().hides
        True
    """

    @property
    def hides(self) -> bool:
        return True

    def compiles(self, structure):
        return structure.pooling is None

    def state(self, site, structure):
        if structure.overlaps:
            return {}
        rows = structure.to_rows(np.zeros(site.shape, np.float32), site.layout)
        return {"cut": np.zeros((rows.shape[0], 1), np.float32)}

    def chosen(self, now):
        if "cut" not in now.state:
            return {}
        size = now.structure.to_rows(tf.abs(now.weight), now.site.layout)
        kept = now.structure.to_rows(now.mask, now.site.layout) > 0
        least = tf.reduce_min(tf.where(kept, size, size.dtype.max), 1, keepdims=True)
        below = tf.where(size < least, size, tf.zeros_like(size))
        return {"cut": tf.maximum(tf.reduce_max(below, 1, keepdims=True), 0)}

    def rest(self, now):
        if "cut" not in now.state:
            return super().rest(now)
        site, structure = now.site, now.structure
        whole = structure.pooling is not None
        rows = structure.to_rows(tf.abs(now.weight) if whole else now.weight, site.layout)
        cut = tf.cast(now.state["cut"], rows.dtype)
        least = 2.0 ** (-20 if now.weight.dtype.size > 2 else -5)
        if whole:
            shrunk = tf.maximum(1 - tf.math.divide_no_nan(cut, rows), least)
        else:
            shrunk = rows - tf.clip_by_value(rows, -cut, cut)
            shrunk = tf.where(tf.abs(shrunk) > least * tf.abs(rows), shrunk, least * rows)
        entries = tf.cast(structure.from_rows(shrunk, site.shape, site.layout), now.weight.dtype)
        kept = now.where_kept(now.weight * entries if whole else entries)
        return now.weight - (now.weight - kept)  # so that with the hidden rest it is W to the bit


@register(name="Decaying")
@dataclass(frozen=True)
class WeightDecayGate(Gate):
    """The pruned weights live on beside the kernel, and decay: SR-STE's refined gradient.

        gradient of W = g + rate * (1 - M) * W,  g taken at W*M

    Attributes:
        rate: of the decay, in units of the loss per squared weight.

    Raises:
        ValueError: a rate below zero.

    Paper: A. Zhou, Y. Ma, J. Zhu, J. Liu, Z. Zhang, K. Yuan, W. Sun, H. Li, "Learning N:M
    Fine-grained Structured Sparse Neural Networks From Scratch", 2021, arXiv 2102.04010.

    Example:
        >>> WeightDecayGate().rate
        0.0002
    """

    rate: float = 2e-4

    def __post_init__(self):
        if not self.rate >= 0:
            raise ValueError(f"rate={self.rate}: expected a number of at least 0.")

    @property
    def hides(self) -> bool:
        return True

    def learn(self, now, gradient):
        pruned = tf.where(now.kept, tf.zeros([], now.weight.dtype), now.weight)
        return gradient + self.rate * pruned, {}
