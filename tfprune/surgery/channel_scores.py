# SPDX-License-Identifier: Apache-2.0
"""Scores that the channels of a model are ranked by, one for each channel of each group."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from tfprune.backend import view
from tfprune.masks.allocations import Allocation
from tfprune.masks.schedules import OneShot
from tfprune.masks.sites import Coupled, Site
from tfprune.masks.structures import Filter
from tfprune.methods import Method, get_method
from tfprune.statistics.calibration_data import Feed
from tfprune.training.dense_scores import measured_state, why_without_scores
from tfprune.training.plan import plan
from tfprune.training.run_length import Run


@dataclass(frozen=True)
class Ranking:
    """What a method says about the channels of a model.

    Attributes:
        scores: float64 [channels] of each group that has any, by its name.
        sites: for each of these groups the one that stands for it in an allocation.
        allocation: how many channels each group keeps.
    """

    scores: dict[str, np.ndarray]
    sites: dict[str, Site]
    allocation: Allocation


def rank_channels(model: Any, method: str | Method, feed: Feed | None = None) -> Ranking:
    """Score the channels of each group. Channels that hold only zeros are below all others.

    Args:
        model: a functional or Sequential model without wrappers.
        method: its score is asked of coupled filters: one number for all that make a channel.
        feed: the data, for scores that look at data.

    Raises:
        ValueError: the score is not known for filters, or needs what only training gives; data is
            needed and there is none; the model has no graph.
    """
    method, channels = get_method(method), Filter(coupled=True)
    reason = why_without_scores(method, channels)
    if reason is not None:
        raise ValueError(
            f"{method.name!r} {reason} and has no score for channels: take another "
            "one, such as 'magnitude', 'taylor' or 'fisher'."
        )
    method = get_method(method, structure=channels, schedule=OneShot(0.5))
    seen = view(model)
    made = plan(seen, seen.sites, method, Run())
    if not made.settles:
        reasons = "".join(f"\n  {skip.name}: {skip.reason}" for skip in made.skipped)
        raise ValueError(
            f"No channel of the model {model.name!r} can be removed:"
            f"{reasons or ' it has no kernel'}"
        )
    (settle,) = made.settles
    rule, now = settle.method.rule, measured_state(seen, settle, feed)
    scores = rule.below(rule.scores(now.weights, now.sites, now.known), now.weights, now.sites)
    coupled = Coupled.of(now.sites, [score.shape[0] for score in scores])
    return Ranking(
        {
            unit.site.name: np.asarray(score, np.float64)
            for unit, score in zip(coupled.units, coupled.pool(scores), strict=True)
        },
        {unit.site.name: unit.site for unit in coupled.units},
        rule.allocation,
    )
