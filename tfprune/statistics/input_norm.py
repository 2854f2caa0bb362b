# SPDX-License-Identifier: Apache-2.0
"""The norm of the inputs that each weight is multiplied with."""

from __future__ import annotations

import contextlib
from typing import Any, Iterator

import tensorflow as tf

from tfprune.methods.statistics_table import measures
from tfprune.statistics.activations import over_inputs, refusal
from tfprune.statistics.measured_model import Subject


@measures("input_norm", refusal=refusal)
@contextlib.contextmanager
def input_norm(subject: Subject, feed: Any = None, structure: Any = None) -> Iterator[Any]:
    """Measure `input_norm`: ||a_e||_2 of the input a_e of each weight, with training=False.

    Over all examples, all positions at which the weight is used, and all calls of its layer.

    Args:
        subject: the model.
        feed: the data; labels are not looked at.
        structure: not used.

    Yields:
        A function without arguments: for each site `{"input_norm": norms}`, float32 of its shape.
        A layer that is never called has 0, and is warned about.

    Raises:
        ValueError: no data, data that does not fit the model, or a layer's input is not finite.

    Paper: M. Sun, Z. Liu, A. Bair, J. Z. Kolter, "A Simple and Effective Pruning Approach for
    Large Language Models", 2023, arXiv 2306.11695.

    Example:
        >>> import keras
        >>> import numpy as np
        >>> from tfprune.backend import view
        >>> from tfprune.statistics.calibration_data import CalibrationData, Feed
        >>> model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
        >>> feed = Feed(CalibrationData(np.array([[3.0, 1.0], [4.0, 0.0]], "float32")))
        >>> with input_norm(Subject.of(view(model)), feed) as measure:
        ...     measure()[0]["input_norm"].numpy()
        array([[5.],
               [1.]], dtype=float32)
    """
    with over_inputs(subject, feed, {"input_norm": _squares}, tf.add) as measure:
        yield lambda: [{"input_norm": tf.sqrt(site["input_norm"])} for site in measure()]


def _squares(patches: Any, matrix: Any) -> Any:
    """Sums of a^2 over examples and positions, [outputs, columns]; one row for each output."""
    sums = tf.reduce_sum(tf.square(patches), axis=(0, 1))
    rows = tf.reshape(sums, (-1, sums.shape[-1]))  # one for each group of outputs
    return tf.cast(tf.repeat(rows, matrix.shape[0] // rows.shape[0], axis=0), matrix.dtype)
