# SPDX-License-Identifier: Apache-2.0
"""Movement scores by hand, and the threshold on them."""

import numpy as np
import pytest
import tensorflow as tf

import tfprune
from tfprune.masks import kernel_layout
from tfprune.masks.sites import Site
from tfprune.masks.structures import Block, Element, Filter, NofM, Pattern
from tfprune.methods.gates import Moment, MovementGate

SITE = Site("d/kernel", (3, 5), kernel_layout.DENSE, "d")
GENERATOR = np.random.default_rng(4)
WEIGHT, SLOPE = (GENERATOR.normal(size=SITE.shape).astype("float32") for _ in range(2))
MASK = (GENERATOR.random(SITE.shape) < 0.5).astype("float32")


def learned(gate, structure, steps=1, **state):
    """(gradient for the optimizer, state) after so many equal steps."""
    state = {**gate.state(SITE, structure), **state}
    for _ in range(steps):
        now = Moment(
            SITE,
            structure,
            tf.constant(WEIGHT),
            tf.constant(MASK != 0),
            {name: tf.constant(value) for name, value in state.items()},
            0,
        )
        gradient, changes = gate.learn(now, tf.constant(SLOPE))
        state = {**state, **{name: value.numpy() for name, value in changes.items()}}
    return gradient.numpy(), state


def test_one_step_of_three_weights_by_hand():
    site = Site("d/kernel", (3, 1), kernel_layout.DENSE, "d")
    gate = MovementGate(rate=0.5, optimizer="sgd")
    now = Moment(
        site,
        Element(),
        tf.constant([[2.0], [-1], [3]]),
        tf.constant([[True], [False], [True]]),
        {"movement": tf.zeros((3, 1))},
        0,
    )
    gradient, changes = gate.learn(now, tf.constant([[0.5], [0.25], [-1]]))
    assert gradient.numpy().ravel().tolist() == [0.5, 0, -1]
    # away from zero: up; the masked one learns, too
    assert changes["movement"].numpy().ravel().tolist() == [-0.5, 0.125, 1.5]


@pytest.mark.parametrize(
    "structure, number",
    [
        (Element(), np.arange(15).reshape(3, 5)),
        (NofM(2, 4), np.arange(15).reshape(3, 5)),
        (Filter(), np.tile(np.arange(5), (3, 1))),
        (Block(2, 2), np.array([[0, 0, 2, 2, 4], [0, 0, 2, 2, 4], [1, 1, 3, 3, 5]])),
    ],
    ids=repr,
)
def test_a_group_has_one_score_of_which_every_weight_takes_part(structure, number):
    _, state = learned(MovementGate(rate=1.0, optimizer="sgd"), structure)
    sums = -np.bincount(number.ravel(), (SLOPE * WEIGHT).ravel().astype("float64"))
    np.testing.assert_allclose(state["movement"].ravel(), sums, rtol=1e-5)
    repeated = state["movement"].ravel()[number]  # each weight under the score of its block
    method = tfprune.get_method("movement", structure=structure)
    scores = method.rule.scores([WEIGHT], [SITE], [state])
    if structure.fixed is None:
        (mask,) = method.rule.choose(scores, [SITE], 0.5, final=0.5)
        assert repeated[mask].min() > repeated[~mask].max()


def test_adam_is_adam():
    gate, slope = MovementGate(rate=0.1), (SLOPE * WEIGHT).astype("float64")
    _, state = learned(gate, Element(), steps=5)
    score = first = second = np.zeros(SITE.shape)
    for step in range(1, 6):
        first, second = 0.9 * first + 0.1 * slope, 0.999 * second + 0.001 * slope**2
        score = score - 0.1 * (first / (1 - 0.9**step)) / (
            np.sqrt(second / (1 - 0.999**step)) + 1e-8
        )
    np.testing.assert_allclose(state["movement"], score, rtol=2e-5)


@pytest.mark.parametrize("course", [None, 0.5])
def test_the_penalty_is_the_slope_of_the_mean_of_sigmoids(course):
    more = {} if course is None else {"course": np.float32(course)}
    start = GENERATOR.normal(size=SITE.shape).astype("float32")
    score = tf.Variable(start)
    with tf.GradientTape() as tape:
        loss = 4.0 * (course or 1.0) * tf.reduce_mean(tf.sigmoid(score))
        loss += tf.reduce_sum(score * SLOPE * WEIGHT)
    _, state = learned(MovementGate(1.0, "sgd", penalty=4.0), Element(), movement=start, **more)
    np.testing.assert_allclose(state["movement"], start - tape.gradient(loss, score), atol=1e-6)


@pytest.mark.parametrize(
    "time, kept", [(0, 1), (25, 0.50859), (50, 0.25625), (75, 0.16328), (100, 0.15)]
)
def test_the_kept_fraction_is_cubic(time, kept):
    timetable = tfprune.Polynomial(0.85, begin=0, end=100, frequency=1).resolve()
    assert 1 - timetable.sparsity(time) == pytest.approx(kept, abs=6e-6)


def soft(scores, sparsity, **changes):
    """The mask of movement_soft for scores [n], on the way to half."""
    rule = tfprune.get_method("movement_soft", **changes).rule
    site = Site("d/kernel", (len(scores), 1), kernel_layout.DENSE, "d")
    state = {**rule.state(site), "movement": np.array(scores, "float32")[:, None]}
    (moved,) = rule.advance([None], [site], [state], sparsity, final=0.5)
    weights = [np.ones(site.shape, "float32")]
    (mask,) = rule.masks(weights, [site], sparsity, final=0.5, states=[{**state, **moved}])
    return mask.ravel().astype(int).tolist()


def test_the_soft_mask_is_a_threshold_and_then_exact():
    # tau = .05 half way: sigmoid(-2.9) = .0522, sigmoid(-3) = .0474
    scores = [-2.9, 1, -3, -9]
    assert soft(scores, 0) == [1, 1, 1, 1]
    assert soft(scores, 0.25) == [1, 1, 0, 0]
    assert soft([0, 1, 2, 3], 0.25) == [1, 1, 1, 1]
    assert soft([0, 1, 2, 3], 0.5) == [0, 0, 1, 1]
    assert soft([-9, -8, -9, -9], 0.25) == [0, 1, 0, 0], "half a percent stays, one at least"
    assert soft([-9, -8, -9, -9], 0.25, least=0.5) == [1, 1, 1, 0]
    assert soft([-9, -8, -9, -9], 0.25, threshold=0) == [1, 1, 1, 1]


def test_the_soft_threshold_is_one_for_all_sites_in_the_end():
    rule = tfprune.get_method("movement_soft").rule
    sites = [Site(f"{name}/kernel", (4, 1), kernel_layout.DENSE, name) for name in "ab"]
    states = [
        {"movement": np.array(one, "float32")[:, None], "course": 1.0}
        for one in ([3, 4, 5, 6], [0, 1, 2, 7])
    ]
    masks = rule.masks([np.ones((4, 1))] * 2, sites, 0.5, final=0.5, states=states)
    assert [mask.sum() for mask in masks] == [3, 1]


@pytest.mark.parametrize(
    "change, message",
    [
        (lambda: MovementGate(rate=0), "rate=0"),
        (lambda: MovementGate(optimizer="lion"), "'adam' or 'sgd'"),
        (lambda: MovementGate(penalty=-1), "penalty=-1"),
        (lambda: tfprune.get_method("movement_soft", threshold=0.5), "threshold=0.5"),
        (lambda: tfprune.get_method("movement_soft", least=1), "least=1"),
        (
            lambda: tfprune.get_method("movement", structure=Pattern()),
            "is known for Element, Block",
        ),
    ],
)
def test_bad_settings(change, message):
    with pytest.raises(ValueError, match=message):
        change()


def test_another_gate_does_not_learn_scores():
    rule = tfprune.get_method("movement", gate=tfprune.MaskGate()).rule
    with pytest.raises(ValueError, match="needs movement, which nobody supplies"):
        rule.masks([WEIGHT], [SITE], 0.5, final=0.5, states=[{"mask": MASK}])
