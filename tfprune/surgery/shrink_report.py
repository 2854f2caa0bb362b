# SPDX-License-Identifier: Apache-2.0
"""Report of a shrunk model: what became of each channel group."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from tfprune.output.report_forms import Table, as_dict, markdown, plain_text, rich_parts
from tfprune.reconstruction.refit_report import RefitReport
from tfprune.surgery.agreement import Agreement
from tfprune.surgery.constant_folding import Folded


@dataclass(frozen=True)
class GroupChange:
    """One channel group.

    Attributes:
        name: of the group, as `tfprune.channel_groups` calls it.
        before, after: number of channels.
        dead: how many of those before have nothing but zeros where they are made.
        reasons: why it is whole, or why dead channels stayed.
        removed: the channels that went.
    """

    name: str
    before: int
    after: int
    dead: int = 0
    reasons: tuple[str, ...] = ()
    removed: tuple[int, ...] = ()

    def __str__(self) -> str:
        text = f"{self.name}: {self.before} -> {self.after} channels"
        if self.dead > self.before - self.after:
            stayed = self.dead - self.before + self.after
            text += f", {stayed} dead {'one' if stayed == 1 else 'ones'} stayed"
        return f"{text} ({'; '.join(self.reasons)})" if self.reasons else text


@dataclass(frozen=True)
class ShrinkReport:
    """What `tfprune.shrink` did.

    Attributes:
        groups: one entry for each channel group.
        folded: constants of removed channels that went into what read them.
        parameters: of the model, before and after.
        macs: multiply-accumulates of one example in the kernels whose use is known, before and
            after.
        uncounted: kernels whose use is not known.
        notes: what else is to be known.
        agreement: how far the outputs are from those of the given model, before any refit; None: no
            data.
        refit: what `reconstruct=` did; None: not asked for.
    """

    groups: tuple[GroupChange, ...]
    folded: tuple[Folded, ...]
    parameters: tuple[int, int]
    macs: tuple[int, int]
    uncounted: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    agreement: Agreement | None = None
    refit: RefitReport | None = None

    @property
    def removed(self) -> int:
        """Number of channels that went."""
        return sum(one.before - one.after for one in self.groups)

    @property
    def borders(self) -> tuple[Folded, ...]:
        """Where constants were folded that are not exact at the border of an image."""
        return tuple(one for one in self.folded if one.border)

    def parts(self) -> Iterable[str | tuple[str, ...] | Table]:
        """What is printed: sizes, the groups that changed, what was folded, notes, the refit."""
        macs = f"MACs: {self.macs[0]:,} -> {self.macs[1]:,}"
        if self.uncounted:
            macs += f", without {', '.join(self.uncounted[:3])}" + (
                f" and {len(self.uncounted) - 3} more" if len(self.uncounted) > 3 else ""
            )
        yield f"{self.removed:,} channels removed"
        yield f"parameters: {self.parameters[0]:,} -> {self.parameters[1]:,}"
        yield macs
        yield "" if self.agreement is None else str(self.agreement)
        yield (
            *(str(one) for one in self.groups if one.after < one.before or one.dead),
            *(f"folded: {one}" for one in self.folded),
            *(f"note: {one}" for one in self.notes),
        )
        yield from () if self.refit is None else self.refit.parts()

    __str__, __rich_console__ = plain_text, rich_parts
    to_dict, to_markdown = as_dict, markdown
