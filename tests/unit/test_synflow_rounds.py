# SPDX-License-Identifier: Apache-2.0
"""SynFlow's rounds against a plain NumPy re-implementation: the same masks, weight by weight."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import tfprune
from tfprune.masks.allocations import Global
from tfprune.masks.allocations.rankings import ranked_masks
from tfprune.masks.select import select_joint

SIZES = (12, 40, 25, 7)


def network(seed=0):
    """Weights are small powers of two, so that every product and sum is exact and ties abound."""
    draw = np.random.default_rng(seed)
    layers = [keras.layers.Dense(width, use_bias=False, activation="relu") for width in SIZES[1:]]
    model = keras.Sequential([keras.Input((SIZES[0],)), *layers])
    for layer in layers:
        size = layer.kernel.shape
        values = 2.0 ** draw.integers(-2, 2, size) * draw.choice([-1.0, 1.0], size)
        layer.kernel.assign(values * (draw.random(size) > 0.1))
    return model


def expected(kernels, sparsity, rounds, floor):
    """The masks, in float64 and with a full stable sort in each round."""
    weights = [np.abs(np.asarray(kernel, np.float64)) for kernel in kernels]
    total = sum(weight.size for weight in weights)
    masks = []
    for k in range(1, rounds + 1):
        level = sparsity if k == rounds else 1 - (1 - sparsity) ** (k / rounds)
        behind = [np.ones(weights[0].shape[0])]
        for weight in weights:
            behind.append(behind[-1] @ weight)
        ahead = [np.ones(weights[-1].shape[1])]
        for weight in weights[::-1]:
            ahead.insert(0, weight @ ahead[0])
        scores = [
            np.where(weight > 0, np.maximum(weight * np.outer(left, right), 1e-30), 0).ravel()
            for weight, left, right in zip(weights, behind, ahead[1:])
        ]
        left = total - int(level * total) if k < rounds else int(np.round(total * (1 - level)))
        keep = max(left, floor * len(weights))
        masks = ranked(scores, keep, floor)
        weights = [weight * mask.reshape(weight.shape) for weight, mask in zip(weights, masks)]
    return [mask.reshape(weight.shape) for mask, weight in zip(masks, weights)]


def ranked(scores, keep, floor):
    joint = np.concatenate(scores)
    ends = np.cumsum([len(score) for score in scores])
    chosen = np.zeros(joint.size, bool)
    for score, end in zip(scores, ends):
        chosen[end - len(score) + np.argsort(-score, kind="stable")[:floor]] = True
    for index in np.argsort(-joint, kind="stable"):
        if chosen.sum() == keep:
            break
        chosen[index] = True
    return np.split(chosen, ends[:-1])


@pytest.mark.filterwarnings(
    "ignore:All weights of .* are zero", "ignore:Asked was a sparsity of 0.998"
)
@pytest.mark.parametrize("floor", [0, 1, 3])
@pytest.mark.parametrize("sparsity", [0.3, 0.9, 0.98, 0.998])
def test_masks_of_a_plain_implementation(sparsity, floor):
    rounds = 6
    model = network()
    kernels = [layer.kernel.numpy() for layer in model.layers]
    method = tfprune.get_method("synflow", rounds=rounds, allocation=Global(min_keep=floor))
    callback = tfprune.PruningCallback(method, sparsity)
    callback.start(model)
    callback.finish()
    for target, mask, kernel, layer in zip(
        callback.driver.targets, expected(kernels, sparsity, rounds, floor), kernels, model.layers
    ):
        np.testing.assert_array_equal(target.mask.numpy() != 0, mask)
        np.testing.assert_array_equal(layer.kernel.numpy(), kernel * mask)


@pytest.mark.parametrize("kind", ["random", "ties", "signed", "special"])
@pytest.mark.parametrize("sizes", [(3, 1), (5000, 40, 70_000, 33, 32, 20_000), (40_000,) * 20])
def test_several_rows_are_one(sizes, kind):
    draw = np.random.default_rng(1)
    parts = [draw.normal(size=size).astype(np.float32) for size in sizes]
    if kind != "signed":
        parts = [np.abs(part) for part in parts]
    if kind == "ties":
        parts = [np.round(part * 2) for part in parts]
    if kind == "special":
        parts = [
            draw.choice([0.0, -0.0, 1.0, np.inf, -np.inf, np.nan], size).astype(np.float32)
            for size in sizes
        ]
    # XLA takes seconds to compile many parts: once for each way to cut them up.
    compiled = [
        tf.function(
            lambda *parts, keep: select_joint(list(parts), keep), autograph=False, jit_compile=jit
        )
        for jit in ((None, True) if kind == "special" else (None,))
    ]
    joint = np.concatenate(parts)
    order = np.lexsort((-joint, np.isnan(joint)))
    for share in (0.0, 0.003, 0.5, 1.0):
        keep = int(len(joint) * share)
        wanted = np.zeros(len(joint), bool)
        wanted[order[:keep]] = True
        forms = [select_joint(parts, keep)]
        forms += [one(*map(tf.constant, parts), keep=tf.constant(keep)) for one in compiled]
        for masks in forms:
            assert [mask.shape[0] for mask in masks] == list(sizes)
            np.testing.assert_array_equal(np.concatenate(masks), wanted)


def test_floors_with_infinite_scores_and_nan():
    scores = [np.array([np.nan, -np.inf, np.nan]), np.array([np.inf, np.inf, 1, 2, 3.0])]
    wanted = [[False, True, False], [True, True, False, False, True]]
    for given in (scores, [tf.constant(score) for score in scores]):
        masks = ranked_masks(*Global(min_keep=1).ranking(given, [], 0.5, 0.5))
        assert [np.asarray(mask).tolist() for mask in masks] == wanted
        assert np.asarray(Global(min_keep=1)(given, [], 0.5, 0.5)).tolist() == [1, 3]
