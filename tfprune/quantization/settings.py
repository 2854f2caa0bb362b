# SPDX-License-Identifier: Apache-2.0
"""The settings of quantization-aware fine-tuning."""

from __future__ import annotations

from dataclasses import dataclass

from tfprune.masks.serialization import register

_WIDTHS = {"weights": (2, 8), "activations": (2, 16)}


@register
@dataclass(frozen=True, kw_only=True)
class FakeQuantization:
    """The grids on which a model computes while it is fine-tuned.

    Attributes:
        weights: bits of a weight, 2 to 8: int8 files hold 8, int4 files 4.
        activations: bits of what layers read, 2 to 16; None: activations stay in float.
        momentum: of the running range of activations, in [0, 1); 0: that of the last batch.

    Raises:
        ValueError: a setting out of its range.

    Example:
        >>> FakeQuantization(weights=4).activations
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
