# SPDX-License-Identifier: Apache-2.0
"""Which channels are dead: nothing that makes them has a weight other than zero."""

from __future__ import annotations

import numpy as np

from tfprune.channels.model_channels import Survey


def dead(survey: Survey) -> np.ndarray:
    """Which channels carry nothing of the model's input: bool, for every channel.

    A channel is dead if every entry of every kernel that makes it is zero: what it carries then
    comes from biases alone. NaN is not zero.
    """
    variables = {entry.site: entry.variable for entry in survey.tracer.book.entries.values()}
    known: dict[tuple[str, int], np.ndarray] = {}

    def nonzero(site: str, axis: int) -> np.ndarray:
        if (site, axis) not in known:
            value = np.asarray(variables[site].numpy() != 0)
            others = tuple(each for each in range(value.ndim) if each != axis)
            known[site, axis] = value.any(axis=others)
        return known[site, axis]

    found = np.zeros(survey.tracer.book.count, bool)
    for group, channels in survey.groups:
        if group.prunable and group.producers:
            made = [nonzero(one.site, one.axis)[one.indices].any(axis=1) for one in group.producers]
            found[channels] = ~np.any(made, axis=0)
    return found
