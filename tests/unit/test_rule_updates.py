# SPDX-License-Identifier: Apache-2.0
"""The one update of a rule: by hand, and of rules of a user's own in a run."""

from dataclasses import dataclass, replace

import numpy as np
import pytest
import tensorflow as tf
from tiny_models import KERASES, cnn, compiled, fit, masks

import tfprune
from tfprune.masks.kernel_layout import DENSE
from tfprune.masks.sites import Site
from tfprune.methods.update import State

everywhere = pytest.mark.parametrize("family", KERASES)
MAGNITUDE = tfprune.get_method("magnitude").rule
SITE = Site("dense/kernel", (2, 2), DENSE, "dense")


def test_measured_scores_are_averaged_over_the_updates():
    rule = tfprune.get_method("snip", momentum=0.75).rule
    (needed,) = (name for name in rule.score.needs if name != "weight")
    weight = np.ones((2, 2), np.float32)

    def update(measured, step, average):
        known = {needed: np.array(measured, np.float32), "measured_step": step}
        known["average_score"] = np.array(average, np.float64)
        return rule.update(State([weight], [SITE], 0.5, 0.5, [known]))

    first = update([[4.0, 1.0], [0.0, 2.0]], -1, np.full(4, 9.0))
    (average,) = (one["average_score"] for one in first.state)
    assert np.reshape(average, -1).tolist() == [4, 1, 0, 2]
    assert first.masks[0].tolist() == [[True, False], [False, True]]
    second = update([[0.0, 9.0], [0.0, 2.0]], 10, average)
    assert np.reshape(second.state[0]["average_score"], -1).tolist() == [3, 3, 0, 2]
    assert second.masks[0].tolist() == [[True, True], [False, False]]


@dataclass(frozen=True)
class Rows(tfprune.TopKRule):
    """Chooses without scores, and counts its updates."""

    def state(self, site):
        return {"count": np.zeros((), np.float32)}

    def advance(self, weights, sites, states, sparsity, *, final):
        return [{"count": state["count"] + 1} for state in states]

    def masks(self, weights, sites, sparsity, *, final, states=None):
        return [tf.constant(np.indices(site.shape)[0] < 2) for site in sites]


@dataclass(frozen=True)
class Halved(tfprune.TopKRule):
    """Halves what it keeps."""

    fails: bool = False

    def update(self, now):
        made = super().update(now)
        kernels = [now.subject.adapter.raw(one.variable) for one in now.subject.found]
        halved = [(kernel, kernel.numpy() / 2) for kernel in kernels]
        wrong = [(kernels[0], np.zeros(7))] if self.fails else []
        notes = {site.name: ("halved",) for site in now.sites}
        return replace(made, kernels=[*halved, *wrong], notes=notes, cautions=["It is half."])


@everywhere
def test_a_rule_of_ones_own_that_overrides_parts_is_compiled(family):
    rule = Rows(MAGNITUDE.score)
    assert not rule.changes and not rule.is_measured
    model = compiled(cnn(family), family)
    callback = tfprune.PruningCallback(
        tfprune.Method("rows", rule), schedule=tfprune.Polynomial(0.5, end=4, frequency=2)
    )
    fit(model, callback)
    chosen = masks(callback)["logits/kernel"]
    assert chosen[:2].all() and not chosen[2:].any()
    assert {float(target.state["count"].numpy()) for target in callback.driver.targets} == {3}


@everywhere
def test_a_rule_of_ones_own_that_changes_weights_is_asked_between_steps(family):
    method = tfprune.Method("halved", Halved(MAGNITUDE.score), schedule=tfprune.OneShot(0.5))
    model = cnn(family)
    before = model.get_weights()
    callback = tfprune.PruningCallback(method)
    callback.start(model)
    with pytest.warns(UserWarning, match="It is half"):
        callback.finish()
    for old, new in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(new, np.where(new == 0, 0, old / 2 if old.ndim > 1 else old))
    report = callback.report
    assert report.sparsity == pytest.approx(0.5, abs=0.01) and report.warnings == ("It is half.",)
    assert all(row.notes == ("halved",) for row in report.sites)


@everywhere
def test_an_update_that_fails_while_it_is_written_changes_nothing(family):
    rule = Halved(MAGNITUDE.score, fails=True)
    method = tfprune.Method("halved", rule, schedule=tfprune.OneShot(0.5))
    model = cnn(family)
    before = model.get_weights()
    callback = tfprune.PruningCallback(method)
    with pytest.raises((ValueError, tf.errors.InvalidArgumentError)):
        callback.start(model)
    for old, new in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(new, old)
    assert all(mask.all() for mask in masks(callback).values())
