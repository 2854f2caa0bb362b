# SPDX-License-Identifier: Apache-2.0
"""The grids of quantization-aware fine-tuning against loops in NumPy."""

import itertools

import numpy as np
import pytest
import tensorflow as tf

import tfprune
from tfprune.masks import kernel_layout
from tfprune.quantization.fake_quant import on_activation_grid, on_weight_grid, tracked

# kernel shape, layout, and the axes of its output channels as TensorFlow's documentation has them
KERNELS = {
    "dense": ((5, 3), kernel_layout.DENSE, (1,)),
    "conv1d": ((3, 2, 4), kernel_layout.conv(1), (2,)),
    "conv2d": ((2, 3, 2, 4), kernel_layout.conv(2), (3,)),
    "conv3d": ((2, 1, 2, 2, 3), kernel_layout.conv(3), (4,)),
    "conv1d_transpose": ((3, 4, 2), kernel_layout.conv_transpose(1), (1,)),
    "conv2d_transpose": ((2, 3, 4, 2), kernel_layout.conv_transpose(2), (2,)),
    "conv3d_transpose": ((2, 1, 2, 3, 2), kernel_layout.conv_transpose(3), (3,)),
    "depthwise1d": ((3, 4, 2), kernel_layout.depthwise(1), (1, 2)),
    "depthwise2d": ((3, 2, 4, 2), kernel_layout.depthwise(2), (2, 3)),
}


def expected_weights(kernel, mask, channels, bits):
    """One output channel after the other, in double precision."""
    shown = np.zeros(kernel.shape)
    for chosen in itertools.product(*(range(kernel.shape[axis]) for axis in channels)):
        at = [slice(None)] * kernel.ndim
        for axis, index in zip(channels, chosen):
            at[axis] = index
        values = (kernel * mask)[tuple(at)].astype(np.float64)
        top = 2 ** (bits - 1) - 1
        if values.any():
            step = np.abs(values).max() / top
            shown[tuple(at)] = np.rint(values / step) * step
    return shown


@pytest.mark.parametrize("bits", [2, 4, 8])
@pytest.mark.parametrize("name", KERNELS)
def test_weights_lie_on_a_symmetric_grid_for_each_output_channel(name, bits):
    shape, layout, channels = KERNELS[name]
    generator = np.random.default_rng(bits)
    kernel = generator.normal(size=shape).astype("float32")
    mask = (generator.random(shape) < 0.6).astype("float32")
    first = tuple(0 if axis in channels else slice(None) for axis in range(len(shape)))
    mask[first] = 0  # a channel without weights
    kernel[tuple(-1 if axis in channels else slice(None) for axis in range(len(shape)))] *= 1e-9
    shown = on_weight_grid(kernel, mask, layout, bits).numpy()
    np.testing.assert_allclose(
        shown, expected_weights(kernel, mask, channels, bits), rtol=1e-5, atol=0
    )
    assert not shown[mask == 0].any()


def test_gradients_go_straight_through_and_end_at_the_mask():
    kernel = tf.Variable([[1.0, -2.0], [3.0, 0.1]])
    mask = tf.constant([[1.0, 0.0], [1.0, 1.0]])
    with tf.GradientTape() as tape:
        shown = on_weight_grid(kernel, mask, kernel_layout.DENSE, 3)
        loss = tf.reduce_sum(shown * [[2.0, np.inf], [5.0, 7.0]])
    np.testing.assert_array_equal(tape.gradient(loss, kernel), [[2.0, 0.0], [5.0, 7.0]])


def expected_activations(values, low, high, bits):
    top = 2**bits - 1
    scale = (high - low) / top
    zero = np.rint(-low / scale)
    return scale * (np.clip(np.rint(values / scale) + zero, 0, top) - zero)


@pytest.mark.parametrize("low, high", [(-1.3, 2.2), (0.0, 5.0), (-4.0, 0.0), (-1e-4, 3.0)])
@pytest.mark.parametrize("bits", [2, 8])
def test_activations_lie_on_an_asymmetric_grid_with_zero_on_it(low, high, bits):
    values = np.linspace(-5, 6, 1001, dtype="float32")
    variable = tf.Variable(values)
    with tf.GradientTape() as tape:
        shown = on_activation_grid(variable, low, high, bits)
    step = (high - low) / (2**bits - 1)
    off = np.abs(shown.numpy() - expected_activations(values, low, high, bits)) > step / 100
    # Values in the middle between two levels may go to either.
    assert off.mean() < 0.01 and np.abs(shown.numpy() - np.clip(values, low, high)).max() < step
    assert on_activation_grid(0.0, low, high, bits).numpy() == 0
    slope = tape.gradient(shown, variable).numpy()
    inside = (values > low + step) & (values < high - step)
    assert (slope[inside] == 1).all()
    assert not slope[(values < low - step) | (values > high + step)].any()


def test_activations_keep_their_type_and_stay_as_they_are_without_a_range():
    for dtype in (tf.float16, tf.bfloat16, tf.float32):
        values = tf.constant([-1.1, 0.7], dtype)
        assert on_activation_grid(values, -1.0, 1.0, 8).dtype == dtype
        np.testing.assert_array_equal(on_activation_grid(values, 0.0, 0.0, 8), values)


def test_the_range_is_a_running_mean_that_the_first_batch_begins():
    low, high = tracked(0.0, 0.0, [2.0, 5.0], 0.9)
    assert (float(low), float(high)) == (0.0, 5.0)
    low, high = tracked(low, high, [-1.0, 4.0], 0.9)
    np.testing.assert_allclose([low, high], [-0.1, 4.9], rtol=1e-6)
    for broken in ([np.nan, 1.0], [-np.inf, 1.0], [1.0, np.inf]):
        assert [float(one) for one in tracked(-2.0, 3.0, broken, 0.9)] == [-2.0, 3.0]


@pytest.mark.parametrize(
    "wrong, said",
    [
        ({"weights": 9}, "2 to 8 bits"),
        ({"weights": 2.5}, "2 to 8 bits"),
        ({"weights": None}, "2 to 8 bits"),
        ({"weights": True}, "2 to 8 bits"),
        ({"activations": 1}, "2 to 16 bits, or None"),
        ({"activations": 17}, "2 to 16 bits"),
        ({"momentum": 1.0}, "number in"),
        ({"momentum": -0.1}, "number in"),
    ],
)
def test_settings_out_of_range_are_named(wrong, said):
    with pytest.raises(ValueError, match=said):
        tfprune.QuantizationConfig(**wrong)
