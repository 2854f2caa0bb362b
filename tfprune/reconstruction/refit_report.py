# SPDX-License-Identifier: Apache-2.0
"""Report of refitted weights: how far each layer was off the dense one's, before and after."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from tfprune.masks.sites import Skip
from tfprune.output.report_forms import Table, as_dict, markdown, plain_text, rich_parts


@dataclass(frozen=True)
class LayerRefit:
    """One kernel.

    Attributes:
        name: of the weight.
        kept: weights that are not zero, which were refitted.
        before, after: ||Y' - Y|| / ||Y|| of what the layer gives, Y', and what the dense one gives,
            Y, over the examples; channels that are all zero do not count.
        notes: what else is to be known.
    """

    name: str
    kept: int
    before: float
    after: float
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class RefitReport:
    """What `tfprune.reconstruct` did.

    Attributes:
        layers: one entry for each kernel that was refitted, in the order of the forward pass.
        skipped: kernels that stayed as they were, with the reason.
        examples: how many inputs there were.
        outputs: ||Z' - Z|| / ||Z|| of the outputs of the whole model, before and after.

    Example:
        >>> report = RefitReport((LayerRefit("conv/kernel", 36, 0.5, 0.125),), (), 256, (0.8, 0.25))
        >>> print(report)  # doctest: +NORMALIZE_WHITESPACE
        1 kernels refitted on 256 examples; the outputs' distance to the dense ones:
          80.00% -> 25.00%
        <BLANKLINE>
        weight       kept  error before   after
        ---------------------------------------
        conv/kernel    36        50.00%  12.50%
    """

    layers: tuple[LayerRefit, ...]
    skipped: tuple[Skip, ...]
    examples: int
    outputs: tuple[float, float]

    def parts(self) -> Iterable[str | tuple[str, ...] | Table]:
        """What is printed: the whole model, each layer, what was skipped."""
        yield (
            f"{len(self.layers):,} kernels refitted on {self.examples:,} examples; the outputs' "
            f"distance to the dense ones: {_share(self.outputs[0])} -> {_share(self.outputs[1])}"
        )
        yield Table(
            ("weight", "kept", "error before", "after"),
            tuple(
                (one.name, f"{one.kept:,}", _share(one.before), _share(one.after))
                for one in self.layers
            ),
        )
        yield (
            *(f"{one.name}: {note}" for one in self.layers for note in one.notes),
            *(f"{one.name} stays as it is: {one.reason}" for one in self.skipped),
        )

    __str__, __rich_console__ = plain_text, rich_parts
    to_dict, to_markdown = as_dict, markdown


def _share(value: float) -> str:
    return f"{value:.2%}"
