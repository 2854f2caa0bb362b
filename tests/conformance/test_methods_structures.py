# SPDX-License-Identifier: Apache-2.0
"""Every method with every structure and every allocation, on kernels of every layout, no fit."""

import math

import numpy as np
import pytest
import tensorflow as tf
from tiny_models import ASKED

from tfprune.masks import kernel_layout
from tfprune.masks.allocations import ERK, LAMP, PFP, Global, PerSite, Uniform
from tfprune.masks.sites import Site
from tfprune.masks.structures import Block, Channel, Column, Element, Filter, Kernel, NofM
from tfprune.methods import get_method, statistics_table
from tfprune.methods.base import TopKRule

KERNELS = {
    "dense": (kernel_layout.DENSE, (13, 8)),
    "conv1": (kernel_layout.conv(1), (3, 5, 6)),
    "conv2": (kernel_layout.conv(2), (3, 3, 4, 6)),
    "conv3": (kernel_layout.conv(3), (2, 2, 2, 3, 4)),
    "transposed": (kernel_layout.conv_transpose(2), (3, 2, 5, 4)),
    "depthwise": (kernel_layout.depthwise(2), (3, 3, 6, 2)),
    "embedding": (kernel_layout.EMBEDDING, (11, 5)),
    "query": (kernel_layout.einsum("abc,cde->abde"), (8, 2, 4)),
}
STRUCTURES = (Element(), Block(2, 3), NofM(2, 4), Kernel(), Column(), Channel(), Filter())
ALLOCATIONS = (
    Uniform(),
    Global(),
    ERK(),
    LAMP(),
    PFP(),
    PerSite({"dense": 0.3, "conv2": 0.0}, Global()),
)
SPARSITIES = (0.0, 0.35, 0.6, 0.9)
FINAL = SPARSITIES[-1]


def rule_of(name, structure=None, allocation=None):
    """The rule of a method; with the same sparsity everywhere, or another allocation."""
    structure = structure or plain_structure(name)
    return get_method(name, structure=structure, allocation=allocation or Uniform()).rule


def serves(name, structure):
    """Whether a method takes a structure."""
    return get_method(name).rule.refusal(structure) is None


def plain_structure(name):
    """Single weights, or the first structure that a method takes."""
    return next(one for one in STRUCTURES if serves(name, one))


def pairs(wanted):
    """Names of methods with the structures that they serve, or with the others."""
    found = [
        (name, structure)
        for name in ASKED
        for structure in STRUCTURES
        if serves(name, structure) == wanted
    ]
    return pytest.mark.parametrize(
        "name, structure", found, ids=lambda one: one if isinstance(one, str) else repr(one)
    )


def cases(structure):
    """Sites that the structure supports, with weights that hold ties and zeros."""
    generator = np.random.default_rng(0)
    sites, weights = [], []
    for name, (layout, shape) in KERNELS.items():
        values = generator.normal(size=shape).astype("float32").round(1)
        if structure.supports(shape, layout) is None:
            sites.append(Site(f"{name}/kernel", shape, layout, name))
            weights.append(values)
    return sites, weights


def groups_of(structure, mask, site):
    """The mask of the groups that a mask of entries came from; fails if it cuts through one."""
    values = structure.reduce(mask.astype("float64"), site.layout)
    assert set(np.unique(values)) <= {0.0, 1.0, -math.inf}, "a group is kept in part"
    return values == 1


def check_counts(structure, mask, site, sparsity):
    kept = groups_of(structure, mask, site)
    if structure.fixed is None:
        assert kept.sum() == max(1, round(kept.size * (1 - sparsity)))
        return
    lengths = np.isfinite(structure.reduce(np.zeros(site.shape), site.layout)).sum(axis=-1)
    np.testing.assert_array_equal(kept.sum(axis=-1), np.minimum(structure.fixed, lengths))


def measured_of(rule, sites):
    """Made-up statistics of the sites, of the shapes that measuring them would give; and what a
    method keeps for its sites, so far as its score needs it."""
    generator = np.random.default_rng(1)
    names = [name for name in rule.score.needs if name not in statistics_table.RESTING]
    shapes = [
        (rule.structure.groups(site.shape, site.layout),)
        if statistics_table.of_groups(rule.score.needs) and rule.structure.pooling is not None
        else site.shape
        for site in sites
    ]
    drawn = [
        {name: generator.uniform(size=shape).astype("float32").round(2) for name in names}
        for shape in shapes
    ]
    kept = [rule.state(site) for site in sites]  # of shapes of the rule's own
    return [
        {name: own.get(name, value) for name, value in one.items()} for one, own in zip(drawn, kept)
    ]


def masks_of(rule, weights, sites, sparsity):
    measured = measured_of(rule, sites)
    if any(tf.is_tensor(weight) for weight in weights):
        measured = [{name: tf.constant(value) for name, value in one.items()} for one in measured]
    scores = rule.scores(weights, sites, measured)
    return rule.choose(scores, sites, sparsity, final=FINAL)


def assert_equal_everywhere(name, rule, weights, sites):
    """NumPy and TensorFlow choose the same masks; XLA, too, where a compiled step chooses.

    The masks of a Rank are chosen from its scores alone, whatever they were computed from, so
    one score for each kind of statistic stands for the others: of these the scores are compared.
    """
    as_rank = type(rule).choose is TopKRule.choose and type(rule)._select is TopKRule._select
    plain = rule.structure == Element()
    if as_rank and name != "magnitude" and not (name == "random" and plain):
        assert_equal_scores(rule, weights, sites)
        return
    tensors = [tf.constant(weight) for weight in weights]

    def compiled(turn, **settings):
        return tf.function(
            lambda w, s: masks_of(rule, w[turn], sites[turn], s), autograph=False, **settings
        )

    # To compile takes seconds, so each structure is compiled for every other layout, and the
    # layouts take turns.
    turn = slice(STRUCTURES.index(rule.structure) % 2, None, 2)
    forms = (
        [(slice(None), compiled(slice(None)))]
        if rule.is_measured
        else [
            (slice(None), lambda w, s: masks_of(rule, w, sites, s)),
            (turn, compiled(turn, jit_compile=True)),
        ]
    )
    for sparsity in SPARSITIES[1:]:
        for part, form in forms:
            expected = masks_of(rule, weights[part], sites[part], sparsity)
            found = form(tensors, tf.constant(sparsity, tf.float64))
            for mask, other, site in zip(expected, found, sites[part], strict=True):
                assert isinstance(mask, np.ndarray) and mask.dtype == bool
                np.testing.assert_array_equal(mask, other.numpy(), site.name)


def assert_equal_scores(rule, weights, sites):
    measured = measured_of(rule, sites)
    tensors = [{name: tf.constant(value) for name, value in one.items()} for one in measured]
    found = rule.scores([tf.constant(weight) for weight in weights], sites, tensors)
    for score, other, site in zip(rule.scores(weights, sites, measured), found, sites):
        assert isinstance(score, np.ndarray)
        np.testing.assert_allclose(score, other.numpy(), 1e-6, err_msg=site.name)


@pairs(wanted=False)
def test_a_structure_that_a_method_does_not_take_is_refused(name, structure):
    with pytest.raises(ValueError) as error:
        get_method(name, structure=structure)
    said = str(error.value)
    assert repr(structure) in said and "take " in said
    assert "is known for" in said or "does not fit" in said


@pairs(wanted=True)
def test_counts_are_exact_and_masks_nested(name, structure):
    rule = rule_of(name, structure)
    sites, weights = cases(structure)
    assert len(sites) >= len(KERNELS) - 1  # N:M has no rows in a depthwise kernel
    larger = None
    for sparsity in SPARSITIES:
        masks = masks_of(rule, weights, sites, sparsity)
        for mask, site in zip(masks, sites):
            check_counts(structure, np.asarray(mask), site, sparsity)
        if larger is not None:
            assert all((wide | ~narrow).all() for wide, narrow in zip(larger, masks))
        larger = [np.asarray(mask) for mask in masks]


@pairs(wanted=True)
def test_numpy_tensorflow_and_xla_agree(name, structure):
    assert_equal_everywhere(name, rule_of(name, structure), *reversed(cases(structure)))


@pytest.mark.parametrize("allocation", ALLOCATIONS, ids=lambda a: type(a).__name__)
@pytest.mark.parametrize("name", ASKED)
def test_allocations_sum_exactly(name, allocation):
    rule = rule_of(name, allocation=allocation)
    sites, weights = cases(rule.structure)
    sizes = {site.layer: rule.structure.groups(site.shape, site.layout) for site in sites}
    for sparsity in SPARSITIES[1:]:
        masks = masks_of(rule, weights, sites, sparsity)
        kept = [
            int(groups_of(rule.structure, np.asarray(mask), site).sum())
            for mask, site in zip(masks, sites)
        ]
        assert min(kept) >= 1
        if isinstance(allocation, PerSite):
            by_layer = dict(zip(KERNELS, kept))
            assert by_layer["conv2"] == sizes["conv2"]
            assert by_layer["dense"] == round(sizes["dense"] * (1 - 0.3 * sparsity / FINAL))
        elif not isinstance(allocation, Uniform):
            assert sum(kept) == max(len(sites), round(sum(sizes.values()) * (1 - sparsity)))


@pytest.mark.parametrize("name", ASKED)
def test_masks_repeat_with_the_seed(name):
    sites, weights = cases(plain_structure(name))

    def masks(seed):
        rule = get_method(name, seed=seed, structure=plain_structure(name)).rule
        return [np.asarray(mask) for mask in masks_of(rule, weights, sites, 0.5)]

    for one, other in zip(masks(4), masks(4)):
        np.testing.assert_array_equal(one, other)
    if "noise" in get_method(name).rule.score.needs or name == "coreset_draws":
        assert any((one != other).any() for one, other in zip(masks(4), masks(5)))
