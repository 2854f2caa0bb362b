# SPDX-License-Identifier: Apache-2.0
"""A family of smaller models from one pruning run."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from numbers import Real
from typing import Any, Sequence

import numpy as np

from tfprune.backend import view
from tfprune.channels.cost_model import Prices
from tfprune.channels.model_channels import Survey
from tfprune.output.argument_checks import check_kind
from tfprune.output.report_forms import markdown, plain_text, rich_parts
from tfprune.surgery.budget import Budget
from tfprune.surgery.channel_scores import rank_channels
from tfprune.surgery.history import PruningRecord
from tfprune.surgery.masked_channels import without
from tfprune.surgery.shrink import shrunk, stripped

HALVINGS = 40  # of the interval of scales: more than any channel count can tell apart


@dataclass(frozen=True, eq=False)
class Relative:
    """One model of a family.

    Attributes:
        model: with the weights of the channels that are left.
        scale: s: each group has max(1, round(s p)) channels, p after the pruning run, as far as
            the whole model has them.
        channels: {name of a group: number of channels}.
        costs: in the units of its budget; empty where a scale was asked for.
    """

    model: Any
    scale: float
    channels: dict[str, int]
    costs: dict[str, float]

    def to_dict(self) -> dict[str, Any]:
        """Everything but the model as JSON types, with its number of parameters."""
        return {
            "scale": float(self.scale),
            "parameters": int(self.model.count_params()),
            "channels": dict(self.channels),
            "costs": dict(self.costs),
        }

    def parts(self) -> Iterable[str]:
        """What is printed: one line."""
        costs = "".join(f", {name} {value:,}" for name, value in self.costs.items())
        yield f"scale {self.scale:.3f}: {self.model.count_params():,} parameters{costs}"

    __str__, __rich_console__, to_markdown = plain_text, rich_parts, markdown

    def __repr__(self) -> str:
        return f"<{plain_text(self)}>"


def scaled_models(
    model: Any, record: PruningRecord, sizes: Sequence[float | Budget]
) -> list[Relative]:
    """Scale the architecture that one pruning run has found: several models, no other run.

        n = max(1, round(s p)) channels for a group that the run has left with p

    Train them from scratch (`tfprune.reinitialize`) or fine-tune them.

    Args:
        model: the whole model of the run, or one of its architecture. It is not changed.
        record: of the run, `report.record` of `tfprune.shrink_to`.
        sizes: for each model its scale s, above 0, or a `Budget`: then s is the largest that fits.

    Returns:
        One `Relative` for each size, in order. A channel that went late comes back early; of those
        that stayed, the small ones go first.

    Raises:
        ValueError: the record is of another architecture; a scale that is not above 0; a budget
            with a latency, or below the smallest model.
        TypeError: no model, no record, or no list of sizes.

    Paper: E. J. Crowley, J. Turner, A. Storkey, M. O'Boyle, "A Closer Look at Structured Pruning
    for Neural Network Compression", 2018, arXiv 1810.04622.

    Example:
        >>> import keras, tfprune
        >>> model = keras.Sequential([
        ...     keras.Input((4,)), keras.layers.Dense(8, name="a"), keras.layers.Dense(2)])
        >>> small, report = tfprune.shrink_to(model, tfprune.Budget(parameters=30))
        >>> [one.channels["a"] for one in scaled_models(model, report.record, [0.5, 1.0, 2.0])]
        [2, 4, 8]
    """
    model = stripped(view(model))
    check_kind("record", record, PruningRecord, "a tfprune.PruningRecord, such as report.record")
    check_kind("sizes", sizes, (list, tuple, np.ndarray), "a list of scales and budgets")
    survey = Survey.of(model)
    record.check(survey)
    prices = Prices(survey)
    removed = record.removed()
    profile = np.array([np.count_nonzero(~removed[one.name]) for one in prices.groups])
    order = _order(record, rank_channels(model, "magnitude").scores)
    members = []
    for size in sizes:
        scale = _scale(size, profile, prices)
        counts = _counts(scale, profile, prices.full)
        gone = {}
        for group, count in zip(prices.groups, counts, strict=True):
            gone[group.name] = np.zeros(group.size, bool)
            gone[group.name][order[group.name][: group.size - count]] = True
        with without(survey, gone):
            small, _ = shrunk(survey, model)
        costs = size.costs(prices, counts) if isinstance(size, Budget) else {}
        channels = {
            group.name: int(count) for group, count in zip(prices.groups, counts, strict=True)
        }
        members.append(Relative(small, scale, channels, costs))
    return members


def _order(record: PruningRecord, scores: dict[str, np.ndarray]) -> dict[str, list[int]]:
    """The channels of each group, those first that went first; then by score."""
    order = {}
    for name, size in record.sizes.items():
        gone = [one for step in record.steps for one in step.get(name, ())]
        left = np.setdiff1d(np.arange(size), gone)
        score = scores.get(name, np.zeros(size))
        order[name] = [*gone, *left[np.argsort(score[left], kind="stable")].tolist()]
    return order


def _counts(scale: float, profile: np.ndarray, full: np.ndarray) -> np.ndarray:
    return np.clip(np.round(scale * profile).astype(np.int64), 1, full)


def _scale(size: float | Budget, profile: np.ndarray, prices: Prices) -> float:
    """The scale that is asked for, or the largest that is within a budget."""
    if not isinstance(size, Budget):
        if not isinstance(size, Real) or isinstance(size, bool) or not 0 < size < np.inf:
            raise ValueError(
                f"{size!r} is no size of a model: expected a scale above 0 or a tfprune.Budget."
            )
        return float(size)
    if size.latency is not None:
        raise ValueError(
            "A family is scaled by what can be counted: leave latency out of its "
            "budgets, or give scales and measure the models."
        )
    limits = size.limits(size.costs(prices, prices.full))

    def costs(scale: float) -> dict[str, float]:
        return size.costs(prices, _counts(scale, profile, prices.full))

    def fits(scale: float) -> bool:
        return all(costs(scale)[name] <= limit for name, limit in limits.items())

    low, high = 0.0, float((prices.full / np.maximum(profile, 1)).max())
    if not fits(low):
        least = ", ".join(f"{name}={value:,}" for name, value in costs(low).items())
        raise ValueError(f"{size} is below the smallest model of the family, which has {least}.")
    if fits(high):
        return high
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        low, high = (middle, high) if fits(middle) else (low, middle)
    return low
