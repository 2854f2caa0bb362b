# SPDX-License-Identifier: Apache-2.0
"""Least squares against values by hand, and against NumPy's own solver."""

import numpy as np
import pytest
import tensorflow as tf

from tfprune.reconstruction.least_squares import refit
from tfprune.reconstruction.normal_equations import NormalEquations


def equations_of(inputs, wanted, weights, bias, groups=1):
    """The normal equations of inputs [n, groups, d], and weights [outputs, d]."""
    found = NormalEquations(
        weights.shape[1], len(weights), groups=groups, has_bias=bias is not None
    )
    each = weights.reshape(groups, -1, weights.shape[1])
    made = np.einsum("ngd,god->ngo", inputs, each).reshape(len(inputs), -1)
    found.add(inputs, wanted - made - (0 if bias is None else bias), wanted)
    return found


def test_two_by_two_by_hand():
    # X = [[1, 0], [1, 1]] and y = (2, 4): G = [[2, 1], [1, 1]], C = (6, 4), so W = (2, 2).
    inputs, wanted = np.array([[[1.0, 0.0]], [[1.0, 1.0]]]), np.array([[2.0], [4.0]])
    whole = np.ones((1, 2), bool)
    found = equations_of(inputs, wanted, np.zeros((1, 2)), None)
    assert found.gram[0].tolist() == [[2.0, 1.0], [1.0, 1.0]]
    assert found.cross[0].tolist() == [[6.0], [4.0]]
    assert found.energy.tolist() == found.missing.tolist() == [20.0]
    one = refit(found, np.zeros((1, 2)), None, whole, ridge=0.0)
    np.testing.assert_allclose(one.weights, [[2.0, 2.0]], rtol=1e-12)
    assert one.missing[0] < 1e-12
    # Without the second weight 2 w = 6: w = 3, which leaves (1, -1).
    one = refit(found, np.zeros((1, 2)), None, np.array([[True, False]]), ridge=0.0)
    np.testing.assert_allclose(one.weights, [[3.0, 0.0]], rtol=1e-12)
    np.testing.assert_allclose(one.missing, [2.0], rtol=1e-12)
    # The mean of the diagonal is 3/2, so a ridge of 2/3 adds 1: 3 (w - 0) = 6.
    one = refit(found, np.zeros((1, 2)), None, np.array([[True, False]]), ridge=2 / 3)
    np.testing.assert_allclose(one.weights, [[2.0, 0.0]], rtol=1e-12)
    # From w = 3 nothing moves, whatever the ridge.
    found = equations_of(inputs, wanted, np.array([[3.0, 0.0]]), None)
    one = refit(found, np.array([[3.0, 0.0]]), None, np.array([[True, False]]), ridge=2 / 3)
    assert one.weights.tolist() == [[3.0, 0.0]]


def test_the_bias_is_not_damped():
    # Constant inputs: the weight cannot be told from the bias, which takes it all.
    inputs, wanted = np.ones((4, 1, 1)), np.full((4, 1), 5.0)
    found = equations_of(inputs, wanted, np.zeros((1, 1)), np.zeros(1))
    one = refit(found, np.zeros((1, 1)), np.zeros(1), np.ones((1, 1), bool), ridge=1e-3)
    assert abs(one.weights[0, 0]) < 1e-9
    np.testing.assert_allclose(one.bias, [5.0], rtol=1e-9)


@pytest.mark.parametrize("groups", [1, 3])
@pytest.mark.parametrize("has_bias", [True, False])
def test_any_mask_as_an_independent_solver_finds_it(groups, has_bias):
    generator = np.random.default_rng(groups)
    inputs = generator.normal(size=(50, groups, 7))
    weights = generator.normal(size=(6, 7))
    bias = generator.normal(size=6) if has_bias else None
    wanted = generator.normal(size=(50, 6))
    kept = generator.random((6, 7)) < 0.6
    kept[1] = kept[0]  # two that share a factor
    kept[2] = False
    weights = weights * kept
    found = equations_of(inputs, wanted, weights, bias, groups)
    one = refit(found, weights, bias, kept, ridge=0.1)
    assert (one.weights[~kept] == 0).all() and one.weights.shape == weights.shape
    for output in range(6):
        group = output // (6 // groups)
        chosen, damping = kept[output], found.damping(0.1)[group]
        if not chosen.any():  # a removed channel stays as it is
            assert bias is None or one.bias[output] == bias[output]
            assert one.missing[output] == found.missing[output]
            continue
        rows = [inputs[:, group, chosen]] + ([np.ones((50, 1))] if has_bias else [])
        pull = np.sqrt(damping) * np.eye(chosen.sum(), chosen.sum() + has_bias)
        sides = np.append(wanted[:, output], pull[:, : chosen.sum()] @ weights[output, chosen])
        expected = np.linalg.lstsq(np.vstack([np.hstack(rows), pull]), sides, rcond=None)[0]
        np.testing.assert_allclose(one.weights[output, chosen], expected[: chosen.sum()], atol=1e-9)
        left = wanted[:, output] - np.hstack(rows) @ expected
        np.testing.assert_allclose(one.missing[output], left @ left, atol=1e-8)
        if has_bias:
            np.testing.assert_allclose(one.bias[output], expected[-1], atol=1e-9)


def test_batches_add_up_and_float32_is_summed_in_float64():
    generator = np.random.default_rng(0)
    inputs = generator.normal(size=(40_000, 5)).astype("float32") + 3
    missing = generator.normal(size=(40_000, 2)).astype("float32")
    whole, parts = NormalEquations(5, 2), NormalEquations(5, 2)
    whole.add(inputs, missing)
    for start in range(0, 40_000, 7_000):
        parts.add(tf.constant(inputs[start : start + 7_000]), missing[start : start + 7_000])
    assert whole.rows == parts.rows == 40_000
    ones = np.hstack([inputs.astype("float64"), np.ones((40_000, 1))])
    for one in (whole, parts):
        np.testing.assert_allclose(one.gram[0], ones.T @ ones, rtol=1e-5)
        np.testing.assert_allclose(one.cross[0], ones.T @ missing, rtol=1e-4, atol=0.1)


def test_weights_that_are_right_do_not_move():
    generator = np.random.default_rng(1)
    inputs = generator.normal(size=(9, 1, 4)).astype("float32")
    inputs[..., 2] = inputs[..., 1]  # singular
    weights = generator.normal(size=(3, 4))
    found = NormalEquations(4, 3)
    found.add(inputs, np.zeros((9, 3)))
    one = refit(found, weights, np.ones(3), np.ones((3, 4), bool))
    assert (one.weights == weights).all() and (one.bias == 1).all() and one.unknowns == 5


def test_inputs_that_decide_nothing_move_nothing_or_are_refused():
    found = NormalEquations(2, 1)
    found.add(np.zeros((5, 2)), np.full((5, 1), 2.0))  # inputs that are all zero: the bias is left
    one = refit(found, np.ones((1, 2)), np.zeros(1), np.ones((1, 2), bool))
    assert one.weights.tolist() == [[1.0, 1.0]] and abs(one.bias[0] - 2.0) < 1e-12
    found.add(np.full((1, 2), np.nan), np.zeros((1, 1)))
    with pytest.raises(ValueError, match="not finite"):
        refit(found, np.ones((1, 2)), np.zeros(1), np.ones((1, 2), bool))
    with pytest.raises(ValueError, match="do not fall into 2 equal groups"):
        NormalEquations(2, 3, groups=2)


def test_large_kernels_are_solved_in_parts(monkeypatch):
    generator = np.random.default_rng(2)
    inputs, wanted = generator.normal(size=(60, 1, 12)), generator.normal(size=(60, 20))
    kept = generator.random((20, 12)) < 0.5
    found = equations_of(inputs, wanted, np.zeros((20, 12)), None)
    whole = refit(found, np.zeros((20, 12)), None, kept)
    monkeypatch.setattr("tfprune.reconstruction.least_squares._ROOM", 100)
    parts = refit(found, np.zeros((20, 12)), None, kept)
    np.testing.assert_allclose(parts.weights, whole.weights, atol=1e-12)
