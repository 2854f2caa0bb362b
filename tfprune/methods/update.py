# SPDX-License-Identifier: Apache-2.0
"""An update of masks: what a rule is shown, and what it answers."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any, Sequence

from tfprune.masks.sites import Site


@dataclass(frozen=True, eq=False)
class State:
    """The pruned part of a model when an update is due.

    Attributes:
        weights: the dense weights, arrays or tensors, one per site.
        sites: where they stand; channels are coupled if a site says so.
        sparsity: fraction of groups to remove now.
        final: the schedule's last sparsity.
        known: by name, for each site: measured statistics, what is kept for it, `mask`, the mask at
            rest, bool, `step`, the finished steps, and `progress` of the schedule, 0 at its first
            update and 1 at its last.
        subject: the model with these sites, a `statistics.measured_model.Subject`; None within a
            compiled step.
        feed: the data that is looked at, a `statistics.calibration_data.Feed`; None: none.
    """

    weights: Sequence[Any]
    sites: Sequence[Site]
    sparsity: Any
    final: float
    known: Sequence[dict[str, Any]]
    subject: Any = None
    feed: Any = None

    def after(self, changes: Sequence[dict[str, Any]]) -> State:
        """With what has changed of `known`."""
        pairs = zip(self.known, changes, strict=True)
        return replace(self, known=[{**known, **changed} for known, changed in pairs])


@dataclass(frozen=True, eq=False)
class Update:
    """What is to change in a model; nothing has changed yet.

    Attributes:
        masks: one boolean mask per site, True = keep.
        state: for each site what changes of the numbers that are kept for it, by name.
        kernels: (variable, value) of the weights that change beside being masked.
        notes: what is to be reported of each site, {name: texts}.
        cautions: what did not go as asked.
    """

    masks: Sequence[Any]
    state: Sequence[dict[str, Any]]
    kernels: Sequence[tuple[Any, Any]] = ()
    notes: dict[str, tuple[str, ...]] = field(default_factory=dict)
    cautions: Sequence[str] = ()
