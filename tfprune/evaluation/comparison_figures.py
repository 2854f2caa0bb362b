# SPDX-License-Identifier: Apache-2.0
"""What is drawn of a comparison."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from tfprune.evaluation import figures
from tfprune.evaluation.conditions import NOMINAL
from tfprune.evaluation.nested import leaves

if TYPE_CHECKING:
    from tfprune.evaluation.comparison import Comparison
    from tfprune.evaluation.network_result import NetworkResult

DETAILED = 6  # networks whose classes, images and calibration are drawn
_EXEMPLARS = 12  # of each network
_CLASSES = 40  # most whose confusion is drawn


def drawn(comparison: Comparison) -> Iterator[tuple[str, Any, str]]:
    """(section, matplotlib figure, caption) of everything that a look tells better."""
    yield from shifts(comparison)
    yield from noise(comparison)
    for one in comparison.compared[:DETAILED]:
        yield from classes(comparison, one)
    yield from calibration(comparison)
    if comparison.features is not None:
        found = comparison.features
        yield (
            "Informative features",
            figures.matrix(found.rows, found.columns, found.confidences),
            "Confidence of each network (column) on the pixels that another one (row) found "
            "informative.",
        )


def shifts(comparison: Comparison) -> Iterator[tuple[str, Any, str]]:
    """Corruptions by networks."""
    reference = comparison.reference
    if not reference.kinds or not comparison.compared:
        return
    names = [shift.condition for shift in comparison.compared[0].kinds]
    found = [{shift.condition: shift.against for shift in one.kinds} for one in comparison.compared]
    yield (
        "Shifted data",
        figures.heat_map(
            names,
            [one.name for one in comparison.compared],
            [[one[name] for one in found] for name in names],
            label=f"{comparison.unit} more than {reference.name}",
        ),
        f"What each shift costs beyond what it costs {reference.name}, the mean over severities.",
    )


def noise(comparison: Comparison) -> Iterator[tuple[str, Any, str]]:
    """Distance over the size of the noise, with the yardstick."""
    found = {one.name: one.noise for one in comparison.compared if len(one.noise) > 1}
    if not found:
        return
    if len(comparison.yardstick) > 1:
        found[f"{comparison.reference.name}, apart from each other"] = comparison.yardstick
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
        f"How far outputs are from those of {comparison.reference.name} under uniform noise.",
    )


def classes(comparison: Comparison, one: NetworkResult) -> Iterator[tuple[str, Any, str]]:
    """Confusion, and images that are seen differently."""
    if one.confusion is None:
        return
    reference, count = comparison.reference.name, len(one.confusion.network)
    title = f"Classes: {one.name}"
    if count <= _CLASSES:
        yield (
            title,
            figures.confusion_change(
                [comparison.class_name(n) for n in range(count)],
                one.confusion.reference,
                one.confusion.network,
            ),
            f"How the predictions of each true class (row) moved from {reference} to {one.name}.",
        )
    pictures = _pictures(comparison, one)
    if pictures is not None:
        yield (
            title,
            figures.exemplars(*pictures),
            f"Images on which {reference} and {one.name} differ, those of which most networks "
            f"disagree first: what {reference} sees, then what {one.name} sees.",
        )


def calibration(comparison: Comparison) -> Iterator[tuple[str, Any, str]]:
    """Reliability diagrams."""
    found = {
        one.name: (one.calibration.confidences, one.calibration.accuracies, one.calibration.counts)
        for one in comparison.networks[: DETAILED + 1]
        if one.calibration is not None
    }
    if found:
        yield (
            "Calibration",
            figures.reliability(found),
            "Accuracy of predictions by their confidence: on the diagonal a network is right "
            "as often as it is confident.",
        )


def _pictures(comparison: Comparison, one: NetworkResult) -> tuple[Any, list[tuple]] | None:
    """Images in 0..1, and (dense, pruned, true) names of each."""
    if comparison.predictions is None or not len(one.exemplars.indices):
        return None
    examples = comparison.predictions.examples
    if not examples.is_images:
        return None
    images = dict(leaves(examples.inputs))[examples.image]
    shown = one.exemplars.indices[:_EXEMPLARS]
    labels = comparison.predictions.labels(NOMINAL)
    named = comparison.class_name
    return np.clip(np.asarray(images[shown], np.float32) / examples.scale, 0, 1), [
        (named(int(dense)), named(int(pruned)), named(int(labels[index])))
        for index, dense, pruned in zip(shown, one.exemplars.dense, one.exemplars.pruned)
    ]
