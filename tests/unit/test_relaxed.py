# SPDX-License-Identifier: Apache-2.0
"""Draws of k of n and their relaxation, against NumPy and against a loop over k."""

import itertools

import numpy as np
import pytest
import tensorflow as tf

from tfprune.methods.gates.gumbel_topk import (
    entropy,
    entropy_slope,
    gumbel,
    pulled_back,
    soft_sample,
)

PHI = np.array([2.0, 1.0, 0.0, -1.0])


def perturbed(rows=3, length=6, seed=0):
    """Descending rows."""
    return -np.sort(-np.random.default_rng(seed).normal(size=(rows, length)) * 2, axis=1)


def softmaxes(row, k, temperature):
    """[k, n]: one softmax after the other, over what the earlier ones left."""
    found = np.zeros((k, len(row)))
    for j in range(k):
        left = np.exp((row[j:] - row[j]) / temperature)
        found[j, j:] = left / left.sum()
    return found


@pytest.mark.parametrize("k", [1, 3, 6])
@pytest.mark.parametrize("temperature", [5.0, 0.5, 0.02])
def test_the_sum_is_that_of_a_loop(k, temperature):
    rows = perturbed()
    soft = soft_sample(rows, k, temperature).numpy()
    for row, sums in zip(rows, soft):
        parts = softmaxes(row, k, temperature)
        np.testing.assert_allclose(parts.sum(axis=1), np.ones(k))
        assert all((parts[j, :j] == 0).all() for j in range(k))  # what is used is not drawn again
        np.testing.assert_allclose(sums, parts.sum(axis=0), rtol=1e-9)
    np.testing.assert_allclose(soft.sum(axis=1), k)


def test_it_becomes_the_draw_as_the_temperature_falls():
    soft = soft_sample([[2.5, 2, 0.5, 0, -1, -1.5]], 3, 0.05).numpy()
    np.testing.assert_allclose(soft, [[1, 1, 1, 0, 0, 0]], atol=1e-3)


def loop(logits, noise, k, temperature):
    """The relaxed draw in the logits' own order, in TensorFlow ops, by a loop over k."""
    order = tf.argsort(logits + noise, direction="DESCENDING")
    total = used = tf.zeros_like(logits)
    for j in range(k):
        total += tf.nn.softmax((logits + noise - 1e9 * used) / temperature)
        used += tf.one_hot(order[:, j], logits.shape[1], dtype=logits.dtype)
    return total


@pytest.mark.parametrize("jit", [False, True])
@pytest.mark.parametrize("k, temperature", [(1, 1.0), (4, 5.0), (4, 0.5), (7, 2.0)])
def test_the_gradient_is_that_of_the_loop(k, temperature, jit):
    generator = np.random.default_rng(4)
    logits, noise, slope = (tf.constant(generator.normal(size=(5, 7)) * 2) for _ in range(3))
    with tf.GradientTape() as tape:
        tape.watch(logits)
        value = tf.reduce_sum(slope * loop(logits, noise, k, temperature))
    expected = tape.gradient(value, logits).numpy()

    order = tf.argsort(logits + noise, direction="DESCENDING")

    def down(values):
        return tf.gather(values, order, batch_dims=1)

    found = tf.function(pulled_back, jit_compile=jit)(
        down(slope), down(logits + noise), tf.constant(k), tf.constant(temperature, tf.float64)
    )
    np.testing.assert_allclose(found, down(tf.constant(expected)), atol=1e-12)
    np.testing.assert_allclose(expected.sum(axis=1), 0, atol=1e-12)


def test_no_logit_moves_the_sum():
    found = pulled_back(np.full((3, 6), 7.0), perturbed(), 3, 0.5).numpy()
    np.testing.assert_allclose(found, 0, atol=1e-12)


def test_nothing_overflows_in_long_cold_rows():
    rows = perturbed(2, 5000) * 20
    assert np.isfinite(soft_sample(rows, 2500, 0.05).numpy()).all()
    slope = np.random.default_rng(0).normal(size=rows.shape)
    assert np.isfinite(pulled_back(slope, rows, 2500, 0.05).numpy()).all()


def plackett_luce(logits, k):
    """Inclusion probabilities, by all ordered draws."""
    chances = np.exp(logits) / np.exp(logits).sum()
    included = np.zeros(len(logits))
    for draw in itertools.permutations(range(len(logits)), k):
        probability, left = 1.0, 1.0
        for one in draw:
            probability, left = probability * chances[one] / left, left - chances[one]
        included[list(draw)] += probability
    return included


def test_candidates_are_drawn_by_their_chances():
    golden = [0.92659, 0.69570, 0.27467, 0.10304]
    np.testing.assert_allclose(plackett_luce(PHI, 2), golden, atol=5e-6)
    draws = 20_000
    noisy = PHI.astype("float32") + gumbel((draws, 4), (3, 0)).numpy()
    kept = np.argsort(-noisy, axis=1)[:, :2]
    share = np.array([(kept == one).any(axis=1).mean() for one in range(4)])
    np.testing.assert_allclose(share, golden, atol=4 * 0.5 / np.sqrt(draws))


def test_noise_repeats_with_its_seed():
    np.testing.assert_array_equal(gumbel((3, 4), (1, 5)), gumbel((3, 4), (1, 5)))
    assert not np.array_equal(gumbel((3, 4), (1, 5)), gumbel((3, 4), (1, 6)))


def test_entropy_and_its_gradient():
    value = float(entropy(PHI[None])[0])
    assert value == pytest.approx(0.947537, abs=1e-6)
    assert value / np.log(4) == pytest.approx(0.683503, abs=1e-6)
    logits = tf.constant(np.stack([PHI, [0, 0, 0, -1e9]]), tf.float32)
    with tf.GradientTape() as tape:
        tape.watch(logits)
        value = tf.reduce_sum(entropy(logits))
    found = entropy_slope(logits).numpy()
    np.testing.assert_allclose(found, tape.gradient(value, logits).numpy(), atol=1e-6)
    np.testing.assert_allclose(found.sum(axis=1), 0, atol=1e-6)
