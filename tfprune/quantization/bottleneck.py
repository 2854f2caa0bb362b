# SPDX-License-Identifier: Apache-2.0
"""Gates of the variational information bottleneck: one random factor per channel.

    z = mu + sigma eps,  eps ~ N(0, 1), drawn for each example and channel;  h <- h z

A channel whose factor is mostly noise tells the layers above nothing. The price of what it tells,
KL = 1/2 ln(1 + mu^2 / sigma^2), is added to the loss, and channels that cannot pay it are dropped.

Paper: B. Dai, C. Zhu, B. Guo, D. Wipf, "Compressing Neural Networks using the Variational
Information Bottleneck", 2018, arXiv 1802.10399.
"""

from __future__ import annotations

from typing import Any, Callable

import numpy as np
import tensorflow as tf

from tfprune.methods.gates.base import seed_of_step
from tfprune.quantization.quantizers import scaled, straight_through
from tfprune.quantization.settings import THRESHOLD, DJPQConfig

EPSILON = 1e-8
FIRST_LOG_VARIANCE = -9.0
_SMALLEST = 1e-3  # of mu, so that the last channel of a layer never vanishes


def signal_to_noise(mu: Any, log_variance: Any) -> tf.Tensor:
    """alpha = mu^2 / sigma^2, one per channel.

    Example:
        >>> signal_to_noise(tf.constant([1., 2.]), tf.constant([0., 0.])).numpy().tolist()
        [1.0, 4.0]
    """
    return tf.square(mu) / (tf.exp(log_variance) + EPSILON)


def divergence(mu: Any, log_variance: Any) -> tf.Tensor:
    """KL = 1/2 sum ln(1 + mu^2 / (sigma^2 + 1e-8)), in nats, a scalar.

    Of N(mu, sigma^2) from a zero-mean normal prior whose own variance is the best one for it.

    Example:
        >>> round(float(divergence(tf.constant([1.]), tf.constant([0.]))), 6)
        0.346574
    """
    return 0.5 * tf.reduce_sum(tf.math.log1p(signal_to_noise(mu, log_variance)))


def kept(mu: Any, log_variance: Any, threshold: float = THRESHOLD) -> tf.Tensor:
    """Which channels are kept, 1.0 or 0.0: alpha >= threshold, and the best one in any case."""
    alpha = signal_to_noise(mu, log_variance)
    best = tf.one_hot(tf.argmax(alpha), alpha.shape[0])
    return tf.maximum(tf.cast(alpha >= threshold, tf.float32), best)


def kept_ratio(
    mu: Any, log_variance: Any, threshold: float = THRESHOLD, *, temperature: float = 1.0
) -> tf.Tensor:
    """The fraction of channels kept, counted; its gradient is that of a soft count.

    The soft count is the mean of sigmoid(ln(alpha / threshold) / temperature), that is
    alpha^(1/T) / (alpha^(1/T) + threshold^(1/T)).

    Example:
        >>> float(kept_ratio(tf.constant([1., .1]), tf.constant([-1., 0.])))
        0.5
    """
    alpha = signal_to_noise(mu, log_variance)
    scores = (tf.math.log(alpha + EPSILON) - tf.math.log(threshold)) / temperature
    soft = tf.reduce_mean(tf.sigmoid(scores))
    return straight_through(soft, tf.reduce_mean(kept(mu, log_variance, threshold)))


def mean_factors(mu: Any, log_variance: Any, threshold: float = THRESHOLD) -> tf.Tensor:
    """The factors at evaluation, without noise: mu of the channels that are kept, else 0."""
    return mu * kept(mu, log_variance, threshold)


def drawn_factors(
    mu: Any, log_variance: Any, examples: Any, threshold: float = THRESHOLD, *, seed: Any
) -> tf.Tensor:
    """Factors for training, [examples, channels], the same for the same seed.

    Dropped channels are zero here, too, so that averages of normalizations above are those of
    evaluation; their gradients are those of the noisy factor, so that they may return.

    Args:
        mu, log_variance: [channels].
        examples: number of examples, an integer or a scalar tensor.
        seed: of stateless draws, two integers. Each replica draws other numbers.
    """
    replica = tf.distribute.get_replica_context()
    if replica is not None and replica.num_replicas_in_sync > 1:
        seed = tf.random.experimental.stateless_fold_in(seed, replica.replica_id_in_sync_group)
    noise = tf.random.stateless_normal([examples, mu.shape[0]], seed)
    drawn = mu + tf.exp(0.5 * log_variance) * noise
    return straight_through(drawn, drawn * kept(mu, log_variance, threshold))


class Bottleneck:
    """One copy of a gate vector. Copies of coupled channels hold the same values.

    Args:
        gate: the settings.
        held: its variables `mu` and `log_variance`, divided by the rate.
    """

    def __init__(self, gate: DJPQConfig, held: dict[str, Any]):
        self.gate = gate
        self.held = held
        self.copies: tuple["Bottleneck", ...] = (self,)

    @classmethod
    def made(cls, gate: DJPQConfig, channels: int, make: Callable) -> "Bottleneck":
        """With variables that `make(name, value, trainable=True, smallest=None)` creates."""
        ones = np.ones(channels, np.float32) / gate.rate
        held = {
            "mu": make("gate_mu", ones, trainable=True, smallest=_SMALLEST / gate.rate),
            "log_variance": make("gate_log_variance", ones * FIRST_LOG_VARIANCE, trainable=True),
        }
        return cls(gate, held)

    def values(self) -> tuple[tf.Tensor, tf.Tensor]:
        """(mu, log sigma^2), whose gradients reach all copies alike, so that they stay equal."""
        return self._tied("mu"), self._tied("log_variance")

    def divergence(self) -> tf.Tensor:
        return divergence(*self.values())

    def kept_ratio(self) -> tf.Tensor:
        gate = self.gate
        return kept_ratio(*self.values(), gate.threshold, temperature=gate.temperature)

    def means(self) -> tf.Tensor:
        """The factors of evaluation, [1, channels]."""
        return mean_factors(*self.values(), self.gate.threshold)[tf.newaxis]

    def drawn(self, examples: Any, name: str, step: Any) -> tf.Tensor:
        """The factors of training, [examples, channels], behind the layer of this name after so
        many finished steps."""
        seed = seed_of_step(self.gate.seed, name, step)
        return drawn_factors(*self.values(), examples, self.gate.threshold, seed=seed)

    def read(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """(mu, log sigma^2, kept as booleans) as arrays."""
        mu, log_variance = (scaled(self.held[name], self.gate.rate) for name in self.held)
        chosen = kept(mu, log_variance, self.gate.threshold)
        return mu.numpy(), log_variance.numpy(), chosen.numpy() > 0

    def write(self, mu: np.ndarray, log_variance: np.ndarray) -> None:
        for name, value in (("mu", mu), ("log_variance", log_variance)):
            self.held[name].assign((value / self.gate.rate).astype(np.float32))

    def _tied(self, name: str) -> tf.Tensor:
        value = scaled(self.held[name], self.gate.rate)
        for other in self.copies:
            if other is not self:
                copy = scaled(other.held[name], self.gate.rate)
                value += copy - tf.stop_gradient(copy)
        return value
