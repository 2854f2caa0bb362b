# SPDX-License-Identifier: Apache-2.0
"""The settings of quantization-aware fine-tuning and of joint pruning and quantization."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from tfprune.masks.serialization import register
from tfprune.methods.gates.base import Gate

_WIDTHS = {"weights": (2, 8), "activations": (2, 16)}

THRESHOLD = 1.0
"""A channel is kept iff mu^2 / sigma^2 is at least this. At 1 its signal is as strong as its own
noise, the point that VIBNet's code uses (log sigma^2 < log mu^2); there the channel pays 0.35 nats.
The value of 1e-3 that some descriptions of DJPQ give keeps channels that are 30 times more noise
than signal, whose mean, all that is left of them at evaluation, is not what was trained."""


@register(name="FakeQuantization")
@dataclass(frozen=True, kw_only=True)
class QuantizationConfig:
    """The grids on which a model computes while it is fine-tuned.

    Attributes:
        weights: bits of a weight, 2 to 8: int8 files hold 8, int4 files 4.
        activations: bits of what layers read, 2 to 16; None: activations stay in float.
        momentum: of the running range of activations, in [0, 1); 0: that of the last batch.

    Raises:
        ValueError: a setting out of its range.

    Example:
        >>> QuantizationConfig(weights=4).activations
        8
    """

    weights: int = 8
    activations: int | None = 8
    momentum: float = 0.99

    def __post_init__(self):
        for name, (lowest, highest) in _WIDTHS.items():
            bits = getattr(self, name)
            if bits is None and name == "activations":
                continue
            if isinstance(bits, bool) or bits not in range(lowest, highest + 1):
                raise ValueError(
                    f"{name}={bits!r}: expected a whole number of {lowest} to {highest} bits"
                    f"{', or None for float' if name == 'activations' else ''}."
                )
            object.__setattr__(self, name, int(bits))
        if not 0 <= self.momentum < 1:
            raise ValueError(f"momentum={self.momentum!r}: expected a number in [0, 1).")


@register(name="Joint")
@dataclass(frozen=True, kw_only=True)
class DJPQConfig(Gate):
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
        >>> DJPQConfig(bops=2.0, restricted=True).width
        8
    """

    hooks: ClassVar[str] = "tfprune.quantization.djpq:HOOKS"
    asks: ClassVar[str] = (
        "tfprune.get_method('djpq', gate=tfprune.DJPQConfig(bops=2.0)): the higher its strengths "
        "kl and bops, "
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
        if self.form not in ("relative", "log"):
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
