# SPDX-License-Identifier: Apache-2.0
"""What a method says of a model as it is, outside of any run."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from tfprune.backend.model_view import ModelView
from tfprune.masks.array_namespace import array
from tfprune.masks.structures import Structure
from tfprune.methods import Method, statistics_table
from tfprune.methods.update import State
from tfprune.statistics.calibration_data import Feed
from tfprune.statistics.measure import measuring
from tfprune.statistics.measured_model import Subject
from tfprune.training.mask_updater import Settle


def why_without_scores(method: Method, structure: Structure) -> str | None:
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


def measured_state(view: ModelView, settle: Settle, feed: Feed | None) -> State:
    """The sites with what their scores need, measured once on the model as it is.

    Args:
        view: of the model, in which nothing has changed afterwards.
        settle: of its sites and the method.
        feed: the data; None: none.

    Raises:
        ValueError: data is needed and there is none, or it does not fit the model.
    """
    rule, held = settle.method.rule, {item.site.name: item for item in view.sites}
    sites = [target.site for target in settle.targets]
    subject = Subject(view, tuple(replace(held[site.name], site=site) for site in sites))
    with measuring(
        rule.score.needs, subject, feed, rule.structure, settings=rule.score.settings
    ) as taken:
        found = [{name: array(one) for name, one in site.items()} for site in taken()]
    variables = [target.variables for target in settle.targets]
    now = settle.state(variables, np.float64(0.0), np.int64(0), read=array)
    now = replace(now, subject=subject)
    return now.after(found) if found else now
