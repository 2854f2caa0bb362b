# SPDX-License-Identifier: Apache-2.0
"""The chances of SPP: by hand, and by an independent loop over groups."""

import math

import numpy as np
import pytest

from tfprune import get_method
from tfprune.masks import kernel_layout
from tfprune.masks.sites import Site

RULE = get_method("spp").rule  # A = 0.05, u = 0.25


def test_delta_for_five_of_ten():
    delta = RULE.delta(np.arange(10.0), np.float64(5))
    expected = [
        0.05,
        0.032988,
        0.021764,
        0.014359,
        0.008506,
        0,
        -0.012893,
        -0.032435,
        -0.062055,
        -0.106951,
    ]
    np.testing.assert_allclose(delta, expected, atol=6e-7)
    alpha = math.log(8) / 5
    assert alpha == pytest.approx(0.41588831) and math.log(4) / alpha == pytest.approx(
        3.33333, 1e-5
    )


@pytest.mark.parametrize("groups, left", [(10, 5), (64, 32), (256, 192), (7, 1)])
def test_delta_is_symmetric_about_its_middle_and_falls(groups, left):
    delta = RULE.delta(np.arange(float(groups)), np.float64(left))
    assert delta[0] == 0.05 and abs(delta[left]) < 1e-12
    assert (np.diff(delta) < 0).all() or np.isclose(delta.min(), -1)
    middle = math.log(4) * left / math.log(8)
    near = np.linspace(0, middle, 7)
    mirrored = RULE.delta(2 * middle - near, np.float64(left))
    np.testing.assert_allclose(
        RULE.delta(near, np.float64(left)) + mirrored, 2 * 0.25 * 0.05, atol=1e-12
    )


@pytest.mark.parametrize("groups, left", [(512, 26), (4608, 40), (100_000, 2)])
def test_delta_stays_finite_far_behind(groups, left):
    delta = RULE.delta(np.arange(groups, dtype=np.float32), np.float32(left))
    assert np.isfinite(delta).all() and delta.min() == -1


def run(scores, sparsity, limit):
    """Updates until the wanted number is gone; ranks by the scores, which stay as they are."""
    site = Site("d/kernel", (1, len(scores)), kernel_layout.DENSE, "d")
    rule = get_method("spp", structure=_filters()).rule
    state, first = rule.state(site), None
    weights = [np.array([scores], np.float32)]
    wanted = len(scores) - round(len(scores) * (1 - sparsity))
    for update in range(1, limit):
        (changes,) = rule.advance(weights, [site], [state], 0.0, final=sparsity)
        gone = state["chance"] >= 1
        state = {**state, **changes}
        assert ((state["chance"] >= 0) & (state["chance"] <= 1)).all()
        assert (state["chance"][gone] == 1).all(), "what is gone stays gone"
        first = first or (update if (state["chance"] >= 1).any() else None)
        if (state["chance"] >= 1).sum() >= wanted:
            return update, first, state["chance"], wanted
    raise AssertionError("not finished")


def _filters():
    from tfprune.masks.structures import Filter

    return Filter()


@pytest.mark.parametrize(
    "groups, sparsity, updates", [(10, 0.5, 54), (64, 0.5, 99), (256, 0.75, 143)]
)
def test_updates_to_finish_with_ranks_that_stay(groups, sparsity, updates):
    scores = np.random.default_rng(1).permutation(np.arange(1, groups + 1))
    taken, first, chance, wanted = run(scores, sparsity, 400)
    assert (taken, first) == (updates, 20)
    assert sorted(scores[chance == 1]) == list(range(1, wanted + 1))
    assert set(chance.tolist()) == {0.0, 1.0}


def test_the_last_update_takes_what_is_missing():
    site = Site("d/kernel", (1, 4), kernel_layout.DENSE, "d")
    rule = get_method("spp", structure=_filters()).rule
    state = {**rule.state(site), "chance": np.array([0, 0.5, 0.25, 0.5], np.float32)}
    scores = np.array([[1.0, 9, 2, 8]], np.float32)
    (changes,) = rule.advance([scores], [site], [state], 0.5, final=0.5)
    assert changes["chance"].tolist() == [0, 1, 0, 1]
    (mask,) = rule.masks([None], [site], 0.5, final=0.5, states=[changes])
    assert mask.tolist() == [[True, False, True, False]]


def test_tensors_and_arrays_agree():
    import tensorflow as tf

    generator = np.random.default_rng(2)
    chance = generator.random(40).astype(np.float32)
    rank = generator.permutation(40).astype(np.float32)
    wanted = np.float32(11)
    moved = RULE._moved(np, chance, rank, wanted)
    from tfprune.masks.array_namespace import namespace

    tensors = [tf.constant(one) for one in (chance, rank, wanted)]
    np.testing.assert_allclose(
        tf.function(lambda *given: RULE._moved(namespace(given[0]), *given), jit_compile=True)(
            *tensors
        ),
        moved,
        atol=1e-6,
    )


@pytest.mark.parametrize(
    "change, message", [({"increment": 0}, "increment=0"), ({"center": 1.0}, "center=1.0")]
)
def test_settings_out_of_range(change, message):
    with pytest.raises(ValueError, match=message):
        get_method("spp", **change)


def test_structures_without_chances():
    from tfprune.masks.structures import Filter, NofM

    for structure in (NofM(2, 4), Filter(coupled=True)):
        with pytest.raises(ValueError, match="does not fit"):
            get_method("spp", structure=structure)
