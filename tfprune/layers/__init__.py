# SPDX-License-Identifier: Apache-2.0
"""Kinds of layers of Keras, each registered in the file of its family."""

from tfprune.layers import (  # noqa: F401
    attention,
    convolution,
    dense,
    elementwise,
    normalization,
    recurrent,
    shapes,
)
