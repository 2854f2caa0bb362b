# SPDX-License-Identifier: Apache-2.0
"""Settings of the layer-wise ADMM."""

from __future__ import annotations

import math
from dataclasses import dataclass
from numbers import Integral
from typing import Any

from tfprune.masks.serialization import register
from tfprune.output.argument_checks import is_real

_KINDS = ("clouds", "pixels", "normal")


def _check(name: str, value: Any, least: float) -> None:
    if not is_real(value) or not least <= value < math.inf:
        bound = "above 0" if least < 1e-300 else f"of at least {least:g}"
        raise ValueError(f"{name}: {value!r} given, expected a number {bound}.")


def _check_count(name: str, value: Any, least: int = 1) -> None:
    if not isinstance(value, Integral) or isinstance(value, bool) or value < least:
        raise ValueError(f"{name}: {value!r} given, expected an integer of at least {least}.")


@register(name="Penalty")
@dataclass(frozen=True)
class ADMMPenalty:
    """How strongly weights are drawn to the structure: rho_i = min(start growth^i, most).

    Attributes:
        start: rho of the first iteration, above 0.
        growth: its factor from one iteration to the next, at least 1.
        most: its largest value.

    Raises:
        ValueError: a number out of range.

    Example:
        >>> [ADMMPenalty(0.01, growth=4, most=0.1).at(i) for i in range(4)]
        [0.01, 0.04, 0.1, 0.1]
    """

    start: float = 0.1
    growth: float = 2.0
    most: float = 100.0

    def __post_init__(self):
        _check("ADMMPenalty(start=...)", self.start, math.ulp(0.0))
        _check("ADMMPenalty(growth=...)", self.growth, 1)
        _check("ADMMPenalty(most=...)", self.most, self.start)

    def at(self, iteration: int) -> float:
        """rho of an iteration, counted from 0."""
        if iteration * math.log(self.growth) >= math.log(self.most / self.start):
            return self.most  # the power might overflow
        return self.start * self.growth**iteration


@register(name="Synthetic")
@dataclass(frozen=True)
class SyntheticInputs:
    """The random inputs that stand for data, fresh in every step.

    Attributes:
        kind: "clouds": integers from 0 to 255, where neighbours are alike as in photographs (noise
            of every size, the coarser the stronger; of inputs without space axes, pixels);
            "pixels": such integers, all equally likely and each by itself, which leaves the kept
            weights little that they can make up for; "normal": normal draws of mean 0 and
            deviation 1. Inputs of integer type, and those that an Embedding reads, are integers
            below the vocabulary instead, whatever the kind.
        batch: examples in each step.
        scale: real inputs are multiplied by it: 1/255 for a net that takes images in [0, 1].
        size: stands for sizes that the model leaves open (the length of a text, the sides of an
            image).
        tokens: the vocabulary of integer inputs; None: of the Embedding that reads them, and 256
            where none does.

    Raises:
        ValueError: an unknown kind, or a number out of range.

    Example:
        >>> SyntheticInputs("normal", batch=64).scale
        1.0
    """

    kind: str = "clouds"
    batch: int = 32
    scale: float = 1.0
    size: int | None = None
    tokens: int | None = None

    def __post_init__(self):
        if self.kind not in _KINDS:
            raise ValueError(
                f"SyntheticInputs(kind={self.kind!r}): expected one of {', '.join(_KINDS)}."
            )
        _check("SyntheticInputs(scale=...)", self.scale, math.ulp(0.0))
        _check_count("SyntheticInputs(batch=...)", self.batch)
        for name in ("size", "tokens"):
            if getattr(self, name) is not None:
                _check_count(f"SyntheticInputs({name}=...)", getattr(self, name))


@register
@dataclass(frozen=True)
class ADMM:
    """How the layer-wise ADMM is run: for each layer, `iterations` times

        steps of Adam on mean((student - teacher)^2) / mean(teacher^2) + rho/2 ||W - Z + U||^2
        Z <- projection of W + U ;  U <- U + W - Z

    Attributes:
        iterations: periods of Adam, each with a projection behind it.
        steps: steps of Adam in a period, each on a new batch.
        refit: periods on the weights that are kept, after the last projection.
        rate: learning rate, relative to the root mean square of a layer's weights; within a
            period it falls to a tenth after each third.
        penalty: rho over the iterations.
        inputs: what the model is fed.
        progress: whether a terminal shows the layer and how far its weights are off the structure.

    Raises:
        ValueError: a number out of range.

    Example:
        >>> import keras
        >>> import tfprune
        >>> model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(2)])
        >>> solver = ADMM(2, 5, inputs=tfprune.SyntheticInputs("normal"))
        >>> quick = tfprune.get_method("admm", solver=solver)
        >>> tfprune.sparsify(model, quick, 0.5).kept
        4
    """

    iterations: int = 12
    steps: int = 30
    refit: int = 12
    rate: float = 5e-2
    penalty: ADMMPenalty = ADMMPenalty()
    inputs: SyntheticInputs = SyntheticInputs()
    progress: bool = True

    def __post_init__(self):
        for name, least in (("iterations", 1), ("steps", 1), ("refit", 0)):
            _check_count(f"ADMM({name}=...)", getattr(self, name), least)
        _check("ADMM(rate=...)", self.rate, math.ulp(0.0))
