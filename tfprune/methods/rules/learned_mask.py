# SPDX-License-Identifier: Apache-2.0
"""The rule of methods whose masks are told by something that is trained."""

from __future__ import annotations

from dataclasses import dataclass

from tfprune.masks.serialization import register
from tfprune.methods.base import TopKRule


@register
@dataclass(frozen=True)
class Told(TopKRule):
    """Masks stay what they are: the gate writes them when the run ends.

    Example:
        >>> from tfprune import get_method
        >>> get_method("djpq").rule.structure
        Filter(pooling='mean', coupled=False)
    """

    def masks(self, weights, sites, sparsity, *, final, states=None):
        return [state["mask"] for state in states]
