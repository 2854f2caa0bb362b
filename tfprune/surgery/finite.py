# SPDX-License-Identifier: Apache-2.0
"""Weights that are NaN or infinite: nothing can be said of a model that has them."""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from tfprune.backend import adapter_of


def check_finite(model: Any, advice: str) -> None:
    """Look for NaN and infinity in the weights: a ReLU may hide them from the outputs.

    Args:
        advice: what to do, for the error.

    Raises:
        ValueError: there is some.
    """
    adapter = adapter_of(model)
    for variable in model.weights:
        raw = adapter.raw(variable)
        if raw.dtype.is_floating and not bool(tf.reduce_all(tf.math.is_finite(raw))):
            name = getattr(variable, "path", None) or variable.name
            raise ValueError(
                f"The weight {name!r} has NaN or infinite values: the training diverged; {advice}."
            )
