# SPDX-License-Identifier: Apache-2.0
"""Predictions judged: losses, what shifts add to them, and distances between networks."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from tfprune.evaluation.conditions import NOMINAL, Condition, conditions_of, sets_of
from tfprune.evaluation.examples import Examples
from tfprune.evaluation.functional_distance import agreement, distance
from tfprune.evaluation.measures import are_probabilities, probabilities
from tfprune.evaluation.network_result import NoiseDistance
from tfprune.evaluation.predictions import Predictions, predict
from tfprune.evaluation.settings import Evaluation
from tfprune.evaluation.shift_losses import Losses, ShiftLoss, shift_losses, with_kinds
from tfprune.evaluation.tasks import Task
from tfprune.output.argument_checks import check_kind

Names = tuple[str, ...]


@dataclass(frozen=True)
class Judge:
    """Looks at the predictions of networks, or of several that are averaged.

    Attributes:
        predictions: of all networks.
        task: what they are judged by.
    """

    predictions: Predictions
    task: Task
    _losses: dict[Names, Losses] = field(default_factory=dict, repr=False)
    _logits: dict[str, bool] = field(default_factory=dict, repr=False)

    @classmethod
    def of(
        cls,
        networks: Mapping[str, Any],
        data: Any,
        *,
        corruptions: Any,
        noise: Any,
        folder: str | os.PathLike | None,
        settings: Evaluation,
    ) -> Judge:
        """Predict with networks, and judge by what the labels and the outputs of the first are.

        Args: as `tfprune.compare` takes them, but {name: one network}.
        """
        check_kind("settings", settings, Evaluation, "a tfprune.Evaluation(...)")
        examples = Examples.of(data, scale=settings.scale)
        predictions = predict(
            networks,
            examples,
            conditions_of(corruptions, noise, settings.severities),
            folder=folder,
            settings=settings,
            sets=sets_of(corruptions, scale=settings.scale),
        )
        return cls(
            predictions,
            Task.of(
                predictions.labels(), predictions.outputs(predictions.names[0]), settings.metric
            ),
        )

    def losses_of(self, names: Names) -> Losses:
        """The loss of each example, the mean over networks; {} where nothing tells it."""
        if names not in self._losses:
            found = (
                {}
                if self.task.loss is None
                else {
                    condition: np.mean(
                        [
                            self.task.loss(
                                self.predictions.labels(condition), self._judged(name, condition)
                            )
                            for name in names
                        ],
                        axis=0,
                    )
                    for condition in self.predictions.conditions
                    if self.predictions.labels(condition) is not None
                }
            )
            self._losses[names] = found
        return self._losses[names]

    def probabilities(self, name: str, condition: Condition = NOMINAL) -> np.ndarray:
        """Of the classes, float64 [examples, classes]; that outputs are logits is told from the
        nominal ones."""
        if name not in self._logits:
            self._logits[name] = not are_probabilities(self.predictions.outputs(name)[0])
        return probabilities(
            self.predictions.outputs(name, condition)[0], logits=self._logits[name]
        )

    def _judged(self, name: str, condition: Condition) -> tuple[np.ndarray, ...]:
        if self.task.of_probabilities:
            return (self.probabilities(name, condition),)
        return self.predictions.outputs(name, condition)

    @property
    def notes(self) -> tuple[str, ...]:
        """What losses are, and which networks give what is no number."""
        found = [self.task.note]
        for name in self.predictions.names:
            outputs = self.predictions.outputs(name)
            bad = sum(~np.isfinite(one.reshape(len(one), -1)).all(axis=1) for one in outputs)
            count = np.count_nonzero(bad)
            if count:
                found.append(
                    f"{name}: outputs are NaN or infinite for {count:,} of "
                    f"{len(outputs[0]):,} examples"
                )
        return tuple(found)

    @property
    def skipped(self) -> tuple[str, ...]:
        """What was left out, and why."""
        unlabeled = [
            one.name
            for one in self.predictions.conditions
            if self.task.loss is not None and self.predictions.labels(one) is None
        ]
        return (
            *(f"{what}: {reason}" for what, reason in self.predictions.skipped),
            *(f"{name}: it has no labels, so no loss" for name in unlabeled),
        )

    def shifts(self, names: Names, reference: Names) -> dict[Condition, ShiftLoss]:
        """What every shift adds to the loss, beside what it adds to the reference's; of each
        corruption also the mean over its severities."""
        mine, theirs = (self.losses_of(one) for one in (names, reference))
        return shift_losses(with_kinds(mine), with_kinds(theirs)) if mine else {}

    def apart(self, pairs: Sequence[tuple[str, str]]) -> tuple[NoiseDistance, ...]:
        """How far networks are from each other without noise and under each size of it, the mean
        over the pairs; () without pairs."""
        sizes = [
            condition
            for condition in self.predictions.conditions
            if condition == NOMINAL or condition.kind == "noise"
        ]
        return tuple(self.distance(pairs, condition) for condition in sizes if pairs)

    def distance(self, pairs: Sequence[tuple[str, str]], condition: Condition) -> NoiseDistance:
        """How far networks are from each other, the mean over the pairs."""
        agreements, distances = [], []
        for pair in pairs:
            mine, theirs = (
                self.probabilities(name, condition)
                if self.task.classes
                else self.predictions.numbers(name, condition)
                for name in pair
            )
            distances.append(distance(mine, theirs))
            if self.task.classes:
                agreements.append(agreement(mine, theirs))
        return NoiseDistance(
            condition.level,
            float(np.mean(agreements)) if agreements else None,
            float(np.mean(distances)),
        )
