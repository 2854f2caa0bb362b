# SPDX-License-Identifier: Apache-2.0
"""Prune potential: the largest ratio at which a family of networks is not worse."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

_ROUNDING = 1e-9


@dataclass(frozen=True)
class Potential:
    """The ratios up to which pruned networks are as good as the dense one; 0.0 if none is.

    Attributes:
        first: the largest ratio that is as good with all smaller ones tried (first crossing).
        largest: the largest ratio that is as good, whatever smaller ones are.
    """

    first: float
    largest: float


def prune_potential(
    ratios: Sequence[float], losses: Sequence[float], dense_loss: float, delta: float
) -> Potential:
    """The largest ratio whose loss is at most the dense network's plus delta.

        P(D, delta) = max { r : loss_r(D) <= loss_0(D) + delta }

    A loss that is above only by rounding (1e-9 of the larger of the dense loss and delta) counts:
    delta is often a whole number of examples. NaN never counts, on either side.

    Args:
        ratios: sparsities of the family's networks, in any order, each once: networks of several
            seeds are families of their own.
        losses: of these networks on the data D.
        dense_loss: of the dense network on the same data.
        delta: how much more counts as equal, in the losses' unit.

    Raises:
        ValueError: a ratio twice, lengths that differ, or ratios or a delta below 0 or NaN.

    Paper: L. Liebenwein, C. Baykal, B. Carter, D. Gifford, D. Rus, 'Lost in Pruning: The Effects
    of Pruning Neural Networks beyond Test Accuracy', MLSys 2021, arXiv 2103.03014. It takes the
    largest; both are told, as a loss that comes back below the bound is often noise.

    Example:
        >>> prune_potential([0.2, 0.9, 0.6, 0.4], [8.1, 9.0, 8.2, 8.6], dense_loss=8.0, delta=0.5)
        Potential(first=0.2, largest=0.6)
    """
    given, found = np.asarray(ratios, np.float64), np.asarray(losses, np.float64)
    if given.ndim != 1 or given.shape != found.shape:
        raise ValueError(
            f"ratios of shape {given.shape} and losses of shape {found.shape}: "
            "expected a loss for each ratio."
        )
    if not (np.isfinite(given) & (given >= 0)).all():
        raise ValueError(f"ratios={given.tolist()}: expected numbers of at least 0.")
    if len(np.unique(given)) < len(given):
        raise ValueError(
            f"ratios={given.tolist()}: expected each ratio once; networks of several "
            "seeds have a potential each."
        )
    if not delta >= 0:
        raise ValueError(f"delta={delta!r}: expected at least 0, in the unit of the losses.")
    order = np.argsort(given)
    given, found = given[order], found[order]
    rounding = _ROUNDING * max(abs(dense_loss), delta)
    met = np.isfinite(dense_loss) & (found <= dense_loss + delta + rounding)
    unbroken = np.logical_and.accumulate(met)
    return Potential(*(float(given[kept][-1]) if kept.any() else 0.0 for kept in (unbroken, met)))
