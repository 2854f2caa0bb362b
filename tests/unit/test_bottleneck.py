# SPDX-License-Identifier: Apache-2.0
"""The gates of the information bottleneck, by hand."""

import numpy as np
import pytest
import tensorflow as tf

from tfprune.masks import costs
from tfprune.quantization.bottleneck import (
    divergence,
    drawn_factors,
    kept,
    kept_ratio,
    mean_factors,
)
from tfprune.quantization.quantizers import bits


@pytest.mark.parametrize(
    "mu, log_variance, expected",
    [(1, -9, 4.50006), (1, 0, 0.346574), (0.1, 0, 0.00497517), (0, 0, 0), (-1, 0, 0.346574)],
)
def test_divergence_by_hand(mu, log_variance, expected):
    found = divergence(tf.constant([float(mu)]), tf.constant([float(log_variance)]))
    assert float(found) == pytest.approx(expected, rel=1e-5)


def test_divergence_falls_with_the_variance_and_adds_up():
    mu = tf.constant([0.5, -2.0, 0.01])
    values = [float(divergence(mu, tf.fill([3], v))) for v in (-9.0, -4.0, 0.0, 3.0)]
    assert values == sorted(values, reverse=True) and min(values) >= 0
    apart = sum(float(divergence(mu[i : i + 1], tf.constant([-4.0]))) for i in range(3))
    assert values[1] == pytest.approx(apart, rel=1e-6)


def test_without_noise_the_gate_is_the_identity():
    factors = drawn_factors(tf.ones([5]), tf.fill([5], -80.0), 4, seed=(0, 1))
    np.testing.assert_allclose(factors, 1, atol=1e-6)
    assert mean_factors(tf.ones([5]), tf.fill([5], -80.0)).numpy().tolist() == [1] * 5


def test_noise_is_drawn_for_each_example_and_channel():
    mu, log_variance = tf.constant([1.0, 2.0]), tf.constant([-2.0, -1.0])
    first, second = (
        drawn_factors(mu, log_variance, 4000, seed=(0, step)).numpy() for step in range(2)
    )
    assert first.shape == (4000, 2) and (first != second).all()
    np.testing.assert_allclose(first.mean(axis=0), mu, atol=0.05)
    np.testing.assert_allclose(first.std(axis=0), np.exp([-1, -0.5]), atol=0.03)
    assert len(np.unique(first, axis=0)) == 4000 and abs(np.corrcoef(first.T)[0, 1]) < 0.1


def test_a_channel_that_is_mostly_noise_is_dropped_but_may_return():
    mu, log_variance = tf.constant([1.0, 0.5, -1.0]), tf.constant([-9.0, 0.0, -0.1])
    assert kept(mu, log_variance).numpy().tolist() == [1, 0, 1]
    assert kept(mu, log_variance, 0.1).numpy().tolist() == [1, 1, 1]
    assert kept(mu, log_variance, 1e6).numpy().tolist() == [1, 0, 0]  # no layer collapses
    assert mean_factors(mu, log_variance).numpy().tolist() == [1, 0, -1]
    with tf.GradientTape() as tape:
        tape.watch(mu)
        drawn = drawn_factors(mu, log_variance, 6, seed=(0, 1))
    assert not drawn.numpy()[:, 1].any() and drawn.numpy()[:, 0].all()
    assert tape.gradient(drawn, mu).numpy().tolist() == [6, 6, 6]


def test_the_ratio_is_counted_and_grows_with_what_a_channel_tells():
    mu, log_variance = tf.constant([1.0, 0.2, -0.9]), tf.constant([-1.0, 0.0, 0.0])
    with tf.GradientTape() as tape:
        tape.watch([mu, log_variance])
        ratio = kept_ratio(mu, log_variance)
    assert float(ratio) == pytest.approx(1 / 3)
    of_mu, of_variance = tape.gradient(ratio, [mu, log_variance])
    assert (np.sign(of_mu) == [1, 1, -1]).all() and (of_variance.numpy() < 0).all()
    alpha = np.square([1, 0.2, 0.9]) / np.exp([-1, 0, 0])
    np.testing.assert_allclose(of_variance, -alpha / (1 + alpha) ** 2 / 3, rtol=1e-4)


def test_bit_operations_grow_with_bits_and_with_what_is_kept():
    step, mu = tf.constant(0.1), tf.constant([1.0, 0.8])
    with tf.GradientTape() as tape:
        tape.watch([step, mu])
        ratio = kept_ratio(mu, tf.constant([0.0, 0.0]))
        cost = costs.bops(100.0, bits(step, 1.0), 8.0, (1.0, ratio))
    of_step, of_mu = tape.gradient(cost, [step, mu])
    assert float(of_step) < 0 and (of_mu.numpy() > 0).all()
