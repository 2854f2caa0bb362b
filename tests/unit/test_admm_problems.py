# SPDX-License-Identifier: Apache-2.0
"""The layer-wise problem against NumPy: fits, duals, penalties, residuals, divergence."""

import dataclasses
import itertools

import numpy as np
import pytest
import tensorflow as tf
from admm_models import QUICK, method, network
from tiny_models import KERASES, cnn

import tfprune
from tfprune.backend import view
from tfprune.masks.kernel_layout import DENSE
from tfprune.masks.sites import Site
from tfprune.reconstruction import ADMM, ADMMPenalty, SyntheticInputs, solver
from tfprune.reconstruction.points import stations, watched
from tfprune.reconstruction.problem import Problem
from tfprune.reconstruction.projection import Projection
from tfprune.reconstruction.student import Student
from tfprune.reconstruction.synthetic_data import clouds, source
from tfprune.statistics.measured_model import Subject

everywhere = pytest.mark.parametrize("family", KERASES)


def problem(model, index=0, **settings):
    """(problem of a station, subject)."""
    settings = ADMM(**{"inputs": SyntheticInputs("normal"), **settings})
    subject = Subject.of(view(model))
    drawn, found, left = solver._prepared(subject, settings)
    assert not left
    return Problem(found[index], Student(subject), drawn, settings, seed=3), subject


def linear(family):
    """A Dense layer that mixes independent inputs, and one that reads the mixture."""
    layers = KERASES[family].layers
    model = KERASES[family].Sequential(
        [
            KERASES[family].Input((6,)),
            layers.Dense(5, use_bias=False, name="mixing"),
            layers.Dense(3, use_bias=False, name="reading"),
        ]
    )
    generator = np.random.default_rng(2)
    model.set_weights([generator.normal(size=w.shape) for w in model.get_weights()])
    return model


@everywhere
def test_without_a_constraint_the_fit_is_perfect(family):
    one, _ = problem(linear(family), 1, steps=150)
    one.kernels[0].assign(one.kernels[0] * 0.5)
    for _ in range(4):
        finite, off = one.period(0.0)
    assert finite and off < 1e-2


@everywhere
def test_what_is_kept_is_fitted_by_least_squares(family):
    model = linear(family)
    one, subject = problem(model, 1, steps=200)
    mixing, dense = (kernel.numpy().astype("float64") for kernel in subject.kernels)
    mask = np.array([[1, 1, 0], [0, 1, 1], [1, 0, 0], [1, 0, 1], [0, 1, 1]], bool)
    one.hold([mask])
    for _ in range(4):
        one.period(0.0)
    found = one.kernels[0].numpy()
    assert not found[~mask].any()
    covariance = mixing.T @ mixing  # of the mixture, as its inputs are independent
    for column, kept in enumerate(mask.T):
        expected = np.linalg.solve(
            covariance[np.ix_(kept, kept)], covariance[kept] @ dense[:, column]
        )
        np.testing.assert_allclose(found[kept, column], expected, atol=0.08)


def test_the_dual_takes_the_new_projection():
    site = Site("dense/kernel", (3, 2), DENSE, "dense")
    rule = method().rule
    weight = np.array([[3.0, 0.5], [1.0, 2.0], [0.25, 0.0]], np.float32)
    dual = np.array([[0.0, 1.0], [0.5, 0.0], [0.0, 0.0]], np.float32)
    project = Projection(rule.score, rule, [weight], [site], sparsity=0.5, final=0.5)
    (near,), (new,) = solver.projected_and_dual(project, [0], [weight], [dual])
    # W + U = [[3, 1.5], [1.5, 2], [.25, 0]]: of the equal ones the first
    np.testing.assert_array_equal(near, [[3, 1.5], [0, 2], [0, 0]])
    np.testing.assert_array_equal(new, [[0, 0], [1.5, 0], [0.25, 0]])
    (again,), (same,) = solver.projected_and_dual(project, [0], [near], [0 * dual])
    np.testing.assert_array_equal(again, near)  # on the structure already: nothing changes
    assert not same.any()


@pytest.mark.parametrize(
    "structure",
    [tfprune.Element(), tfprune.Filter(), tfprune.Column(), tfprune.Kernel(), tfprune.NofM(1, 2)],
    ids=repr,
)
def test_projections_are_the_nearest(structure):
    """No mask with as many groups loses less."""
    site = Site("dense/kernel", (4, 3), DENSE, "dense")
    weight = np.random.default_rng(0).normal(size=(4, 3)).astype(np.float32)
    rule = method(structure=structure).rule
    project = Projection(rule.score, rule, [weight], [site], sparsity=0.5, final=0.5)
    (mask,) = project.masks([0], [weight])
    if structure.fixed is None:
        groups = structure.groups((4, 3), DENSE)
        kept = round(groups * 0.5)
        choices = (
            np.isin(np.arange(groups), one) for one in itertools.combinations(range(groups), kept)
        )
    else:
        choices = (
            np.array(one).reshape(6, 2)
            for one in itertools.product([[True, False], [False, True]], repeat=6)
        )
    most = max(np.square(weight * structure.expand(one, (4, 3), DENSE)).sum() for one in choices)
    assert np.square(weight * mask).sum() == pytest.approx(most, rel=1e-6)
    (again,) = project.masks([0], [weight * mask])
    np.testing.assert_array_equal(again, mask)


def test_the_penalty_grows_to_its_bound():
    values = [ADMMPenalty(0.5, 1.5, 9.0).at(i) for i in range(20)]
    assert values == sorted(values) and values[0] == 0.5 and values[1] == 0.75
    assert max(values) == values[-1] == 9.0
    assert ADMMPenalty(0.1, 10, 1e9).at(10**6) == 1e9


@everywhere
def test_weights_come_to_sit_on_the_structure(family, monkeypatch):
    settings = ADMM(10, 15, refit=0, inputs=SyntheticInputs("normal", batch=16))
    courses = []
    solved = solver._solved

    def recorded(*arguments):
        courses.append(solved(*arguments))
        return courses[-1]

    monkeypatch.setattr(solver, "_solved", recorded)
    tfprune.sparsify(cnn(family), method(solver=settings), 0.6)
    assert len(courses) == 3
    for course in courses:
        assert course.penalties == [settings.penalty.at(i) for i in range(10)]
        assert course.residuals[-1] < 0.5 * max(course.residuals) and course.residuals[-1] < 0.2


@everywhere
def test_outputs_are_compared_behind_what_belongs_to_a_layer(family):
    model = network(family)
    subject = Subject.of(view(model))
    given = source(subject.adapter.input_specs(model), SyntheticInputs(batch=2), "m").zeros()
    found, left = stations(subject, watched(subject, given))
    ends = {
        station.name: [(layer.name, number) for layer, number in station.ends] for station in found
    }
    assert not left and ends == {
        "first": [("relu", 0)],
        "second": [("second", 0)],
        "pointwise": [("pointwise", 0)],
        "logits": [("logits", 0)],
    }


@everywhere
def test_divergence_keeps_the_last_good_weights(family):
    model = cnn(family)
    before = model.get_weights()
    wild = dataclasses.replace(QUICK, rate=1e38)
    with pytest.warns(UserWarning, match="diverged in iteration 1") as caught:
        report = tfprune.sparsify(model, method(solver=wild), 0.6)
    said = [one for one in caught if "diverged" in str(one.message)]  # and of no other package
    assert len(report.warnings) == 3 and len(said) == 3
    for old, new in zip(before, model.get_weights()):
        np.testing.assert_array_equal(new[new != 0], old[new != 0])
    assert [row.kept for row in report.sites] == [29, 205, 10]


def test_masks_are_those_of_the_projection(monkeypatch):
    """Though a weight that is kept becomes too small for its pattern to be told from another."""

    def vanishing(problem, settings, course):
        kernel = problem.kernels[0].numpy()
        kernel[np.abs(kernel) == np.abs(kernel[kernel != 0]).min()] = 1e-20
        problem.kernels[0].assign(kernel)

    monkeypatch.setattr(solver, "_refit", vanishing)
    model = network("keras")
    callback = tfprune.PruningCallback(method(), structure=tfprune.Pattern())
    callback.start(model, total_steps=1)
    for target in callback.driver.targets:
        kernel, mask = target.kernel.numpy(), target.mask.numpy()
        assert np.count_nonzero(kernel == np.float32(1e-20)) == 1
        np.testing.assert_array_equal(kernel != 0, mask != 0)
    callback.finish()


def test_synthetic_inputs():
    spec = tf.TensorSpec((None, 5, 4, 3))
    pixels = (
        source(spec, SyntheticInputs("pixels", batch=200), "m").draw(tf.constant([1, 2])).numpy()
    )
    assert pixels.shape == (200, 5, 4, 3)
    assert set(np.unique(pixels)) == set(range(256))
    small = source(spec, SyntheticInputs(scale=1 / 255), "m").draw(tf.constant([1, 2])).numpy()
    assert small.shape[0] == 32 and 0 <= small.min() and 0.9 < small.max() <= 1
    images = clouds((50, 16, 12, 3), tf.constant([0, 1])).numpy()
    assert images.min() >= 0 and images.max() <= 255 and (images == images.round()).all()
    right, left = images[:, :, 1:].ravel(), images[:, :, :-1].ravel()
    assert np.corrcoef(right, left)[0, 1] > 0.8  # neighbours are alike
    line = source(tf.TensorSpec((None, 9, 2)), SyntheticInputs("clouds"), "m")
    assert line.draw(tf.constant([0, 0])).shape == (32, 9, 2)
    several = source(
        {"a": tf.TensorSpec((7, 2)), "b": tf.TensorSpec((None, 3), tf.bool)},
        SyntheticInputs("normal", batch=4),
        "m",
    ).draw(tf.constant([0, 0]))
    assert several["a"].shape == (7, 2) and several["b"].dtype == tf.bool


@pytest.mark.parametrize(
    "make, words",
    [
        (lambda: ADMM(0), "iterations"),
        (lambda: ADMM(steps=2.5), "steps"),
        (lambda: ADMM(refit=-1), "refit"),
        (lambda: ADMM(rate=0), "above 0"),
        (lambda: ADMM(rate=float("nan")), "rate"),
        (lambda: ADMMPenalty(growth=0.5), "growth"),
        (lambda: ADMMPenalty(1.0, most=0.5), "most"),
        (lambda: SyntheticInputs("photos"), "clouds"),
        (lambda: SyntheticInputs(batch=0), "batch"),
        (lambda: SyntheticInputs(tokens=0), "tokens"),
        (lambda: tfprune.get_method("admm", rounds=3), "iterations of its own"),
        (lambda: tfprune.get_method("admm", momentum=0.5), "iterations of its own"),
        (
            lambda: tfprune.get_method("admm", gate=tfprune.MaskGate(straight_through=True)),
            "leave `gate` out",
        ),
    ],
)
def test_wrong_settings_are_refused(make, words):
    with pytest.raises(ValueError, match=words):
        make()
