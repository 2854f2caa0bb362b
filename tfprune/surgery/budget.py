# SPDX-License-Identifier: Apache-2.0
"""Budget of a smaller model."""

from __future__ import annotations

import math
from dataclasses import dataclass
from numbers import Integral, Real
from typing import Any, Callable

import numpy as np

from tfprune.channels.cost_model import Prices

COUNTED = ("parameters", "macs", "weight_bytes", "activation_bytes")


@dataclass(frozen=True)
class Budget:
    """What a model may cost at most, in one or several units, and how its channels come.

    Each limit is an integer, or a float between 0 and 1: that fraction of what the given model
    costs.

    Attributes:
        parameters: number of weights, those that are not trained included.
        macs: multiply-accumulates of one example.
        weight_bytes: bytes of the weights, kernels of `bits` bits, biases of 32. What is left of
            a BatchNorm after conversion is a bias.
        activation_bytes: bytes of all tensors of one example that are needed at the same time,
            each number of `bits` bits: what an arena holds. Memory planners may need more.
        latency: milliseconds, as `meter` measures them; never a fraction.
        meter: a function of a Keras model that returns its latency in milliseconds, such as
            `tflite_export.Meter()`.
        bits: of a kernel's weight and of an activation.
        round_to: each group keeps so many channels, or a multiple of it, as far as it has them.
        min_channels: each group keeps at least so many.
        per_cost: whether an allocation that compares scores across groups (`tfprune.Global`)
            compares score per cost: what a channel is worth for each fraction of the budget that
            goes with it (L. Liu et al., "Group Fisher Pruning for Practical Network Compression",
            2021, arXiv 2108.00708); False: the scores alone.

    Raises:
        ValueError: no limit at all; a limit that is not above 0, or a float of 1 or more; a
            latency without a meter; a number of bits, channels or multiples below 1.

    Example:
        >>> Budget(macs=0.5, weight_bytes=100_000).limits({"macs": 3000, "weight_bytes": 400_000})
        {'macs': 1500, 'weight_bytes': 100000}
    """

    parameters: int | float | None = None
    macs: int | float | None = None
    weight_bytes: int | float | None = None
    activation_bytes: int | float | None = None
    latency: float | None = None
    meter: Callable[[Any], float] | None = None
    bits: int = 8
    round_to: int = 1
    min_channels: int = 1
    per_cost: bool = True

    def __post_init__(self):
        if not self.units and self.latency is None:
            raise ValueError(
                f"Budget() has no limit: give at least one of {', '.join(COUNTED)}, latency."
            )
        for name in self.units:
            value = getattr(self, name)
            is_count = isinstance(value, Integral) and not isinstance(value, bool)
            if not (value > 0 if is_count else isinstance(value, Real) and 0 < value < 1):
                raise ValueError(
                    f"Budget({name}={value!r}): expected an integer above 0, or a "
                    "float between 0 and 1, the fraction that is to be left."
                )
        is_time = isinstance(self.latency, Real) and 0 < self.latency < math.inf
        if self.latency is not None and not (is_time and callable(self.meter)):
            raise ValueError(
                f"Budget(latency={self.latency!r}, meter={self.meter!r}): expected milliseconds "
                "above 0 and a function of a model that measures them: tflite_export.Meter()."
            )
        for name in ("bits", "round_to", "min_channels"):
            value = getattr(self, name)
            if not isinstance(value, Integral) or isinstance(value, bool) or value < 1:
                raise ValueError(f"Budget({name}={value!r}): expected an integer of at least 1.")

    @property
    def units(self) -> tuple[str, ...]:
        """The limits that can be counted without running the model."""
        return tuple(name for name in COUNTED if getattr(self, name) is not None)

    def limits(self, whole: dict[str, float]) -> dict[str, float]:
        """The limits as integers, that of the latency in milliseconds.

        Args:
            whole: what the given model costs, in the same units.
        """
        values = {name: getattr(self, name) for name in self.units}
        counted: dict[str, float] = {
            name: int(value) if isinstance(value, Integral) else int(value * whole[name])
            for name, value in values.items()
        }
        return counted if self.latency is None else {**counted, "latency": float(self.latency)}

    def costs(self, prices: Prices, counts: np.ndarray) -> dict[str, float]:
        """What a model with so many channels in its groups costs, in the units of the limits."""
        bits = {name: [self.bits] if name.endswith("bytes") else [] for name in self.units}
        return {name: getattr(prices, name)(counts, *bits[name]) for name in self.units}
