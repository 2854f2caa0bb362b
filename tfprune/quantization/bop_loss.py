# SPDX-License-Identifier: Apache-2.0
"""The price of a whole model: what its gates tell, and its bit operations."""

from __future__ import annotations

import math
from typing import Any

import tensorflow as tf

from tfprune.masks.costs import FLOAT_BITS, INPUT_BITS, relative_bops
from tfprune.quantization.djpq_placement import Places, Work


class Price:
    """The terms that are added to the loss.

    Args:
        places: of the wrapped model.
        wrapped: {id of a layer: the `LearnedCore` of its wrapper}.
    """

    def __init__(self, places: Places, wrapped: dict[int, Any]):
        self.places = places
        self.wrapped = wrapped
        self.bottlenecks = {
            name: wrapped[id(each.makers[0].end)].bottleneck for name, each in places.gated.items()
        }
        self.gate = next(iter(wrapped.values())).gate

    def tie(self) -> None:
        """Let the gradients of coupled channels reach all copies of their gate vector."""
        for each in self.places.gated.values():
            copies = tuple(self.wrapped[id(maker.end)].bottleneck for maker in each.makers)
            for one in copies:
                one.copies = copies

    def penalty(self, step: Any) -> tf.Tensor:
        """min(1, step / ramp) (kl sum KL + bops f(BOP)), a scalar."""
        gate = self.gate
        told = sum((one.divergence() for one in self.bottlenecks.values()), tf.zeros([]))
        cost = self.relative()
        if gate.form == "log":
            cost = tf.math.log(cost)
        weight = 1.0
        if gate.ramp:
            weight = tf.minimum(tf.cast(step, tf.float32) / gate.ramp, 1.0)
        return weight * (gate.kl * told + gate.bops * cost)

    def relative(self, whole: bool = False) -> Any:
        """Bit operations of the model as a fraction of those in float32 without pruning.

        Args:
            whole: with whole bits, as hardware has them, as a number; else as the loss sees them.
        """
        ratios = {name: one.kept_ratio() for name, one in self.bottlenecks.items()}
        rows = []
        for work in self.places.works:
            weights, inputs = self.widths(work)
            if whole:
                weights, inputs = whole_bits(weights), whole_bits(inputs)
            rows.append(
                (
                    float(work.macs),
                    weights,
                    inputs,
                    (_share(work.reads, ratios), _share(work.makes, ratios)),
                )
            )
        return float(relative_bops(rows)) if whole else relative_bops(rows)

    def widths(self, work: Work) -> tuple[Any, Any]:
        """(bits of the weights, bits of what is read) of one layer."""
        core = self.wrapped[id(work.layer)]
        inputs = float(FLOAT_BITS)
        if core.inputs is not None:
            inputs = core.inputs.settings()[3]
        elif work.raw:
            inputs = float(INPUT_BITS)
        return core.weights.settings()[3], inputs


def whole_bits(width: Any) -> int:
    """The bits that hold so many levels: rounded up.

    >>> whole_bits(5.2), whole_bits(8.00001)
    (6, 8)
    """
    return math.ceil(float(width) - 1e-3)


def _share(parts: dict[str, float], ratios: dict[str, Any]) -> Any:
    """The fraction of a layer's channels that is left; those without a gate all are."""
    free = 1.0 - sum(parts.values())
    return sum((share * ratios[name] for name, share in parts.items()), free)
