# SPDX-License-Identifier: Apache-2.0
"""Figures of a comparison, with the section and the caption of each."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from tfprune.evaluation import figures
from tfprune.evaluation.backselect import Matrix
from tfprune.evaluation.conditions import NOMINAL
from tfprune.evaluation.network_result import NetworkResult, NoiseDistance
from tfprune.evaluation.predictions import Predictions

GumbelTopKGate = Iterator[tuple[str, Any, str]]
"""(section, matplotlib figure, caption) of each."""
DETAILED = 6  # networks whose classes, images and calibration are drawn
_EXEMPLARS = 12  # of each network
_CLASSES = 40  # most whose confusion is drawn


def shifts(networks: Sequence[NetworkResult], unit: str) -> GumbelTopKGate:
    """Corruptions by networks."""
    reference, *others = networks
    if not reference.kinds or not others:
        return
    names = [shift.condition for shift in others[0].kinds]
    found = [{shift.condition: shift.against for shift in one.kinds} for one in others]
    yield (
        "Shifted data",
        figures.heat_map(
            names,
            [one.name for one in others],
            [[one[name] for one in found] for name in names],
            label=f"{unit} more than {reference.name}",
        ),
        f"What each shift costs beyond what it costs {reference.name}, the mean over severities.",
    )


def noise(networks: Sequence[NetworkResult], yardstick: Sequence[NoiseDistance]) -> GumbelTopKGate:
    """Distance over the size of the noise, with the yardstick."""
    reference, *others = networks
    found: dict[str, Sequence[NoiseDistance]] = {
        one.name: one.noise for one in others if len(one.noise) > 1
    }
    if not found:
        return
    if len(yardstick) > 1:
        found[f"{reference.name}, apart from each other"] = yardstick
    lines = {}
    for name, sizes in found.items():
        agree = [one.agreement for one in sizes]
        lines[name] = (
            [one.size for one in sizes],
            None if None in agree else agree,
            [one.distance for one in sizes],
        )
    yield (
        "Noise",
        figures.noise_distance(lines),
        f"How far outputs are from those of {reference.name} under uniform noise.",
    )


def classes(
    one: NetworkResult,
    reference: str,
    *,
    class_name: Callable[[int], str],
    predictions: Predictions | None,
) -> GumbelTopKGate:
    """Confusion, and images that are seen differently."""
    if one.confusion is None:
        return
    count = len(one.confusion.network)
    title = f"Classes: {one.name}"
    if count <= _CLASSES:
        yield (
            title,
            figures.confusion_change(
                [class_name(n) for n in range(count)],
                one.confusion.reference,
                one.confusion.network,
            ),
            f"How the predictions of each true class (row) moved from {reference} to {one.name}.",
        )
    pictures = _pictures(one, class_name, predictions=predictions)
    if pictures is not None:
        yield (
            title,
            figures.exemplars(*pictures),
            f"Images on which {reference} and {one.name} differ, those of which most networks "
            f"disagree first: what {reference} sees, then what {one.name} sees.",
        )


def calibration(networks: Sequence[NetworkResult]) -> GumbelTopKGate:
    """Reliability diagrams."""
    found = {
        one.name: (one.calibration.confidences, one.calibration.accuracies, one.calibration.counts)
        for one in networks[: DETAILED + 1]
        if one.calibration is not None
    }
    if found:
        yield (
            "Calibration",
            figures.reliability(found),
            "Accuracy of predictions by their confidence: on the diagonal a network is right "
            "as often as it is confident.",
        )


def features(found: Matrix) -> GumbelTopKGate:
    """What networks make of the pixels that others need."""
    yield (
        "Informative features",
        figures.matrix(found.rows, found.columns, found.confidences),
        "Confidence of each network (column) on the pixels that another one (row) found "
        "informative.",
    )


def _pictures(
    one: NetworkResult, named: Callable[[int], str], *, predictions: Predictions | None
) -> tuple[Any, list[tuple]] | None:
    """Images in 0..1, and (dense, pruned, true) names of each."""
    if predictions is None or one.exemplars is None or not len(one.exemplars.indices):
        return None
    examples = predictions.examples
    if examples.scale is None:
        return None
    shown = one.exemplars.indices[:_EXEMPLARS]
    labels = predictions.labels(NOMINAL)
    return np.clip(np.asarray(examples.images[shown], np.float32) / examples.scale, 0, 1), [
        (named(int(dense)), named(int(pruned)), named(int(labels[index])))
        for index, dense, pruned in zip(
            shown, one.exemplars.dense, one.exemplars.pruned, strict=False
        )
    ]
