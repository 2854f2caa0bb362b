# SPDX-License-Identifier: Apache-2.0
"""Rows of candidates: which weights they are, and k of n of them by hand."""

import keras
import numpy as np
import pytest

import tfprune
from tfprune.masks import kernel_layout
from tfprune.masks.sites import Site
from tfprune.masks.structures import Rows
from tfprune.methods import get_method

CONV, SHAPE = kernel_layout.conv(2), (3, 3, 4, 6)


def site(shape=SHAPE, layout=CONV):
    return Site("layer/kernel", shape, layout, "layer")


def test_a_mask_is_the_transpose_of_its_rows():
    kept = np.random.default_rng(1).random((6, 4)) < 0.5
    mask = Rows("kernels", 2).expand(kept, SHAPE, CONV)
    for out in range(6):
        np.testing.assert_array_equal(mask[1, 2, :, out], kept[out])
    assert (mask == mask[:1, :1]).all()
    mask = Rows("kernels", 2).expand(kept, (4, 6), kernel_layout.DENSE)
    np.testing.assert_array_equal(mask, kept.T)


def test_positions_are_those_of_one_kernel():
    kept = np.random.default_rng(2).random((24, 9)) < 0.5
    mask = Rows("weights", 2).expand(kept, SHAPE, CONV)
    for out in range(6):
        for channel in range(4):
            expected = kept[4 * out + channel].reshape(3, 3)
            np.testing.assert_array_equal(mask[:, :, channel, out], expected)


def test_maps_are_one_row_and_tiles_are_neighbours():
    kept = np.array([[True, False, False], [False, False, True]])
    mask = Rows("maps", 1, tiles=2).expand(kept, SHAPE, CONV)
    np.testing.assert_array_equal(mask[0, 0, 0], kept.reshape(-1))
    assert Rows("maps").rows_of(SHAPE, CONV) == (1, 6)


@pytest.mark.parametrize(
    "structure, sparsity, kept",
    [
        (Rows("kernels", 3), 0.0, 3),
        (Rows("weights", 5), 0.9, 5),
        (Rows("maps", 2, tiles=3), 0.5, 2),
        (Rows("kernels"), 0.5, 2),
        (Rows("kernels"), 0.99, 1),
        (Rows("weights"), 0.5, 4),
        (Rows("maps"), 0.25, 4),
        (Rows("maps", tiles=2), 0.3, 2),
    ],
)
def test_every_row_keeps_as_many(structure, sparsity, kept):
    weight = np.random.default_rng(3).normal(size=SHAPE).astype("float32")
    rule = get_method("magnitude", structure=structure).rule
    (mask,) = rule.masks([weight], [site()], sparsity, final=sparsity)
    rows, length = structure.rows_of(SHAPE, CONV)
    groups = structure.reduce(mask.astype("float64"), CONV).reshape(rows, length)
    assert set(groups.ravel()) <= {0, 1} and (groups.sum(axis=1) == kept).all()
    scores = structure.reduce(np.abs(weight), CONV).reshape(rows, length)
    assert (np.where(groups, scores, np.inf).min(1) > np.where(groups, -1, scores).max(1)).all()


def test_k_is_left_to_the_structure():
    model = keras.Sequential([keras.Input((5,)), keras.layers.Dense(3, name="d")])
    assert tfprune.sparsify(model, "magnitude", structure=Rows("kernels", 2)).kept == 6
    with pytest.raises(ValueError, match=r"k=2.* keeps 2 in every row; leave sparsity out"):
        tfprune.PruningCallback("magnitude", 0.5, structure=Rows("kernels", 2))


@pytest.mark.parametrize(
    "structure, reason",
    [
        (Rows("kernels", 5), "each of its rows: 4, fewer than k=5"),
        (Rows("maps", 4, tiles=2), "each of its rows: 3, fewer than k=4"),
        (Rows("maps", tiles=4), "rows of 6 cannot be cut into 4 equal tiles"),
        (Rows("maps", tiles=6), "each of its rows: 1, too few to choose from"),
    ],
)
def test_layers_that_do_not_fit_are_named(structure, reason):
    assert reason in structure.supports(SHAPE, CONV)
    model = keras.Sequential([keras.Input((8, 8, 4)), keras.layers.Conv2D(6, 3, name="only")])
    callback = tfprune.PruningCallback(
        "magnitude", structure=structure, schedule=tfprune.OneShot(0.5)
    )
    with pytest.raises(ValueError, match=reason):
        callback.start(model)


def test_wrapped_layers_that_do_not_fit_are_named():
    model = keras.Sequential(
        [
            keras.Input((8, 8, 4)),
            keras.layers.Conv2D(6, 3, name="narrow"),
            keras.layers.Flatten(),
            keras.layers.Dense(2, name="wide"),
        ]
    )
    model = tfprune.prune(model, tfprune.get_method("dpp", structure=Rows("weights", 12)))
    (left,) = tfprune.report(model).skipped
    assert left.name == "narrow/kernel" and "9, fewer than k=12" in left.reason


def test_layers_without_such_rows():
    depthwise = kernel_layout.depthwise(2), (3, 3, 6, 2)
    assert "no input channels" in Rows("kernels").supports(depthwise[1], depthwise[0])
    assert Rows("weights").supports(depthwise[1], depthwise[0]) is None
    assert "too few" in Rows("weights").supports((1, 1, 4, 6), CONV)


@pytest.mark.parametrize(
    "wrong, message",
    [
        ({"of": "filters"}, "of='filters': expected one of weights, kernels, maps"),
        ({"k": 0}, "expected an integer of at least 1"),
        ({"k": 1.5}, "expected an integer"),
        ({"tiles": 0}, "expected an integer of at least 1"),
        ({"pooling": "min"}, "pooling='min'"),
    ],
)
def test_arguments_out_of_range(wrong, message):
    with pytest.raises(ValueError, match=message):
        Rows(**wrong)
