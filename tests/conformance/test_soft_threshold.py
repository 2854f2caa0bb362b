# SPDX-License-Identifier: Apache-2.0
"""The gate that shrinks what it keeps: by hand, in a whole run, and what always holds."""

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_models import KERASES, arrays, cnn, compiled, fit

import tfprune
from tfprune.masks import kernel_layout
from tfprune.masks.sites import Site
from tfprune.masks.structures import Block, Element, Filter, NofM, Pattern
from tfprune.methods.gates import Moment, SoftThresholdGate

WEIGHT = np.array([[4, -1, 0], [-2, 3, 1], [0.5, -6, 2], [-3, 0, -8]], np.float32)


def shown(weight, mask, structure):
    """What rests in the kernel after these masks were chosen, and the cuts."""
    site = Site("d/kernel", weight.shape, kernel_layout.DENSE, "d")
    if weight.ndim == 4:
        site = Site("c/kernel", weight.shape, kernel_layout.conv(2), "c")
    gate = SoftThresholdGate()
    now = Moment(
        site,
        structure,
        tf.constant(weight),
        tf.constant(mask != 0),
        {name: tf.constant(one) for name, one in gate.state(site, structure).items()},
    )
    chosen = gate.chosen(now)
    after = Moment(site, structure, now.weight, now.kept, {**now.state, **chosen})
    cut = chosen["cut"].numpy().ravel() if chosen else None
    return gate.rest(after).numpy(), cut


def test_single_weights_by_hand():
    kept, cut = shown(WEIGHT, np.abs(WEIGHT) > 2, Element())
    assert cut == [2]
    np.testing.assert_array_equal(kept, [[2, 0, 0], [0, 1, 0], [0, -4, 0], [-1, 0, -6]])


def test_the_rows_of_two_of_four_have_a_threshold_each():
    mask = np.array([[1, 0, 0], [0, 1, 0], [0, 1, 1], [1, 0, 1]])
    kept, cut = shown(WEIGHT, mask, NofM(2, 4))
    assert cut.tolist() == [2, 1, 1]  # down each column
    np.testing.assert_array_equal(kept, [[2, 0, 0], [0, 2, 0], [0, -5, 1], [-1, 0, -7]])


def test_filters_shrink_as_a_whole():
    mask = np.array([[1, 1, 0]] * 4)  # means of magnitudes: 2.375, 2.5, 2.75
    kept, cut = shown(WEIGHT, mask, Filter())
    assert cut == [0]  # what is pruned is larger than what is kept
    np.testing.assert_array_equal(kept, WEIGHT * mask)
    kept, cut = shown(WEIGHT, np.array([[0, 0, 1]] * 4), Filter())
    assert cut == [2.5]
    np.testing.assert_allclose(kept, WEIGHT * [0, 0, 1 - 2.5 / 2.75], rtol=1e-6)
    blocks = np.repeat([[1, 1, 0], [1, 1, 1]], 2, axis=0)
    kept, cut = shown(WEIGHT, blocks, Block(1, 2))
    assert cut == [0.5]
    np.testing.assert_allclose(kept[:, 0], WEIGHT[:, 0] * [5 / 6, 5 / 6, 5 / 7, 5 / 7], rtol=1e-6)


def test_patterns_are_masked_without_shrinking():
    weight = np.random.default_rng(0).normal(size=(3, 3, 2, 2)).astype("float32")
    mask = np.zeros((3, 3, 2, 2))
    mask[:2, :2] = 1
    kept, cut = shown(weight, mask, Pattern())
    assert cut is None
    np.testing.assert_array_equal(kept, weight * mask)


@settings(max_examples=50, deadline=None)
@given(
    st.integers(0, 2**32 - 1),
    st.integers(1, 40),
    st.integers(1, 12),
    st.sampled_from([Element(), Filter(), Block(2, 3), NofM(1, 3)]),
    st.booleans(),
)
def test_what_is_kept_shrinks_and_keeps_its_sign(seed, rows, columns, structure, by_size):
    draw = np.random.default_rng(seed)
    weight = draw.normal(size=(rows, columns)).astype("float32")
    scores = structure.reduce(
        np.abs(weight if by_size else draw.normal(size=weight.shape)), kernel_layout.DENSE
    )
    if structure.fixed:
        keep = structure.complete(np.ones(len(scores), bool), scores)
    else:
        keep = np.argsort(np.argsort(-scores)) < draw.integers(1, scores.size + 1)
    mask = structure.expand(keep, weight.shape, kernel_layout.DENSE)
    kept, cut = shown(weight, mask, structure)
    assert (cut >= 0).all() and not kept[~mask].any()
    assert (np.abs(kept) <= np.abs(weight)).all() and (kept * weight >= 0).all()
    assert (kept[mask] != 0).all()
    if mask.all():
        np.testing.assert_array_equal(kept, weight)


@pytest.mark.parametrize("structure", [Element(), Filter(), Block(2, 3), NofM(1, 3)], ids=repr)
def test_what_becomes_smaller_than_the_threshold_later_is_kept_and_settles_once(structure):
    weight = np.random.default_rng(1).normal(size=(60, 9)).astype("float32")
    site, gate = Site("d/kernel", weight.shape, kernel_layout.DENSE, "d"), SoftThresholdGate()
    mask = tf.random.stateless_uniform(weight.shape, (1, 2)) < 0.5
    state = gate.state(site, structure)
    now = Moment(
        site, structure, tf.constant(weight), mask, {"cut": tf.constant(state["cut"] + 0.7)}
    )
    kept = gate.rest(now).numpy()
    assert (np.abs(weight) < 0.7).any() and (np.abs(kept) <= np.abs(weight)).all()
    np.testing.assert_array_equal(kept != 0, mask.numpy())
    np.testing.assert_array_equal(kept + (weight - kept), weight)


@pytest.mark.parametrize("family", KERASES)
def test_a_run_ends_with_shrunk_weights(family):
    model, path = compiled(cnn(family), family), []

    class Watch(KERASES[family].callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            path.append([np.count_nonzero(arrays(one)[0]) for one in callback.driver.targets])

    callback = tfprune.PruningCallback(
        "st3", schedule=tfprune.Polynomial(0.6, end=1.0, frequency=1)
    )
    fit(model, callback, Watch())
    sizes = sum(target.kernel.shape.num_elements() for target in callback.driver.targets)
    whole = np.concatenate(
        [(kernel + hidden).ravel() for kernel, _, hidden in map(arrays, callback.driver.targets)]
    )
    lowest = np.sort(np.abs(whole))[sizes - round(sizes * 0.4) - 1]  # the largest that is pruned
    for target in callback.driver.targets:
        kernel, mask, hidden = arrays(target)
        weight, cut = kernel + hidden, float(target.state["cut"].numpy().item())
        np.testing.assert_allclose(
            kernel, np.sign(weight) * np.maximum(np.abs(weight) - cut, 0) * mask, atol=1e-6
        )
        assert cut <= lowest + 1e-6 and np.count_nonzero(kernel) == mask.sum()
    assert sum(path[-1]) == round(sizes * 0.4)
    stripped = tfprune.strip_pruning(model)
    np.testing.assert_array_equal(
        stripped.get_layer("hidden").get_weights()[0], arrays(callback.driver.targets[1])[0]
    )
