# SPDX-License-Identifier: Apache-2.0
"""Which filters of which sites make the same channels."""

from __future__ import annotations

from typing import Any, Sequence

import numpy as np

from tfprune.sites import Coupling, Site
from tfprune.surgery.groups import Member, Role, channel_groups


def couplings(model: Any, sites: Sequence[Site]) -> dict[str, tuple[Coupling, ...] | str]:
    """The couplings of each site by its name; a text where its channels must stay, and why.

    Args:
        model: a functional or Sequential model.
        sites: kernels in it.

    Raises:
        ValueError: the model has no graph.
    """
    by_name = {site.name: site for site in sites}
    found: dict[str, list[Coupling]] = {}
    reasons: dict[str, str] = {}
    for group in channel_groups(model):
        for member in group.members:
            site = by_name.get(member.site)
            if site is None or member.role not in (Role.PRODUCER, Role.PASSING):
                continue
            if member.axis not in site.layout.outputs:
                continue
            if group.prunable:
                found.setdefault(site.name, []).append(
                    Coupling(group.name, _filters(site, member))
                )
            else:
                reasons.setdefault(site.name, str(group.reason))
    return {
        name: tuple(found[name]) if name in found else reasons.get(
            name, "its channels are not found in the model's graph")
        for name in by_name
    }


def _filters(site: Site, member: Member) -> np.ndarray:
    """The filters, numbered along the kernel's output axes, that lie at a member's entries."""
    axes = sorted(site.layout.outputs)
    numbers = np.arange(np.prod([site.shape[axis] for axis in axes]))
    numbers = numbers.reshape([site.shape[axis] for axis in axes])
    numbers = np.moveaxis(numbers, axes.index(member.axis), 0).reshape(site.shape[member.axis], -1)
    return numbers[member.indices].reshape(len(member.indices), -1).astype(np.int64)
