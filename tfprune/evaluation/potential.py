# SPDX-License-Identifier: Apache-2.0
"""`potential`: prune potentials of the networks of a curve, on clean and on shifted data."""

from __future__ import annotations

import os
from collections.abc import Iterator
from itertools import combinations
from typing import Any

import numpy as np

from tfprune.evaluation.conditions import NOMINAL
from tfprune.evaluation.curve import Curve, Run
from tfprune.evaluation.excess_error import fit
from tfprune.evaluation.job import DENSE
from tfprune.evaluation.judging import Judge
from tfprune.evaluation.potential_report import PotentialReport
from tfprune.evaluation.potential_rows import FamilyPotential, Growth, PrunedRow
from tfprune.evaluation.prune_potential import prune_potential
from tfprune.evaluation.settings import Evaluation
from tfprune.evaluation.shift_losses import standard_error
from tfprune.output.argument_checks import check_kind

_SETTINGS = Evaluation(severities=(3,))


def potential(
    curve: Curve,
    data: Any,
    *,
    corruptions: Any = "all",
    noise: Any = None,
    folder: str | os.PathLike | None = None,
    settings: Evaluation = _SETTINGS,
) -> PotentialReport:
    """The prune potential of every method under every shift, and whether loss grows with the ratio.

        P(D, delta) = max { r : loss_r(D) <= loss_0(D) + delta }
        excess_r = loss_r(D') - loss_r(D)      D': shifted, the same examples
        excess_r - excess_0 = intercept + slope * r      ordinary least squares over the ratios

    Each pruned network is held against the dense one of its seed. Ratios are the share of weights
    that is zero, counted.

    Args:
        curve: networks of `tfprune.curve`, or `Curve.load(folder)`.
        data: (x, y) arrays, a `tf.data.Dataset` or another iterable of batches, read once.
        corruptions, noise: the shifts, as in `tfprune.compare`.
        folder: keeps predictions, and gets potential.jsonl and potential.csv with one row for each
            network and condition; None: a temporary one.
        settings: how much data, `delta`, which metric, seed; corruptions of severity 3 by default.

    Returns:
        a `PotentialReport`: print it, `to_dict()`, `page("report.html")`.

    Raises:
        ValueError: data without labels, a curve without pruned or dense networks.

    Paper: L. Liebenwein, C. Baykal, B. Carter, D. Gifford, D. Rus, "Lost in Pruning: The Effects
    of Pruning Neural Networks beyond Test Accuracy", MLSys 2021, arXiv 2103.03014.

    Example:
        >>> import keras, numpy as np, pathlib, tempfile
        >>> x, folder = np.eye(4, dtype="float32"), pathlib.Path(tempfile.mkdtemp())
        >>> def run(method, sparsity, weights):
        ...     model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(4, use_bias=False)])
        ...     model.set_weights([weights])
        ...     model.save(folder / f"{method}{sparsity}.keras")
        ...     return Run(method, sparsity, 0, folder / f"{method}{sparsity}.keras",
        ...                kept=round(20 - 20 * sparsity), size=20)
        >>> found = Curve((run("dense", 0.0, x), run("mine", 0.5, x), run("mine", 0.6, 1 - x)))
        >>> potential(found, (x, np.arange(4)), corruptions=None).potentials
        (FamilyPotential(method='mine', seed=0, condition='nominal', first=0.5, largest=0.5),)
    """
    check_kind("curve", curve, Curve, "what tfprune.curve returns, or Curve.load(folder)")
    families = {
        (method, seed): runs
        for method, seeds in curve.families().items()
        for seed, runs in seeds.items()
    }
    if not families:
        raise ValueError("the curve has no pruned network: see its `failed` runs.")
    dense = {run.seed: run for run in curve.runs if run.method == DENSE and run.path is not None}
    lacking = sorted({seed for _, seed in families} - set(dense))
    families = {key: runs for key, runs in families.items() if key[1] in dense}
    if not families:
        raise ValueError("the curve has no dense network of any seed: see its `failed` runs.")
    networks = {run.name: run.path for run in (*dense.values(), *_runs(families))}
    judge = Judge.of(
        networks, data, corruptions=corruptions, noise=noise, folder=folder, settings=settings
    )
    predictions, examples = judge.predictions, judge.predictions.examples
    if not judge.losses_of((dense[min(dense)].name,)):
        raise ValueError(
            f"potential: {judge.task.note}; expected labels, or a metric that takes them."
        )
    rows = tuple(_rows(families, dense, judge))
    losses = {
        seed: {
            condition.name: float(values.mean())
            for condition, values in judge.losses_of((run.name,)).items()
        }
        for seed, run in dense.items()
    }
    report = PotentialReport(
        rows,
        tuple(_potentials(rows, losses, settings)),
        tuple(_growths(rows, settings)),
        losses,
        yardstick=judge.apart(tuple(combinations([run.name for run in dense.values()], 2))),
        unit=judge.task.unit,
        delta=float(settings.delta),
        examples=len(examples),
        shifted=len(examples.first(settings.examples)),
        notes=(*judge.notes, *_chance(families, dense, judge), *predictions.notes, *curve.notes),
        skipped=(
            *judge.skipped,
            *(f"{one.name}: its training failed" for one in curve.failed),
            *(f"networks of seed {seed}: its dense network failed" for seed in lacking),
        ),
    )
    if folder is not None:
        report.save(folder)
    return report


def _chance(families: dict, dense: dict[int, Run], judge: Judge) -> Iterator[str]:
    """How far losses of networks that are equally good are apart, on that many examples."""
    shifts = [condition for condition in judge.predictions.conditions if condition != NOMINAL]
    for title, conditions in (("nominal", [NOMINAL]), ("shifted", shifts)):
        found = [
            standard_error(
                judge.losses_of((run.name,))[condition]
                - judge.losses_of((dense[seed].name,))[condition]
            )
            for (_, seed), runs in families.items()
            for run in runs
            for condition in conditions
        ]
        if found:
            yield (
                f"the standard error of a pruned network's {title} loss beside the dense one's "
                f"is {np.median(found):.2g} {judge.task.unit} (median)"
            )


def _runs(families: dict) -> Iterator[Run]:
    for runs in families.values():
        yield from runs


def _rows(families: dict, dense: dict[int, Run], judge: Judge) -> Iterator[PrunedRow]:
    for (method, seed), runs in families.items():
        reference = dense[seed].name
        for run in runs:
            shifts = judge.shifts((run.name,), (reference,))
            for condition, values in judge.losses_of((run.name,)).items():
                shift = shifts.get(condition)
                apart = None
                if condition == NOMINAL or condition.kind == "noise":
                    apart = judge.distance(((run.name, reference),), condition)
                yield PrunedRow(
                    method,
                    seed,
                    run.sparsity,
                    run.reached,
                    condition.name,
                    float(values.mean()),
                    None if shift is None else shift.excess,
                    None if shift is None else shift.against,
                    None if apart is None else apart.agreement,
                    None if apart is None else apart.distance,
                )


def _potentials(
    rows: tuple[PrunedRow, ...], dense: dict[int, dict[str, float]], settings: Evaluation
) -> Iterator[FamilyPotential]:
    for (method, seed, condition), family in _grouped(rows, "method", "seed", "condition"):
        by_ratio: dict[float, float] = {}
        for row in family:  # of networks that ended with equally many zeros the worse one
            by_ratio[row.ratio] = max(row.loss, by_ratio.get(row.ratio, row.loss))
        found = prune_potential(
            [*by_ratio], [*by_ratio.values()], dense[seed][condition], settings.delta
        )
        yield FamilyPotential(method, seed, condition, found.first, found.largest)


def _growths(rows: tuple[PrunedRow, ...], settings: Evaluation) -> Iterator[Growth]:
    """A line for each method and shift, through the networks of all seeds."""
    shifted = tuple(row for row in rows if row.against is not None)
    for (method, condition), found in _grouped(shifted, "method", "condition"):
        line = fit(
            [row.ratio for row in found],
            [row.against for row in found if row.against is not None],
            seed=settings.seed,
            resamples=settings.resamples,
        )
        yield Growth(method, condition, line.slope, line.low, line.high)


def _grouped(rows: tuple[PrunedRow, ...], *names: str) -> Iterator[tuple[tuple, list[PrunedRow]]]:
    found: dict[tuple, list[PrunedRow]] = {}
    for row in rows:
        found.setdefault(tuple(getattr(row, name) for name in names), []).append(row)
    yield from found.items()
