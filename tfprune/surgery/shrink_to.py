# SPDX-License-Identifier: Apache-2.0
"""A smaller model within a budget."""

from __future__ import annotations

from numbers import Integral
from typing import Any, Callable

import numpy as np

from tfprune.backend import view
from tfprune.backend.model_view import ModelView
from tfprune.channels.cost_model import Prices
from tfprune.channels.model_channels import Survey
from tfprune.methods import Method, get_method
from tfprune.output.progress import Progress
from tfprune.reconstruction.layer_walk import batches_of
from tfprune.reconstruction.reconstruct import refit_to
from tfprune.statistics.calibration_data import CalibrationData, Feed
from tfprune.surgery.agreement import check_finite
from tfprune.surgery.budget import Budget
from tfprune.surgery.budget_report import BudgetReport, Cost
from tfprune.surgery.budget_search import Cut, costs_of
from tfprune.surgery.channel_scores import rank_channels
from tfprune.surgery.fine_tuning import check_callable, tuned
from tfprune.surgery.history import PruningRecord
from tfprune.surgery.shrink import stripped
from tfprune.surgery.shrink_report import GroupChange


def shrink_to(
    model: Any,
    budget: Budget,
    score: str | Method = "magnitude",
    *,
    data: Any = None,
    steps: int = 1,
    fine_tune: Callable[[Any], Any] | None = None,
    reconstruct: Any = None,
) -> tuple[Any, BudgetReport]:
    """Take channels out of a model until it is within a budget: a new, ordinary, smaller model.

    Within a group (see `tfprune.channel_groups`) the channels with the lowest scores go; how many
    of each group, the method's allocation says: `Uniform` takes the same share of every group,
    `Global` compares scores across groups, by what a channel costs (`Budget.per_cost`). Each group
    keeps one at least. Then channels come back as long as they fit; if more than a hundredth of
    each limit is still unused, groups trade a few channels for each other, up to a third of what
    each has. So the new model is never above a limit, and close to it.

    Args:
        model: a built functional or Sequential model of Keras 3 or tf_keras. It is not changed.
        budget: what the new model may cost.
        score: a method whose score ranks channels: a name out of `tfprune.list_methods()` or a
            Method, `tfprune.get_method(name, allocation=...)` for another allocation than its own.
        data: for scores that look at data: (x, y), a data set of batches, or a
            `tfprune.CalibrationData`.
        steps: how often channels are scored and removed, in equal factors of what is to go.
        fine_tune: called with the smaller model between two steps, to train it, in place or by
            returning another model of the same architecture.
        reconstruct: inputs, some hundreds, as for `tfprune.reconstruct`: after each removal, and
            before `fine_tune`, the smaller model is refitted on them to what the given one gives.
            True: on those of `data`.

    Returns:
        The new model, compiled if the given one is, and a `BudgetReport`. A model that is within
        its budget is returned as it is, without wrappers.

    Raises:
        ValueError: a budget below the smallest possible model, which is named; a score that knows
            no channels, or misses its data; no channel can be removed; steps below 1; a layer
            that cannot be copied, or shares a variable so that its copy would not; weights that
            are NaN or infinite, at the start or after `fine_tune`; `fine_tune` returns a model of
            another architecture; inputs for `reconstruct` that are missing, NaN, or do not fit.
        TypeError: not a Budget, not a Keras model; `fine_tune` cannot be called; `reconstruct`
            is no data.

    Example:
        >>> import keras, tfprune
        >>> model = keras.Sequential([
        ...     keras.Input((8, 8, 3)), keras.layers.Conv2D(16, 3, activation="relu"),
        ...     keras.layers.GlobalAveragePooling2D(), keras.layers.Dense(2)])
        >>> small, report = tfprune.shrink_to(model, tfprune.Budget(macs=0.5))
        >>> print(report.costs[0])
        macs: 15,584 -> 7,792, limit 7,792, 0.0% of it unused
    """
    if not isinstance(budget, Budget):
        raise TypeError(f"Expected a tfprune.Budget, such as Budget(macs=0.5), got {budget!r}.")
    if not isinstance(steps, Integral) or isinstance(steps, bool) or steps < 1:
        raise ValueError(f"steps={steps!r}: expected an integer of at least 1.")
    check_callable(fine_tune)
    seen, method, data = view(model), get_method(score), CalibrationData.of(data)
    feed = None if data is None else Feed(data)
    given, model = model, stripped(seen)
    prices = Prices(Survey.of(model))
    dense, refitted = view(model), None
    check_finite(model, "shrink a model from before")
    batches = _batches(reconstruct, data, dense)
    whole = reached = costs_of(budget, prices, model)
    limits = budget.limits(whole)
    record = PruningRecord.of(prices.groups)
    notes = dict.fromkeys(
        f"MACs of {name} are not known and not counted"
        for name in prices.uncounted
        if "macs" in limits
    )
    if fine_tune is not None and steps == 1:
        notes["fine_tune was not called: steps=1 has nothing in between"] = None
    with Progress("shrinking", steps) as progress:
        for step in range(1, steps + 1):
            goal = {
                name: _between(whole[name], limit, step / steps) for name, limit in limits.items()
            }
            if any(reached[name] > goal[name] for name in goal):
                if prices.survey.tracer.view.model is not model:
                    prices = Prices(Survey.of(model))
                ranking = rank_channels(model, method, feed)
                cut = Cut(prices, budget, goal, ranking)
                model, reached, report = cut.of(given if step == 1 else model)
                record = record.and_then(
                    {one.name: _worst_first(one, ranking.scores) for one in report.groups}
                )
                notes.update(dict.fromkeys(report.notes))
                if batches is not None:
                    refitted = refit_to((view(model), dense), batches, record=record)
            progress.advance(", ".join(f"{name} {value:,}" for name, value in reached.items()))
            if fine_tune is not None and step < steps:
                model = tuned(fine_tune, model)
    gone = record.removed()
    channels = {name: (size, size - int(gone[name].sum())) for name, size in record.sizes.items()}
    costs = tuple(Cost(name, whole[name], limit, reached[name]) for name, limit in limits.items())
    return model, BudgetReport(costs, channels, record, tuple(notes), refitted)


def _batches(reconstruct: Any, data: CalibrationData | None, model: ModelView) -> list[Any] | None:
    """Of the inputs that smaller models are refitted on; None: they are not."""
    if reconstruct is None or reconstruct is False:
        return None
    if reconstruct is True and data is None:
        raise ValueError(
            "reconstruct=True, but there is no data: pass data=..., or the inputs themselves, "
            "reconstruct=images."
        )
    return batches_of(model, data if reconstruct is True else reconstruct)


def _worst_first(change: GroupChange, scores: dict[str, np.ndarray]) -> list[int]:
    """The channels of a group that went, in the order of their scores."""
    score = scores.get(change.name, np.zeros(change.before))
    return sorted(change.removed, key=score.__getitem__)


def _between(whole: float, limit: float, part: float) -> float:
    """The way from one number to a smaller one in equal factors; whole numbers stay whole."""
    if part == 1 or limit >= whole:
        return limit
    value = whole * (limit / whole) ** part
    return int(value) if isinstance(limit, int) else value
