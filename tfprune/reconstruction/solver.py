# SPDX-License-Identifier: Apache-2.0
"""ADMM, layer by layer: from a model and a sparsity to weights that sit on the structure.

    for each layer, in the order of the forward pass:
        Z <- projection of W ;  U <- 0
        repeat: W <- Adam on the distance to the teacher's output and to Z - U
                Z <- projection of W + U ;  U <- U + W - Z ;  rho <- min(growth rho, most)
        W <- projection of W, and a last period of Adam on what is kept

U counts in units of 1/rho, so it shrinks as rho grows.
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass, field
from typing import Any, Iterator, Sequence

import numpy as np

from tfprune.masks.sites import Site
from tfprune.methods.base import TopKRule
from tfprune.methods.update import State, Update
from tfprune.output.progress import Progress
from tfprune.reconstruction.points import Station, stations, watched
from tfprune.reconstruction.problem import Problem
from tfprune.reconstruction.projection import Projection
from tfprune.reconstruction.settings import ADMM
from tfprune.reconstruction.student import Student
from tfprune.reconstruction.synthetic_data import Source, source
from tfprune.statistics.measured_model import Subject


@dataclass
class Course:
    """How one layer went.

    Attributes:
        residuals: ||W - Z|| / ||W|| after each iteration.
        penalties: rho of each iteration.
        off: how far the layer's output is off the teacher's in the end, relative to it.
        projected: the kernels as they were projected, before what is kept was trained on.
        diverged: the iteration in which the loss was no number any more; None: it never was.
    """

    residuals: list[float] = field(default_factory=list)
    penalties: list[float] = field(default_factory=list)
    off: float = float("nan")
    projected: list[np.ndarray] = field(default_factory=list)
    diverged: int | None = None


def solve(rule: TopKRule, settings: ADMM, now: State) -> Update:
    """Find the weights, and masks by them; the model is not changed.

    Args:
        rule: score, structure, allocation and seed.
        settings: how long and how.
        now: the model, its sites and the sparsity.

    Raises:
        ValueError: it is not known how to make inputs up for the model.
    """
    subject = now.subject
    with _at_rest(subject):
        drawn, found, left = _prepared(subject, settings)
        student = Student(subject)
        weights = [kernel.numpy() for kernel in student.kernels]
        project = Projection(
            rule.score, rule, weights, now.sites, sparsity=float(now.sparsity), final=now.final
        )
        unplaced = [one for one in found if not all(map(student.is_placed, one.sites))]
        left += [index for station in unplaced for index in station.sites]
        found = [station for station in found if station not in unplaced]
        courses: dict[int, tuple[tuple[int, ...], Course]] = {}
        total = len(found) * (settings.iterations + 1)
        with Progress(
            "ADMM", total, label="off the structure: ", shown=settings.progress
        ) as progress:
            for station in found:
                problem = Problem(station, student, drawn, settings, seed=rule.seed)
                course = _solved(problem, project, settings, progress)
                courses.update(dict.fromkeys(station.sites, (station.sites, course)))
        for index in left:
            (mask,) = project.masks([index], [weights[index]])
            student.kernels[index].assign(weights[index] * mask)
    ranked, notes, cautions = _found(now.sites, student, courses, left)
    # Weights that were trained after they had been cut might be so small that another mask would
    # lose nothing by them: masks are chosen from what they were before.
    scores = rule.scores(ranked, now.sites)
    variables = (subject.adapter.raw(item.variable) for item in subject.found)
    return Update(
        rule.choose(scores, now.sites, now.sparsity, final=now.final),
        [{}] * len(now.sites),
        kernels=[
            *((raw, copy.numpy()) for raw, copy in student.biases.values()),
            *zip(variables, (one.numpy() for one in student.kernels), strict=True),
        ],
        notes=notes,
        cautions=cautions,
    )


def _solved(problem: Problem, project: Projection, settings: ADMM, progress: Progress) -> Course:
    """Run ADMM on one layer; its weights are on the structure afterwards."""
    course, sites = Course(), problem.station.sites
    good = _values(problem)
    nearest = _projected(project, sites, good[: len(sites)])
    duals = [np.zeros_like(one) for one in nearest]
    rho = settings.penalty.at(0)
    for iteration in range(settings.iterations):
        for anchor, near, dual in zip(problem.anchors, nearest, duals, strict=True):
            anchor.assign(near - dual)
        finite, course.off = problem.period(rho)
        if not finite:
            course.diverged = iteration + 1
            _restore(problem, good)
            break
        good = _values(problem)
        kernels = good[: len(sites)]
        nearest, duals = projected_and_dual(project, sites, kernels, duals)
        course.penalties.append(rho)
        course.residuals.append(_norm(np.subtract, kernels, nearest))
        progress.advance(f"{course.residuals[-1]:.1e}", name=problem.station.name)
        rho, before = settings.penalty.at(iteration + 1), rho
        duals = [dual * (before / rho) for dual in duals]
    problem.hold(project.masks(sites, good[: len(sites)]))
    course.projected = _values(problem)[: len(sites)]
    _refit(problem, settings, course)
    done = len(course.residuals)
    progress.advance(
        f"{(course.residuals or [0.0])[-1]:.1e}",
        name=problem.station.name,
        parts=settings.iterations + 1 - done,
    )
    return course


def _refit(problem: Problem, settings: ADMM, course: Course) -> None:
    """Train what is kept; the zeros stay."""
    for period in range(settings.refit):
        good = _values(problem)
        finite, off = problem.period(0.0)
        if not finite:
            course.diverged = course.diverged or settings.iterations + period + 1
            _restore(problem, good)
            break
        course.off = off


def projected_and_dual(
    project: Projection,
    sites: Sequence[int],
    kernels: Sequence[np.ndarray],
    duals: Sequence[np.ndarray],
) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Z <- projection of W + U, then U <- U + W - Z with this Z."""
    nearest = _projected(project, sites, [w + u for w, u in zip(kernels, duals, strict=True)])
    return nearest, [u + w - z for u, w, z in zip(duals, kernels, nearest, strict=True)]


def _projected(
    project: Projection, sites: Sequence[int], weights: Sequence[np.ndarray]
) -> list[np.ndarray]:
    return [
        weight * mask for weight, mask in zip(weights, project.masks(sites, weights), strict=True)
    ]


def _norm(difference: Any, kernels: Sequence[np.ndarray], nearest: Sequence[np.ndarray]) -> float:
    """||W - Z|| / ||W|| over the sites of a layer."""
    apart = sum(
        float(np.sum(np.square(difference(*pair), dtype=np.float64)))
        for pair in zip(kernels, nearest, strict=True)
    )
    whole = sum(float(np.sum(np.square(kernel, dtype=np.float64))) for kernel in kernels)
    return float(np.sqrt(apart / whole)) if whole else 0.0


def _values(problem: Problem) -> list[np.ndarray]:
    return [one.numpy() for one in (*problem.kernels, *problem.biases)]


def _restore(problem: Problem, values: Sequence[np.ndarray]) -> None:
    for variable, value in zip((*problem.kernels, *problem.biases), values, strict=True):
        variable.assign(value)


def _prepared(subject: Subject, settings: ADMM) -> tuple[Source, list[Station], list[int]]:
    """Where inputs come from, where outputs are compared, and the sites no input passes."""
    specs = subject.view.input_specs
    drawn = source(specs, settings.inputs, subject.model.name)
    given = drawn.zeros()
    visits = watched(subject, given)
    return (drawn.read(visits, given), *stations(subject, visits))


@contextlib.contextmanager
def _at_rest(subject: Subject) -> Iterator[None]:
    """The model computes in float32; random states and averages are afterwards what they were."""
    adapter = subject.adapter
    states = [adapter.raw(one) for one in subject.model.variables if not one.trainable]
    before = [state.read_value() for state in states]
    try:
        with subject.view.in_single_precision():
            yield
    finally:
        for state, value in zip(states, before, strict=True):
            state.assign(value)


def _found(
    sites: Sequence[Site],
    student: Student,
    courses: dict[int, tuple[tuple[int, ...], Course]],
    left: Sequence[int],
) -> tuple[list[np.ndarray], dict[str, tuple[str, ...]], list[str]]:
    """The kernels as they were projected, notes on sites, and cautions; of each site `courses`
    holds its station's sites and course."""
    notes: dict[str, tuple[str, ...]] = {}
    cautions = []
    ranked = [kernel.numpy() for kernel in student.kernels]
    for index, site in enumerate(sites):
        station, course = courses.get(index, ((), None))
        if course is None:
            continue
        ranked[index] = course.projected[station.index(index)]
        if course.residuals:
            notes[site.name] = (
                f"ADMM on synthetic inputs: {course.residuals[-1]:.1e} off the structure after "
                f"{len(course.residuals)} iterations, then projected; its output is "
                f"{100 * course.off:.2g} % off the dense model's",
            )
        if course.diverged is not None:
            cautions.append(
                f"The ADMM of {site.name} diverged in iteration {course.diverged}: the loss was no "
                "number any more, and the last good weights were projected. Take a lower learning "
                "rate, or inputs of another scale: get_method('admm', solver=ADMM(rate=1e-4))."
            )
    for index in left:
        cautions.append(
            f"{sites[index].name} was projected without ADMM: the model's forward pass "
            "does not call its layer, or the layer does not hold the weight as an attribute."
        )
    return ranked, notes, cautions
