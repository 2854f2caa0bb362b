# SPDX-License-Identifier: Apache-2.0
"""Settings of an evaluation: how much data, which metric, which seed."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from tfprune.output.argument_checks import check_fields

RUNTIMES = ("auto", "keras", "litert")


@check_fields
@dataclass(frozen=True)
class Evaluation:
    """Settings of `tfprune.compare` and `tfprune.potential`.

    Attributes:
        severities: of the corruptions, each from 1 (weak) to 5 (strong); one alone may be a number.
        examples: how many of the first examples are corrupted or get noise; None: all.
        metric: (labels, outputs) -> a loss for each example, lower is better; what it returns
            beyond the first axis is averaged. Several outputs come as a list, in the order of the
            model's outputs; labels as they were given. None: the error of the class where labels
            are classes, else the squared error. Without labels only distances are told.
        delta: how much worse than the dense network still counts as equal: points of error, or
            units of `metric`.
        bins: of the expected calibration error.
        resamples: of a bootstrap interval.
        scale: what white is in the images: 255.0 or 1.0; None: told from their values, and said.
        seed: of corruptions, noise and resampling.
        batch_size: examples in one call of a network.
        runtime: what predicts for a Keras model: "keras", "litert" (converted to float32 and
            compared on some examples) or "auto", the fastest that fits.
        cache_bytes: how much room corrupted inputs may take on the disk.
        latency: measure milliseconds for one example in LiteRT, with one thread.
        class_names: what classes are called; None: by their numbers.
        features: on how many of the first images `compare` asks which pixels inform the networks
            (see `tfprune.informative_features`); for models of Keras.

    Raises:
        TypeError, ValueError: a value of another type, or out of range.

    Example:
        >>> Evaluation(severities=(1, 3), examples=500).severities
        (1, 3)
        >>> Evaluation(severities=(0,))
        Traceback (most recent call last):
        ...
        ValueError: Evaluation(severities=(0,)): expected whole numbers from 1 to 5, each once.
    """

    severities: tuple[int, ...] = (1, 2, 3, 4, 5)
    examples: int | None = 2000
    metric: Callable | None = None
    delta: float = 0.5
    bins: int = 15
    resamples: int = 1000
    scale: float | None = None
    seed: int = 0
    batch_size: int = 250
    runtime: str = "auto"
    cache_bytes: int = 1 << 30
    latency: bool = False
    class_names: tuple[str, ...] | None = None
    features: int = 0

    def __post_init__(self):
        severities = self.severities
        severities = tuple(severities) if isinstance(severities, Iterable) else (severities,)
        if len(set(severities)) < len(severities) or not set(severities) <= set(range(1, 6)):
            self._refuse("severities", "whole numbers from 1 to 5, each once")
        object.__setattr__(self, "severities", severities)
        if not severities:
            self._refuse("severities", "at least one")
        if isinstance(self.class_names, str):
            self._refuse("class_names", "a tuple of names, one for each class")
        if self.class_names is not None:
            object.__setattr__(self, "class_names", tuple(map(str, self.class_names)))
        for name, least in (
            ("examples", 1),
            ("bins", 1),
            ("resamples", 1),
            ("batch_size", 1),
            ("cache_bytes", 0),
            ("seed", 0),
            ("delta", 0),
            ("features", 0),
        ):
            value = getattr(self, name)
            if value is not None and not value >= least:
                self._refuse(name, f"at least {least}")
        if self.metric is not None and not callable(self.metric):
            self._refuse("metric", "a function (labels, outputs) -> loss of each example")
        if self.scale not in (None, 1.0, 255.0):
            self._refuse("scale", "255.0, 1.0 or None")
        if self.runtime not in RUNTIMES:
            self._refuse("runtime", f"one of {', '.join(map(repr, RUNTIMES))}")

    def _refuse(self, name: str, expected: str) -> None:
        raise ValueError(f"Evaluation({name}={getattr(self, name)!r}): expected {expected}.")
