# SPDX-License-Identifier: Apache-2.0
"""Patterns: nearest kernels by brute force, exact counts, the same in NumPy, TensorFlow and XLA."""

import itertools

import numpy as np
import pytest
import tensorflow as tf
from tiny_models import KERASES, with_weights

import tfprune
from tfprune.masks import kernel_layout, pattern_library
from tfprune.masks.allocations import ERK, Global, Uniform
from tfprune.masks.kernel_layout import conv
from tfprune.masks.serialization import from_config, to_config
from tfprune.masks.sites import Site
from tfprune.masks.structures import Kernel, Pattern
from tfprune.methods import get_method

LIBRARIES = (
    pattern_library.FOUR_OF_NINE,
    pattern_library.FOUR_OF_NINE_DISTILLED,
    pattern_library.FIVE_OF_NINE,
)
SMALL = ((0, 1, 3, 4), (1, 3, 4, 5), (3, 4, 6, 7))


def sites_of(*shapes, layout=conv(2)):
    return [Site(f"conv{i}/kernel", shape, layout, f"conv{i}") for i, shape in enumerate(shapes)]


def weights_of(sites, seed=0):
    generator = np.random.default_rng(seed)
    return [generator.normal(size=site.shape).astype("float32") for site in sites]


def masks_of(structure, weights, sites, sparsity, allocation=Uniform()):
    rule = get_method("magnitude", structure=structure, allocation=allocation).rule
    return rule.masks(weights, sites, sparsity, final=sparsity)


def kernels(array):
    """[3, 3, in, out] -> [kernels, 9], as the formulas have them."""
    return np.asarray(array).reshape(9, -1).T


def test_the_libraries_are_those_of_the_papers_code():
    assert [len(library) for library in LIBRARIES] == [21, 12, 13]
    assert [{len(one) for one in library} for library in LIBRARIES] == [{4}, {4}, {5}]
    assert [sum(4 in one for one in library) for library in LIBRARIES] == [20, 10, 9]
    for library in LIBRARIES:
        assert len(set(library)) == len(library) and pattern_library.checked(library) == library


@pytest.mark.parametrize("library", LIBRARIES, ids=pattern_library.name_of)
def test_every_kernel_keeps_its_nearest_pattern(library):
    (site,) = sites = sites_of((3, 3, 5, 7))
    (weight,) = weights = weights_of(sites)
    (mask,) = masks_of(Pattern(library), weights, sites, Pattern(library).sparsity)
    assert pattern_library.kept_shapes(weight * mask) <= set(library)
    for kernel, kept in zip(kernels(weight), kernels(mask)):
        distances = [np.sum(np.delete(kernel, one).astype("float64") ** 2) for one in library]
        best = library[int(np.argmin(distances))]
        assert tuple(np.flatnonzero(kept)) == best
    (again,) = masks_of(Pattern(library), [weight * mask], sites, Pattern(library).sparsity)
    np.testing.assert_array_equal(again, mask)  # idempotent


def test_ties_go_to_the_first_pattern():
    sites = sites_of((3, 3, 2, 1))
    (mask,) = masks_of(Pattern(SMALL), [np.ones((3, 3, 2, 1), "float32")], sites, 5 / 9)
    assert kernels(mask).astype(int).tolist() == 2 * [[1, 1, 0, 1, 1, 0, 0, 0, 0]]


@pytest.mark.parametrize("seed", range(12))
def test_patterns_with_connectivity_are_the_nearest_of_all(seed):
    (weight,) = weights = weights_of(sites_of((3, 3, 2, 3)), seed)
    (mask,) = masks_of(Pattern(SMALL, connectivity=True), weights, sites_of((3, 3, 2, 3)), 0.5)
    flat = kernels(weight).astype("float64")
    choices = [(), *SMALL]
    kept = [[np.sum(kernel[list(one)] ** 2) for one in choices] for kernel in flat]
    best = max(
        sum(kept[k][c] for k, c in enumerate(chosen))
        for chosen in itertools.product(range(len(choices)), repeat=len(flat))
        if sum(c > 0 for c in chosen) == 3
    )
    assert np.sum((weight * mask).astype("float64") ** 2) == pytest.approx(best, rel=1e-9)
    shapes = [tuple(np.flatnonzero(row)) for row in kernels(mask)]
    assert sum(shape != () for shape in shapes) == 3 and set(shapes) <= {(), *SMALL}


@pytest.mark.parametrize("allocation", [Uniform(), Global(), ERK()], ids=repr)
def test_the_allocation_counts_the_kernels_that_live(allocation):
    sites = sites_of((3, 3, 4, 6), (3, 3, 6, 10))
    masks = masks_of(Pattern(connectivity=True), weights_of(sites), sites, 0.5, allocation)
    alive = [int(kernels(mask).any(axis=1).sum()) for mask in masks]
    assert sum(alive) == 42 and all(mask.sum() == 4 * count for mask, count in zip(masks, alive))
    if allocation == Uniform():
        assert alive == [12, 30]


@pytest.mark.parametrize("structure", [Kernel(balanced=True), Pattern(SMALL, True, True)], ids=repr)
@pytest.mark.parametrize(
    "layout, shape",
    [(conv(2), (3, 3, 8, 5)), (kernel_layout.conv_transpose(2), (3, 3, 5, 8))],
    ids=["conv", "transposed"],
)
def test_balanced_filters_keep_equally_many_kernels(structure, layout, shape):
    sites = sites_of(shape, layout=layout)
    (weight,) = weights = weights_of(sites)
    (mask,) = masks_of(structure, weights, sites, 0.6)
    alive = mask.any(axis=(0, 1))
    filters = alive if layout.outputs == (2,) else alive.T
    assert filters.sum(axis=1).tolist() == 5 * [3]  # 8 * 0.4 = 3.2
    best = (
        np.abs(weight).mean(axis=(0, 1))
        if isinstance(structure, Kernel)
        else np.max(
            [np.square(weight.reshape(9, *shape[2:])[list(one)]).sum(axis=0) for one in SMALL],
            axis=0,
        )
    )
    best = best if layout.outputs == (2,) else best.T
    for scores, kept in zip(best, filters):
        assert set(np.flatnonzero(kept)) == set(np.argsort(-scores)[:3])


@pytest.mark.parametrize(
    "structure",
    [
        Pattern(),
        Pattern(pattern_library.FIVE_OF_NINE, True),
        Pattern(SMALL, True, True),
        Kernel(balanced=True),
    ],
    ids=repr,
)
def test_tensors_choose_the_same(structure):
    sites = sites_of((3, 3, 5, 8), (3, 3, 2, 3))
    weights = [weight.round(1) for weight in weights_of(sites)]  # ties
    sparsity = structure.sparsity if structure.fixed else 0.4
    expected = masks_of(structure, weights, sites, sparsity)
    for jit in (False, True):
        compiled = tf.function(
            lambda w, s: masks_of(structure, w, sites, s), autograph=False, jit_compile=jit
        )
        found = compiled([tf.constant(w) for w in weights], tf.constant(sparsity, tf.float64))
        for mask, other in zip(expected, found):
            np.testing.assert_array_equal(mask, other.numpy())


def test_signed_scores_count_against():
    scores = np.zeros((3, 3, 1, 1), "float32")
    scores.reshape(9)[[0, 5]] = -3, 2
    energies = Pattern(SMALL).reduce(scores, conv(2))
    assert energies.tolist() == [[-9, 4, 0]]


@pytest.mark.parametrize(
    "layout, shape, reason",
    [
        (conv(2), (1, 1, 4, 4), "1x1, not 3x3"),
        (conv(2), (5, 5, 4, 4), "5x5"),
        (conv(1), (3, 4, 4), "3, not 3x3"),
        (kernel_layout.DENSE, (9, 4), "no spatial kernels"),
        (kernel_layout.depthwise(2), (3, 3, 4, 1), "depthwise"),
    ],
)
def test_other_kernels_are_left_out_for_a_reason(layout, shape, reason):
    assert reason in Pattern().supports(shape, layout)


def test_balance_needs_several_kernels_in_a_filter():
    assert "single kernel" in Kernel(balanced=True).supports(
        (3, 3, 4, 2), kernel_layout.depthwise(2)
    )
    assert "single kernel" in Pattern(SMALL, True, True).supports((3, 3, 1, 2), conv(2))


@pytest.mark.parametrize(
    "make, words",
    [
        (lambda: Pattern(()), "at least one pattern"),
        (lambda: Pattern(((0, 9),)), "0 to 8"),
        (lambda: Pattern(((0, 0),)), "different positions"),
        (lambda: Pattern(("0134",)), "such as"),
        (lambda: Pattern(((0, 1), (1, 2, 3))), "equally many"),
        (lambda: Pattern(balanced=True), "connectivity=True"),
        (lambda: get_method("magnitude", structure=Pattern(), allocation=Global()), "Uniform"),
        (
            lambda: tfprune.PruningCallback("magnitude", 0.5, structure=Pattern()),
            "removes 0.555556",
        ),
        (lambda: pattern_library.mine(np.zeros((3, 3, 2, 2))), "no 3x3 kernel"),
        (lambda: pattern_library.mine(np.ones((2, 2, 2, 2))), r"\(2, 2, 2, 2\)"),
        (lambda: pattern_library.mine(np.ones((3, 3, 2, 2)), keep=9), "keep=9"),
    ],
)
def test_wrong_settings_are_refused(make, words):
    with pytest.raises(ValueError, match=words):
        make()


def test_configuration_and_text():
    for structure in (
        Pattern(),
        Pattern(pattern_library.FIVE_OF_NINE, True),
        Pattern(SMALL, True, True),
    ):
        assert from_config(to_config(structure)) == structure
    assert repr(Pattern(connectivity=True)) == "Pattern(FOUR_OF_NINE, connectivity=True)"
    assert repr(Pattern(SMALL)) == "Pattern(0134 1345 3467)"


def test_mining_counts_what_the_kernels_have():
    generator = np.random.default_rng(0)
    kernel = generator.normal(size=(3, 3, 6, 50))
    kernel[:, :, 0, 0] = 0
    found = {}
    for row in kernels(kernel)[1:]:
        top = set(np.argsort(-np.abs(row))[:4])
        if 4 not in top:
            top = set(np.argsort(-np.abs(row))[:3]) | {4}
        key = tuple(sorted(int(one) for one in top))
        found[key] = found.get(key, 0) + 1
    mined = pattern_library.mine(kernel)
    assert len(mined) == 8 and all(4 in one for one in mined)
    counts = [found[one] for one in mined]
    assert counts == sorted(found.values(), reverse=True)[:8]
    assert Pattern(mined).library == mined


def convolutions(family):
    """3x3 convolutions beside everything that patterns leave out."""
    library = KERASES[family]
    layers = library.layers
    inputs = library.Input((8, 8, 2))
    x = layers.Conv2D(4, 3, activation="relu", name="first")(inputs)
    x = layers.DepthwiseConv2D(3, name="depthwise")(x)
    x = layers.Conv2D(6, 1, activation="relu", name="pointwise")(x)
    x = layers.Conv2D(5, 3, name="last")(x)
    outputs = layers.Dense(3, name="logits")(layers.Flatten()(x))
    return with_weights(library.Model(inputs, outputs))


@pytest.mark.parametrize("family", KERASES)
def test_training_with_patterns(family):
    model = convolutions(family)
    library = tfprune.mine_patterns(model)
    assert library == pattern_library.mine(
        [layer.get_weights()[0] for layer in model.layers if layer.name in ("first", "last")]
    )
    model.compile("adam", "mse")
    callback = tfprune.PruningCallback(
        "magnitude", structure=Pattern(library), schedule=tfprune.OneShot(5 / 9, at=1)
    )
    data = np.random.default_rng(0).normal(size=(6, 8, 8, 2)), np.zeros((6, 3))
    model.fit(*data, epochs=3, verbose=0, callbacks=[callback])
    assert [row.kept for row in callback.report.sites] == [4 * 8, 4 * 30]
    for name in ("first", "last"):
        shapes = pattern_library.kept_shapes(model.get_layer(name).get_weights()[0])
        assert shapes <= set(library)
    reasons = {skip.name.split("/")[0]: skip.reason for skip in callback.report.skipped}
    assert set(reasons) == {"depthwise", "pointwise", "logits"}
    assert all("Pattern(" in reason for reason in reasons.values())
    report = tfprune.sparsify(
        model, "magnitude", 0.5, structure=Pattern(library, connectivity=True)
    )
    assert [row.kept for row in report.sites] == [4 * 4, 4 * 15]
