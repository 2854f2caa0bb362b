# SPDX-License-Identifier: Apache-2.0
"""The learnable quantizer against its formulas, written once more in NumPy."""

import numpy as np
import pytest
import tensorflow as tf

from tfprune.quantization.quantizers import (
    bits,
    bounded,
    nearest_width,
    quantize,
    restricted,
    step_for,
)

POINTS = np.array([-1.5, -0.6, -0.1, 0, 0.3, 0.77, 1, 2], np.float32)
SETTINGS = [
    (0.25, 1.0, 1.0),
    (0.25, 1.0, 0.5),
    (1 / 7, 0.8, 1.3),
    (1 / 127, 2.5, 1.0),
    (0.3, 0.05, 0.7),
]
each_setting = pytest.mark.parametrize("d, q, t", SETTINGS)


def reference(x, d, q, t):
    """x_q and its gradients for d, q, t and x, as formulas, in float64."""
    x = np.asarray(x, np.float64)
    size, sign = np.abs(x), np.sign(x)
    with np.errstate(divide="ignore", invalid="ignore"):
        m = np.where(size >= q, q**t, size**t) * (size > 0)
        log = np.where(size > 0, np.log(np.minimum(size, q)), 0)
        slope = np.where(size < q, np.clip(t * size ** (t - 1), 0, 10), 0)
    return (
        sign * d * np.round(m / d),
        sign * (np.round(m / d) - m / d),
        sign * t * q ** (t - 1) * (size > q),
        sign * m * log,
        slope,
    )


@pytest.mark.parametrize(
    "t, expected",
    [(1.0, [-1, -0.5, 0, 0, 0.25, 0.75, 1, 1]), (0.5, [-1, -0.75, -0.25, 0, 0.5, 1, 1, 1])],
)
def test_values_by_hand(t, expected):
    assert quantize(POINTS, 0.25, 1.0, t).numpy().tolist() == expected


@each_setting
def test_values_and_gradients_are_the_formulas(d, q, t):
    x = np.random.default_rng(0).normal(size=200).astype("float32")
    weights = np.random.default_rng(1).normal(size=200).astype("float32")
    given = [tf.constant(one, tf.float32) for one in (x, d, q, t)]
    with tf.GradientTape() as tape:
        tape.watch(given)
        out = quantize(*given)
        total = tf.reduce_sum(out * weights)
    value, *slopes = reference(x, d, q, t)
    np.testing.assert_allclose(out, value, atol=1e-5)
    of_x, *of_settings = tape.gradient(total, given)
    np.testing.assert_allclose(of_x, slopes[3] * weights, rtol=1e-4, atol=1e-5)
    for found, slope in zip(of_settings, slopes):
        assert float(found) == pytest.approx((slope * weights).sum(), rel=2e-3, abs=2e-3)


@pytest.mark.parametrize("q", [0.8, 0.0])
def test_without_a_power_all_is_as_with_the_power_one(q):
    x = np.append(np.random.default_rng(0).normal(size=100), [0, q, -q]).astype("float32")
    found = []
    for power in ((), (tf.constant(1.0),)):
        given = [tf.constant(x), tf.constant(0.1), tf.constant(q)]
        with tf.GradientTape() as tape:
            tape.watch(given)
            out = quantize(*given, *power)
        found.append([out, *tape.gradient(out, given)])
    for one, other in zip(*found):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-4)


@each_setting
def test_odd_monotone_and_few_levels(d, q, t):
    x = np.linspace(-3, 3, 2001).astype("float32")
    out = quantize(x, d, q, t).numpy()
    np.testing.assert_array_equal(out, -quantize(-x, d, q, t).numpy())
    assert (np.diff(out) >= 0).all()
    levels = np.unique(np.abs(out))
    assert len(levels) <= q**t / d + 2  # rounded up at the range, and zero
    assert levels.max() <= d * round(q**t / d) * (1 + 1e-6)
    if t == 1:
        np.testing.assert_array_equal(quantize(out, d, q).numpy(), out)


@pytest.mark.parametrize("t", [0.5, 1.0, 1.5])
@pytest.mark.parametrize("q", [1.0, 0.0, -0.5])
def test_everything_is_finite_at_zero_and_without_a_range(q, t):
    given = [
        tf.constant([0.0, -0.0, 0.5, -2.0, q]),
        tf.constant(0.25),
        tf.constant(q),
        tf.constant(t),
    ]
    with tf.GradientTape() as tape:
        tape.watch(given)
        out = quantize(*given)
    for value in (out, *tape.gradient(out, given)):
        assert np.isfinite(value).all()
    assert out.numpy()[0] == 0


@pytest.mark.parametrize("half", ["float16", "bfloat16"])
def test_half_precision_is_computed_in_single_under_xla(half):
    x = tf.cast(tf.random.stateless_normal([64], [1, 2]), half)

    @tf.function(jit_compile=True)
    def graph(x, d, q):
        with tf.GradientTape() as tape:
            tape.watch([x, d, q])
            out = quantize(x, d, q)
        return out, tape.gradient(out, [x, d, q])

    d, q = tf.constant(1 / 127), tf.constant(1.0)
    out, (of_x, of_d, of_q) = graph(x, d, q)
    assert out.dtype == of_x.dtype == x.dtype and of_d.dtype == of_q.dtype == tf.float32
    value, slope, over, _, _ = reference(tf.cast(x, tf.float32), 1 / 127, 1.0, 1.0)
    np.testing.assert_allclose(tf.cast(out, tf.float32), value, atol=1e-2)
    assert float(of_q) == pytest.approx(over.sum(), abs=1e-3)
    assert float(of_d) == pytest.approx(slope.sum(), abs=1e-2)


@pytest.mark.parametrize(
    "d, signed, expected",
    [(1 / 127, True, 8), (1 / 7, True, 4), (0.25, True, 3.3219), (0.25, False, 2.3219)],
)
def test_bits_by_hand(d, signed, expected):
    assert float(bits(d, 1.0, signed=signed)) == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize("signed", [True, False])
@pytest.mark.parametrize("width", range(2, 17))
def test_steps_and_bits_are_inverse(width, signed):
    for q, t in ((1.0, 1.0), (3.0, 0.5), (0.2, 1.4)):
        d = step_for(width, q, t, signed=signed)
        assert float(bits(d, q, t, signed=signed)) == pytest.approx(width, abs=1e-4)
        assert float(bits(2 * d, q, t, signed=signed)) < width


@pytest.mark.parametrize("d, q, t", SETTINGS[:4])
def test_the_slopes_of_the_bits(d, q, t):
    given = [tf.constant(one) for one in (d, q, t)]
    with tf.GradientTape() as tape:
        tape.watch(given)
        width = bits(*given)
    below = d * (q**t / d + 1) * np.log(2)
    expected = [-(q**t) / d / below, t * q ** (t - 1) / below, q**t * np.log(q) / below]
    np.testing.assert_allclose(tape.gradient(width, given), expected, rtol=1e-4, atol=1e-6)


def test_restricted_widths():
    assert nearest_width([2.5, 2.9, 5.6, 5.7, 11.3, 11.4, 22.0, 23.0, 64.0]).numpy().tolist() == [
        2,
        4,
        4,
        8,
        8,
        16,
        16,
        32,
        32,
    ]
    for width in (2, 4, 8, 16, 32):
        step, shown = restricted(step_for(width, 0.7) * 1.05, 0.7)
        assert float(shown) == width
        assert float(bits(step, 0.7)) == pytest.approx(width, abs=1e-4)


def test_the_step_and_the_bits_of_a_restricted_width_are_straight_through():
    d = tf.constant(1 / 100)
    with tf.GradientTape(persistent=True) as tape:
        tape.watch(d)
        step, width = restricted(d, 1.0)
        own = bits(d, 1.0)
    assert float(tape.gradient(step, d)) == 1
    assert float(tape.gradient(width, d)) == float(tape.gradient(own, d)) < 0


def test_beyond_a_bound_only_the_way_back_is_open():
    value = tf.constant([1.0, 3.0, 3.0, -1.0, -1.0])
    with tf.GradientTape() as tape:
        tape.watch(value)
        total = tf.reduce_sum(
            bounded(value, tf.constant(0.0), tf.constant(2.0))
            * tf.constant([5.0, 1.0, -1.0, 1.0, -1.0])
        )
    # Descent goes against the gradient: a positive one leads down from the upper bound.
    assert tape.gradient(total, value).numpy().tolist() == [5, 1, 0, 0, -1]
