# SPDX-License-Identifier: Apache-2.0
"""Filters of several sites that make the same channels, and what else belongs to these."""

from __future__ import annotations

import math
from typing import Iterator, Sequence

import numpy as np

from tfprune.channels.groups import ChannelGroup, Member
from tfprune.channels.model_channels import Survey
from tfprune.layers.channel_graph import Entry, Role
from tfprune.masks.sites import Coupling, Follower, Site

_NEVER_ZERO = ("variance", "stddev")
"""What is divided by."""


def couplings(survey: Survey, sites: Sequence[Site]) -> dict[str, tuple[Coupling, ...] | str]:
    """The couplings of each site by its name; a text where its channels must stay, and why.

    Args:
        survey: of the model.
        sites: kernels in it.
    """
    by_name = {site.name: site for site in sites}
    found: dict[str, list[Coupling]] = {}
    reasons: dict[str, str] = {}
    for group, _ in survey.groups:
        for member in group.members:
            site = by_name.get(member.site)
            if site is None or member.role not in (Role.PRODUCER, Role.PASSING):
                continue
            if member.axis not in site.layout.outputs:
                continue
            if group.prunable:
                found.setdefault(site.name, []).append(Coupling(group.name, _filters(site, member)))
            else:
                reasons.setdefault(site.name, str(group.reason))
    return {
        name: tuple(found[name])
        if name in found
        else reasons.get(name, "its channels are not found in the model's graph")
        for name in by_name
    }


def followers(survey: Survey, sites: Sequence[Site]) -> tuple[Follower, ...]:
    """What is zero, beside kernels, where channels are that nobody but these sites makes.

    Biases, betas, gammas and means, which would make a constant of a channel without kernels; and
    the rows of a recurrent kernel that read what their own unit no longer says.

    Args:
        survey: of the model.
        sites: kernels in it.
    """
    names = {site.name for site in sites}
    found: dict[tuple[int, int], Follower] = {}
    for group, _ in survey.groups:
        made = {member.site for member in group.producers}
        if not group.prunable or not made <= names:
            continue
        for member, entry in belonging(survey, group):
            if member.role in (Role.PRODUCER, Role.PASSING):
                continue
            key = (id(entry.variable), entry.axis)
            parts = found[key].parts if key in found else ()
            found[key] = Follower(
                entry.variable, entry.axis, (*parts, Coupling(group.name, member.indices))
            )
    return tuple(found.values())


def belonging(survey: Survey, group: ChannelGroup) -> Iterator[tuple[Member, Entry]]:
    """The members of a group that are zero where its channels are, with their variables."""
    made = {member.site for member in group.producers}
    for member in group.members:
        is_read = member.role is Role.CONSUMER and member.site not in made
        if not is_read and not member.site.endswith(_NEVER_ZERO):
            yield member, survey.by_place[member.site, member.axis]


def _filters(site: Site, member: Member) -> np.ndarray:
    """The filters, numbered along the kernel's output axes, that lie at a member's entries."""
    axes = sorted(site.layout.outputs)
    shape = [site.shape[axis] for axis in axes]
    numbers = np.moveaxis(
        np.arange(math.prod(shape)).reshape(shape), axes.index(member.axis), 0
    ).reshape(site.shape[member.axis], -1)
    return numbers[member.indices].reshape(len(member.indices), -1).astype(np.int64)
