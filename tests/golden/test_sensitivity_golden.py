# SPDX-License-Identifier: Apache-2.0
"""Sensitivities that a reader can check by hand."""

import numpy as np
import pytest

from tfprune.layers.im2col import Contraction, Window, patches
from tfprune.masks.kernel_layout import DENSE, conv, depthwise
from tfprune.statistics.input_sensitivity import (
    channel_sensitivity,
    mean_sensitivity,
    peak_sensitivity,
)


@pytest.mark.parametrize(
    "inputs, weights, expected",
    [
        # One example, one output: the shares in 1*2 + 3*1 + 5*1 = 10.
        ([[2, 1, 1]], [[1, 3, 5]], [[0.2, 0.3, 0.5]]),
        # The share of a negative weight is that among the negative ones: 3*1 + 5*1 = 8.
        ([[2, 1, 1]], [[1, -3, -5]], [[1, 3 / 8, 5 / 8]]),
        # Negative inputs count as another example: a+ = (2, 0, 0), a- = (0, 1, 1).
        ([[2, -1, -1]], [[1, 3, 5]], [[1, 3 / 8, 5 / 8]]),
        # Two examples, the larger share counts: (1, 3)/4 and (3, 3)/6.
        ([[1, 1], [3, 1]], [[1, 3]], [[0.5, 0.75]]),
        # Every output has its own sums.
        ([[1, 2]], [[1, 1], [4, 1], [0, 7]], [[1 / 3, 2 / 3], [2 / 3, 1 / 3], [0, 1]]),
        # No input, no weight: 0, not 0/0.
        ([[0, 0]], [[1, 3]], [[0, 0]]),
        ([[1, 0]], [[0, 3]], [[0, 0]]),
    ],
)
def test_dense(inputs, weights, expected):
    rows = patches(np.array(inputs, "float32"), Contraction(), DENSE)
    for sensitivity in (mean_sensitivity, peak_sensitivity):
        np.testing.assert_allclose(
            sensitivity(rows, np.array(weights, "float32")), expected, rtol=1e-6
        )


def test_convolution():
    # Kernel (1, 3) on the input 2 2 0 2: the patches are (2, 2), (2, 0), (0, 2).
    # Their shares: (1/4, 3/4), (1, 0), (0, 1); means 5/12 and 7/12, peaks 1 and 1.
    window, layout = Window((2,), (1,), (1,)), conv(1)
    rows = patches(np.array([2, 2, 0, 2], "float32").reshape(1, 4, 1), window, layout)
    np.testing.assert_allclose(mean_sensitivity(rows, [[1.0, 3]]), [[5 / 12, 7 / 12]], rtol=1e-6)
    np.testing.assert_allclose(peak_sensitivity(rows, [[1.0, 3]]), [[1, 1]], rtol=1e-6)
    # With a negative second example, 0 -1 0 -3, patches (0, 1), (1, 0), (0, 3) by magnitude:
    # (0, 1), (1, 0), (0, 1); means 1/3 and 2/3, and 2/3 is more than 7/12.
    both = np.array([[2, 2, 0, 2], [0, -1, 0, -3]], "float32")[..., None]
    means = mean_sensitivity(patches(both, window, layout), [[1.0, 3]])
    np.testing.assert_allclose(means, [[5 / 12, 2 / 3]], rtol=1e-6)


def test_depthwise_convolution():
    # Channel 0: 1 2 with the kernel (1, 1), channel 1: 3 1 with the kernel (1, -2).
    inputs = np.array([[[1, 3], [2, 1]]], "float32")
    rows = patches(inputs, Window((2,), (1,), (1,)), depthwise(1))
    peaks = peak_sensitivity(rows, [[1.0, 1], [1, -2]])
    np.testing.assert_allclose(peaks, [[1 / 3, 2 / 3], [1, 1]], rtol=1e-6)
    channels = channel_sensitivity(peaks, (2, 2, 1), depthwise(1), groups=2)
    np.testing.assert_allclose(channels, [2 / 3, 1], rtol=1e-6)


def test_channels():
    # Two outputs, two positions of two channels: (0, 1), (0, 1).
    peaks = np.array([[0.1, 0.4, 0.3, 0.2], [0.6, 0.0, 0.0, 0.1]], "float32")
    np.testing.assert_allclose(channel_sensitivity(peaks, (2, 2, 2), conv(1)), [0.6, 0.4])
    # Two groups of two channels, one output each.
    np.testing.assert_allclose(
        channel_sensitivity(peaks, (2, 2, 2), conv(1), groups=2), [0.3, 0.4, 0.6, 0.1]
    )
