# SPDX-License-Identifier: Apache-2.0
"""The settings of joint pruning and quantization, and what is wrapped around one layer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from tfprune.masks.serialization import register
from tfprune.methods.gates.model_gate import Standing
from tfprune.quantization.bottleneck import THRESHOLD

FORMS = ("relative", "log")


@register
@dataclass(frozen=True, kw_only=True)
class Joint(Standing):
    """Gates on the channels and learned quantizers, under one price for bit operations.

        loss = task + min(1, step / ramp) (kl sum KL + bops f(BOP)),  f(BOP) = BOP / BOP_32 or its
        logarithm

    How much is pruned and how few bits are left follows from the two strengths: there is no
    sparsity to ask for.

    Attributes:
        kl: strength of the divergence, per nat.
        bops: strength of the bit operations.
        form: "relative", the fraction of the bit operations in float32, or "log", its natural
            logarithm, whose pull does not fade as the fraction falls.
        width: bits at the beginning, of weights and activations.
        restricted: only bit widths out of {2, 4, 8, 16, 32}.
        activations: quantize what the layers read, too; the model's own inputs count as 8 bits.
        threshold: a channel is kept while mu^2 / sigma^2 is at least this.
        temperature: of the soft count of channels that carries the gradient, in ln(mu^2/sigma^2).
        learn_power: learn the power t of the quantizers. Then no runtime has the type: with t = 1
            weights and activations are what integer kernels compute.
        rate: learning rate of gates and quantizers, as a multiple of the optimizer's own.
        ramp: steps over which the price rises from zero.
        seed: of the noise of the gates.

    Raises:
        ValueError: a setting out of its range.

    Example:
        >>> Joint(bops=2.0, restricted=True).width
        8
    """

    asks: ClassVar[str] = (
        "tfprune.get('djpq', gate=tfprune.Joint(bops=2.0)): the higher its strengths kl and bops, "
        "the fewer channels and bits are left"
    )

    kl: float = 1e-4
    bops: float = 1.0
    form: str = "relative"
    width: int = 8
    restricted: bool = False
    activations: bool = True
    threshold: float = THRESHOLD
    temperature: float = 4.0
    learn_power: bool = False
    rate: float = 10.0
    ramp: int = 100
    seed: int = 0

    def __post_init__(self):
        if self.form not in FORMS:
            raise ValueError(f"form={self.form!r}: expected 'relative' or 'log'.")
        if not 2 <= self.width <= 32:
            raise ValueError(f"width={self.width}: expected 2 to 32 bits.")
        for name in ("kl", "bops", "ramp"):
            if not getattr(self, name) >= 0:
                raise ValueError(f"{name}={getattr(self, name)}: expected a number of at least 0.")
        for name in ("threshold", "temperature", "rate"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name}={getattr(self, name)}: expected a number above 0.")

    @property
    def hides(self) -> bool:
        return False

    def state(self, site, structure):
        """`rest`: after a run the weights before rounding, so that training can go on from them (in
        models of an earlier version: what rounding took from them); `scale`: per filter, what the
        kernel is divided by before it is quantized; 0: not yet."""
        axes = site.layout.outputs
        scale = [size if axis in axes else 1 for axis, size in enumerate(site.shape)]
        return {"rest": np.zeros(site.shape, np.float32), "scale": np.zeros(scale, np.float32)}

    # What happens around a model.

    def insert(self, model: Any, home: Any, method: Any) -> Any:
        """The model with gates and quantizers in it; see `tfprune.quantization.djpq_wrap`."""
        from tfprune.quantization.djpq_wrap import inserted

        return inserted(model, home, method)

    def begin(self, model: Any, home: Any) -> None:
        """Before a run: dense weights come back, and the price of the whole model is put up."""
        from tfprune.quantization.djpq_training import begin

        begin(model, home)

    def finish(self, model: Any, home: Any) -> None:
        """After a run: gates are folded, dropped channels masked, weights quantized."""
        from tfprune.quantization.djpq_training import finish

        finish(model, home)

    def strip(self, model: Any, home: Any) -> None:
        """Before the wrappers are taken off; the same as `finish`, if no run is on."""
        from tfprune.quantization.djpq_training import before_strip

        before_strip(model, home)

    def keep_rounding(self, model: Any, home: Any) -> Any:
        """The model with the quantizers of activations as plain operations."""
        from tfprune.quantization.djpq_export import rounding

        return rounding(model, home)

    def notes(self, model: Any, home: Any) -> dict[str, tuple[str, ...]]:
        """Bits and ranges for the report, by the name of the site."""
        from tfprune.quantization.djpq_report import notes

        return notes(model, home)


@register
@dataclass(frozen=True)
class Part:
    """What is wrapped around one layer.

    Attributes:
        weights: whether its kernel is quantized.
        inputs: how what it reads is quantized: "signed", "unsigned" (never below zero), or ""
            for not at all.
        channels: number of channels that a gate stands on behind the layer; 0: none.

    Example:
        >>> Part(inputs="unsigned", channels=16).channels
        16
    """

    weights: bool = False
    inputs: str = ""
    channels: int = 0
