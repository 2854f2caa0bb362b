# SPDX-License-Identifier: Apache-2.0
"""`compare`: predictions of several networks, kept once, and the figures that follow from them."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Mapping
from itertools import combinations
from typing import Any

import numpy as np

from tfprune.evaluation.calibration import calibrate
from tfprune.evaluation.comparison import Comparison
from tfprune.evaluation.conditions import NOMINAL
from tfprune.evaluation.costs import costs
from tfprune.evaluation.exemplars import class_changes, exemplars
from tfprune.evaluation.features import feature_matrix
from tfprune.evaluation.judging import Judge, Names
from tfprune.evaluation.measures import classes_of, confusion, recalls
from tfprune.evaluation.network_result import Confusion, NetworkResult
from tfprune.evaluation.settings import Evaluation
from tfprune.evaluation.shift_losses import of_kinds, standard_error


def compare(
    models: Mapping[str, Any],
    data: Any,
    *,
    corruptions: Any = None,
    noise: Any = None,
    folder: str | os.PathLike | None = None,
    settings: Evaluation = Evaluation(),
) -> Comparison:
    """What each network has lost against the first one, on clean and on shifted data.

    Networks are models of Keras 3 or tf_keras, paths of saved ones, .tflite files, or functions
    from a batch to its outputs. Their predictions are kept, so that a call that was killed goes on
    where it was, and a second one reads what is there.

    Args:
        models: {name: network}, the reference first; or {name: [networks]}, several of one kind
            (trained with other seeds), whose figures are averaged and whose classes are tested.
        data: (x, y) arrays, a `tf.data.Dataset` or another iterable of batches, read once. Without
            labels, networks are only compared with each other.
        corruptions: "all", a name, several names (see `tfprune.corrupt`) of what is done to images
            of 1 or 3 channels; or {name: (x, y)}, shifted data of your own, for example
            {"fog, CIFAR-10-C": tfprune.data.corrupted("fog", 3)}, where tensorflow-datasets has it.
        noise: sizes eps of uniform noise in [-eps, eps], in standard deviations of each channel.
        folder: keeps predictions and corrupted images; None: a temporary one.
        settings: how much data, which metric, seed, runtime.

    Returns:
        a `Comparison`: print it, `to_dict()` has every number, `page("report.html")` draws it.

    Raises:
        TypeError, ValueError: networks of different outputs; data that do not fit; unknown names.

    Papers: L. Liebenwein et al., "Lost in Pruning", 2021, arXiv 2103.03014; D. Hendrycks,
    T. Dietterich, "Benchmarking Neural Network Robustness to Common Corruptions and
    Perturbations", 2019, arXiv 1903.12261; S. Hooker et al., "What Do Compressed Deep Neural
    Networks Forget?", 2019, arXiv 1911.05248.

    Example:
        >>> x, y = np.random.default_rng(0).normal(size=(90, 4)), np.arange(90) % 3
        >>> def dense(batch): return batch[:, :3] + 4 * np.eye(3)[np.argmax(batch[:, :3], 1)]
        >>> def pruned(batch): return dense(batch) * [1, 1, 0]
        >>> found = compare({"dense": dense, "pruned": pruned}, (x, y), noise=(0.1,))
        >>> [one.name for one in found.networks]
        ['dense', 'pruned']
    """
    groups = _grouped(models)
    networks = {name: network for group in groups.values() for name, network in group.items()}
    judge = Judge.of(
        networks, data, corruptions=corruptions, noise=noise, folder=folder, settings=settings
    )
    predictions, count = judge.predictions, judge.task.classes
    names = {name: tuple(group) for name, group in groups.items()}
    firsts = {name: next(iter(group.values())) for name, group in groups.items()}
    reference = next(iter(names.values()))
    if count and settings.class_names is not None and len(settings.class_names) != count:
        raise ValueError(
            f"class_names: got {len(settings.class_names)} names for {count} classes; "
            "expected one for each."
        )
    features, reason = None, ""
    if settings.features and count:
        features, reason = feature_matrix(firsts, predictions, settings)
    elif settings.features:
        reason = "outputs are no classes"
    return Comparison(
        tuple(
            NetworkResult(
                name,
                len(copies),
                costs(firsts[name], latency=settings.latency),
                **_losses(judge, copies, reference),
                noise=() if copies == reference else judge.apart(_pairs(copies, reference)),
                **(_classes(judge, copies, reference, settings.bins) if count else {}),
            )
            for name, copies in names.items()
        ),
        unit=judge.task.unit,
        examples=len(predictions.examples),
        shifted=len(predictions.examples.first(settings.examples)),
        yardstick=judge.apart(tuple(combinations(reference, 2))),
        class_names=settings.class_names or (),
        features=features,
        notes=(*judge.notes, *predictions.notes),
        skipped=(*judge.skipped, *([f"informative features: {reason}"] if reason else ())),
        predictions=predictions,
    )


def _pairs(copies: Names, reference: Names) -> tuple[tuple[str, str], ...]:
    """Copies are paired by place where there are as many of the reference."""
    if len(copies) == len(reference):
        return tuple(zip(copies, reference, strict=True))
    return tuple((one, other) for one in copies for other in reference)


def _losses(judge: Judge, copies: Names, reference: Names) -> dict[str, Any]:
    values = judge.losses_of(copies)
    if not values:
        return {}
    apart = values[NOMINAL] - judge.losses_of(reference)[NOMINAL]
    shifts = judge.shifts(copies, reference)
    return {
        "loss": float(values[NOMINAL].mean()),
        "lost": float(apart.mean()),
        "deviation": standard_error(apart),
        "kinds": tuple(
            sorted((shifts[kind] for kind in of_kinds(shifts)), key=lambda one: -one.against)
        ),
        "shifts": tuple(shifts[one] for one in judge.predictions.conditions if one in shifts),
    }


def _classes(judge: Judge, copies: Names, reference: Names, bins: int) -> dict[str, Any]:
    labels, count = judge.predictions.labels(NOMINAL), judge.task.classes
    found: dict[str, Any] = {
        "calibration": calibrate(
            np.tile(labels, len(copies)),
            np.concatenate([judge.probabilities(name) for name in copies]),
            bins,
        )
    }
    if copies == reference:
        return found
    mine, theirs = (
        np.stack([classes_of(judge.probabilities(name)) for name in names])
        for names in (copies, reference)
    )
    return found | {
        "confusion": Confusion(
            confusion(labels, theirs[0], count), confusion(labels, mine[0], count)
        ),
        "classes": class_changes(
            *(np.stack([recalls(labels, row, count) for row in rows]) for rows in (mine, theirs))
        ),
        "exemplars": exemplars(mine, theirs),
    }


def _grouped(models: Any) -> dict[str, dict[str, Any]]:
    """{name: {name of its copy: network}}."""
    if not isinstance(models, Mapping) or not models:
        raise TypeError(
            f"models={models!r}: expected {{name: network}}, the reference first, such "
            'as {"dense": dense, "80 %": pruned}.'
        )
    groups: dict[str, dict[str, Any]] = {}
    for name, given in models.items():
        if str(name) in groups:
            raise ValueError(
                f"models: two networks are called {str(name)!r}; expected names that differ."
            )
        if not isinstance(given, (list, tuple)):
            groups[str(name)] = {str(name): given}
        elif given:
            groups[str(name)] = {f"{name} #{n}": one for n, one in enumerate(given, 1)}
        else:
            raise ValueError(f"models[{name!r}]={given!r}: expected at least one network.")
    names = Counter(name for group in groups.values() for name in group)
    twice = [name for name, count in names.items() if count > 1]
    if twice:
        raise ValueError(
            f"models: {twice[0]!r} is also what the copies of a network are called; "
            "expected another name."
        )
    return groups
