# SPDX-License-Identifier: Apache-2.0
"""Dropping and growing by hand, and against a plain loop over weights."""

import math

import numpy as np
import pytest
import tensorflow as tf

import tfprune
from tfprune.masks import kernel_layout
from tfprune.masks.sites import Site
from tfprune.masks.structures import Block, Element, Filter, NofM
from tfprune.methods.statistics_table import drawn

RIGL = tfprune.get_method("rigl", allocation=tfprune.Uniform()).rule


@pytest.mark.parametrize("step, share", [(0, 0.3), (6250, 0.256066), (12500, 0.15), (25000, 0)])
def test_the_part_that_is_exchanged(step, share):
    progress = step / 25000
    assert RIGL.exchanged(10**6, progress) == pytest.approx(share * 10**6, abs=1)
    assert RIGL.exchanged(100, progress) == int(share * 100 + 1e-9)
    constant = tfprune.get_method("set", anneal="constant").rule
    assert constant.exchanged(100, progress) == (30 if step < 25000 else 0)
    assert tfprune.get_method("set", fraction=0.29, anneal="constant").rule.exchanged(100, 0) == 29


def update(rule, weight, mask, gradient=None, progress=0.5, step=7):
    """The mask after an update, of arrays or tensors."""
    weight = np.asarray(weight, "float32")
    site = Site("d/kernel", weight.shape, kernel_layout.of_shape(weight.shape), "d")
    state = {
        "mask": np.asarray(mask, "float32"),
        "progress": progress,
        "step": step,
        "dense_gradient": np.asarray(weight if gradient is None else gradient, "float32"),
    }
    return rule.masks([weight], [site], 0.5, final=0.5, states=[state])[0]


def test_one_update_by_hand():
    rule = tfprune.get_method(
        "rigl", allocation=tfprune.Uniform(), fraction=0.5, anneal="constant"
    ).rule
    weight = [[0.5, -0.1, 2, 0.2, 0, 0, 0, 0]]
    mask = [[1, 1, 1, 1, 0, 0, 0, 0]]
    # .2 and -.1 are dropped; the second largest slope outside of the kept is the dropped .2's own
    found = update(rule, weight, mask, [[9, 1, 9, -3, 0, 2, -4, 0]])
    assert found.astype(int).tolist() == [[1, 0, 1, 1, 0, 0, 1, 0]]
    still = update(rule, weight, mask, [[9, 1, 9, -3, 0, 2, -4, 0]], progress=1.0)
    assert still.astype(int).tolist() == mask


def test_the_first_mask():
    weight = np.array([[3, -4, 1, 2.0]])
    full = np.ones((1, 4))
    assert update(RIGL, weight, full, progress=0).tolist() == [[True, True, False, False]]
    masks = set()
    for seed in range(9):
        rule = tfprune.get_method(
            "rigl", allocation=tfprune.Uniform(), start="random", seed=seed
        ).rule
        found = update(rule, weight, full, progress=0)
        assert found.sum() == 2
        masks.add(str(found))
    assert len(masks) > 1


def plain(weight, mask, wanted, count):
    """One update, weight by weight."""
    weight, mask, wanted = (np.asarray(one).ravel() for one in (weight, mask, wanted))
    total = int(mask.sum())
    active = sorted(np.flatnonzero(mask), key=lambda i: (-abs(weight[i]), i))
    kept = active[: total - count]
    others = sorted(set(range(mask.size)) - set(kept), key=lambda i: (-wanted[i], i))
    return np.isin(np.arange(mask.size), kept + others[:count])


@pytest.mark.parametrize("grow", ["gradient", "random"])
@pytest.mark.parametrize("progress", [0.0, 0.3, 0.9])
def test_updates_are_a_plain_loop(grow, progress):
    generator = np.random.default_rng(5)
    mask = generator.permutation(np.arange(60) < 30).reshape(10, 6)
    weight = (generator.normal(size=mask.shape).round(1) * mask).astype("float32")
    slope = generator.normal(size=mask.shape).round(1).astype("float32")
    rule = tfprune.get_method(
        "set" if grow == "random" else "rigl", allocation=tfprune.Uniform()
    ).rule
    found = update(rule, weight, mask, slope, progress)
    wanted = np.abs(slope) if grow == "gradient" else drawn(weight.ravel(), (0, 0, 1), 7)
    count = int(0.3 * (1 + math.cos(math.pi * progress)) / 2 * 30 + 1e-9)
    np.testing.assert_array_equal(found.ravel(), plain(weight, mask, wanted, count))


@pytest.mark.parametrize("grow", ["gradient", "random"])
def test_numpy_and_xla_agree(grow, progress=0.3):
    generator = np.random.default_rng(6)
    mask = generator.permutation(np.arange(60) < 30).reshape(10, 6)
    weight = (generator.normal(size=mask.shape).round(1) * mask).astype("float32")
    slope = generator.normal(size=mask.shape).round(1).astype("float32")
    rule = tfprune.get_method(
        "set" if grow == "random" else "rigl", allocation=tfprune.Uniform()
    ).rule
    found = update(rule, weight, mask, slope, progress)
    site = Site("d/kernel", weight.shape, kernel_layout.DENSE, "d")

    @tf.function(jit_compile=True)
    def compiled(weight, mask, slope, progress, step):
        state = {"mask": mask, "dense_gradient": slope, "progress": progress, "step": step}
        return rule.masks(
            [weight], [site], tf.constant(0.5, tf.float64), final=0.5, states=[state]
        )[0]

    other = compiled(
        *(tf.constant(one, tf.float32) for one in (weight, mask, slope)),
        tf.constant(progress, tf.float64),
        tf.constant(7, tf.int64),
    )
    np.testing.assert_array_equal(found, other.numpy())


def test_draws_change_with_the_seed_and_the_step_and_are_spread_evenly():
    mask = np.arange(1000).reshape(20, 50) < 500
    weight = np.where(mask, 1.0, 0.0)
    found = {}
    for seed, step in ((0, 7), (0, 8), (1, 7)):
        rule = tfprune.get_method("set", allocation=tfprune.Uniform(), seed=seed).rule
        grown = update(rule, weight, mask, step=step, progress=0.0) & ~mask
        assert 80 < grown.sum() <= 150  # the others are dropped ones, drawn again
        found[seed, step] = grown
        assert abs(grown.ravel()[500:].reshape(5, 100).sum(1) - grown.sum() / 5).max() < 20
    assert len({grown.tobytes() for grown in found.values()}) == 3
    numbers = drawn(np.ones(1000), (3,), 5)
    assert 0 <= numbers.min() and numbers.max() < 1 and abs(numbers.mean() - 0.5) < 0.04
    assert abs(np.corrcoef(numbers, drawn(np.ones(1000), (3,), 6))[0, 1]) < 0.15


@pytest.mark.parametrize("structure", [Filter(), Block(2, 3)], ids=repr)
def test_whole_groups_are_exchanged(structure):
    site = Site("d/kernel", (6, 8), kernel_layout.DENSE, "d")
    groups = structure.groups(site.shape, site.layout)
    generator = np.random.default_rng(0)
    start = generator.permutation(np.arange(groups) < groups // 2)
    mask = structure.expand(start, site.shape, site.layout)
    weight = np.where(mask, generator.normal(size=site.shape), 0)
    rule = tfprune.get_method(
        "rigl", allocation=tfprune.Uniform(), structure=structure, fraction=0.9
    ).rule
    found = update(rule, weight, mask, generator.normal(size=site.shape), progress=0.0)
    kept = structure.reduce(found.astype("float32"), site.layout)
    assert set(kept.tolist()) == {0, 1} and kept.sum() == groups // 2
    assert (found != mask).any()


def test_a_rising_schedule_prunes_and_regrows():
    mask = np.arange(40).reshape(4, 10) < 30  # more than the half that is asked for
    weight = np.where(mask, np.arange(1, 41).reshape(4, 10), 0)
    found = update(RIGL, weight, mask, progress=0.5, gradient=np.zeros((4, 10)))
    assert found.sum() == 20 and found.ravel()[13:30].all()  # 3 of 20 are grown, by index


@pytest.mark.parametrize(
    "change, message",
    [
        (dict(fraction=1), "fraction=1"),
        (dict(anneal="linear"), "anneal='linear'"),
        (dict(grow="moment"), "grow='moment'"),
        (dict(start="erk"), "start='erk'"),
        (dict(structure=NofM(2, 4)), "does not fit"),
        (dict(structure=Filter(coupled=True)), "fit"),
    ],
)
def test_bad_settings(change, message):
    with pytest.raises(ValueError, match=message):
        tfprune.get_method("rigl", **change)


def test_another_gate_keeps_no_gradient():
    site = Site("d/kernel", (2, 2), kernel_layout.DENSE, "d")
    rule = tfprune.get_method("rigl", gate=tfprune.MaskGate()).rule
    with pytest.raises(ValueError, match=r"needs the gate RegrowthGate\(\)"):
        rule.masks([np.ones((2, 2))], [site], 0.5, final=0.5, states=[{"mask": np.ones((2, 2))}])
    assert Element() == rule.structure
