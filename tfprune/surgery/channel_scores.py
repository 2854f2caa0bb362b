# SPDX-License-Identifier: Apache-2.0
"""Scores that the channels of a model are ranked by, one for each channel of each group."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import tensorflow as tf

from tfprune.backend import view
from tfprune.masks.allocations import Allocation
from tfprune.masks.schedules import OneShot
from tfprune.masks.sites import Coupled, Site
from tfprune.masks.structures import Filter, Structure
from tfprune.methods import Method, get_method, statistics_table
from tfprune.statistics.calibration_data import Feed
from tfprune.statistics.measure import measuring
from tfprune.statistics.measured_model import Subject
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
    reason = _without_scores(method, channels)
    if reason is not None:
        raise ValueError(
            f"{method.name!r} {reason} and has no score for channels: take another "
            "one, such as 'magnitude', 'taylor' or 'fisher'."
        )
    method = get_method(method, structure=channels, schedule=OneShot(0.5))
    seen = view(model)
    found = seen.sites
    made = plan(seen, found, method, Run())
    if not made.settles:
        reasons = "".join(f"\n  {skip.name}: {skip.reason}" for skip in made.skipped)
        raise ValueError(
            f"No channel of the model {model.name!r} can be removed:"
            f"{reasons or ' it has no kernel'}"
        )
    (settle,) = made.settles
    rule, held = settle.method.rule, {item.site.name: item for item in found}
    sites = [target.site for target in settle.targets]
    items = tuple(replace(held[site.name], site=site) for site in sites)
    weights = [tf.convert_to_tensor(target.kernel) for target in settle.targets]
    with measuring(
        rule.score.needs, Subject(seen, items), feed, rule.structure, settings=rule.score.settings
    ) as taken:
        scores = rule.below(rule.scores(weights, sites, taken()), weights, sites)
        coupled = Coupled.of(sites, [score.shape[0] for score in scores])
        return Ranking(
            {
                unit.site.name: np.asarray(score, np.float64)
                for unit, score in zip(coupled.units, coupled.pool(scores), strict=True)
            },
            {unit.site.name: unit.site for unit in coupled.units},
            rule.allocation,
        )


def _without_scores(method: Method, structure: Structure) -> str | None:
    """Why a method cannot rank the groups of a structure before any training; None: it can."""
    rule = method.rule
    if rule.without_scores is not None:
        return rule.without_scores
    kept = [
        name
        for name in rule.score.needs
        if name not in statistics_table.RESTING and not statistics_table.measured([name])
    ]
    if kept:
        return f"ranks by what only training gives ({', '.join(kept)})"
    if rule.refusal(structure) is not None:
        return "chooses what stays while a model is trained"
    return None
