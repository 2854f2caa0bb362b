# SPDX-License-Identifier: Apache-2.0
"""Report of averages of batch normalizations that were estimated anew."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from tfprune.masks.sites import Skip
from tfprune.output.report_forms import Table, as_dict, markdown, plain_text, rich_parts


@dataclass(frozen=True)
class LayerRecalibration:
    """One batch normalization.

    Attributes:
        name: where it stands.
        anew: whether its averages are new ones.
        before, after: ||Y' - Y|| / ||Y|| of its outputs, Y', and the dense one's, Y, with the old
            averages and with new ones; None: there was no dense model.
    """

    name: str
    anew: bool
    before: float | None = None
    after: float | None = None


@dataclass(frozen=True)
class RecalibrationReport:
    """What `tfprune.recalibrate` did.

    Attributes:
        layers: one entry for each batch normalization, in the order of the forward pass.
        skipped: those that stayed as they were, with the reason.
        examples: how many inputs there were.
        outputs: ||Z' - Z|| / ||Z|| of the outputs of the whole model and the dense one's, before
            and after; None: there was no dense model.
        undone: whether all averages are the old ones again, since the outputs came no nearer.

    Example:
        >>> RecalibrationReport((LayerRecalibration("bn1", True),), (), 256).anew
        1
    """

    layers: tuple[LayerRecalibration, ...]
    skipped: tuple[Skip, ...]
    examples: int
    outputs: tuple[float, float] | None = None
    undone: bool = False

    @property
    def anew(self) -> int:
        """How many batch normalizations have new averages."""
        return 0 if self.undone else sum(one.anew for one in self.layers)

    def parts(self) -> Iterable[str | tuple[str, ...] | Table]:
        """What is printed: what was done, each layer, what was skipped."""
        yield (
            f"averages of {self.anew:,} of {len(self.layers):,} batch normalizations estimated "
            f"anew on {self.examples:,} examples"
        )
        if self.outputs is not None:
            text = (
                "the outputs' distance to the dense ones: "
                f"{self.outputs[0]:.2%} -> {self.outputs[1]:.2%}"
            )
            yield text + (", so that all averages are the old ones again" if self.undone else "")
        yield Table(
            ("layer", "averages", "error before", "after"),
            tuple(
                (
                    one.name,
                    "anew" if one.anew and not self.undone else "as before",
                    "-" if one.before is None else f"{one.before:.2%}",
                    "-" if one.after is None else f"{one.after:.2%}",
                )
                for one in self.layers
            ),
        )
        yield tuple(f"{one.name} stays as it is: {one.reason}" for one in self.skipped)

    __str__, __rich_console__ = plain_text, rich_parts
    to_dict, to_markdown = as_dict, markdown
