# SPDX-License-Identifier: Apache-2.0
"""Warnings that point at the line of the user's program that led to them."""

from __future__ import annotations

import sys
import warnings

__all__ = ["warn"]

# A callback is called by Keras: what the user wrote is the line of `fit`. Frames of context
# managers stand between those of the packages.
_INSIDE = frozenset(
    {
        "tfprune",
        "tflite_export",
        "keras",
        "tf_keras",
        "tensorflow",
        "tensorflow_model_optimization",
        "contextlib",
        "functools",
        "importlib",
    }
)


def warn(text: str, category: type[Warning] = UserWarning) -> None:
    """Warn at the first line outside this package, `tflite_export`, Keras and TensorFlow.

    Args:
        text: what the user is to know.
        category: of the warning.

    Example:
        >>> with warnings.catch_warnings(record=True) as caught:
        ...     warnings.simplefilter("always")
        ...     warn("look here")
        >>> str(caught[0].message)
        'look here'
    """
    frame = sys._getframe(1)
    while frame.f_back and frame.f_globals.get("__name__", "").partition(".")[0] in _INSIDE:
        frame = frame.f_back
    warnings.warn_explicit(
        text,
        category,
        frame.f_code.co_filename,
        frame.f_lineno,
        frame.f_globals.get("__name__", "<unknown>"),
        frame.f_globals.setdefault("__warningregistry__", {}),
    )
