# SPDX-License-Identifier: Apache-2.0
"""Every method in both Kerases, with one tiny fit in each."""

import numpy as np
import pytest
from tiny_models import (
    ASKED,
    KERASES,
    check_run,
    cnn,
    compiled,
    examples,
    fit,
    masks,
    recording,
    zeros,
)

import tfprune
from tfprune.methods import REGISTRY
from tfprune.methods.base import TopKRule
from tfprune.methods.gates import Gate
from tfprune.reconstruction import ADMM, SyntheticInputs

SPARSITY = 0.6
SCHEDULE = tfprune.Polynomial(SPARSITY, end=1.0, frequency=4)  # 6 steps: updates at 0, 4 and 6


@pytest.fixture(autouse=True)
def short_searches(monkeypatch):
    """What matters here is not how good the weights are that ADMM finds."""
    quick = ADMM(2, 3, refit=1, inputs=SyntheticInputs("normal", batch=8))
    monkeypatch.setitem(REGISTRY, "admm", tfprune.get_method("admm", solver=quick))


def check_sites(pruned, report):
    """All sites are pruned; or all but the last, which makes the model's outputs, for a reason."""
    names = ["conv/kernel", "hidden/kernel", "logits/kernel"]
    skipped = [skip.name for skip in report.skipped]
    assert pruned + skipped == names and skipped in ([], names[2:])
    assert all("model output" in skip.reason for skip in report.skipped)


def check_zeros(name, held, mask):
    """Weights are zero where they are masked and nowhere else, but for what a rule takes away, and
    for what a gate has let in at zero and has not learned since."""
    method = tfprune.get_method(name)
    if method.rule.changes or type(method.gate).fresh is not Gate.fresh:
        assert not (held & ~mask).any()
    else:
        np.testing.assert_array_equal(held, mask)


def asked(name, **changes):
    """The method; of single weights where its own structure would fix or round the sparsity."""
    structure = tfprune.get_method(name).rule.structure
    if structure.fixed is not None or structure.balanced:
        changes["structure"] = tfprune.Element()
    return tfprune.get_method(name, **changes)


def in_turn():
    """Every method in one of the two Kerases, the next one in the other: a fit takes seconds to
    trace."""
    families = [*KERASES]
    return pytest.mark.parametrize(
        "name, family", [(name, families[number % 2]) for number, name in enumerate(ASKED)]
    )


@in_turn()
def test_a_fit_prunes_exactly(name, family):
    records = []
    callback = tfprune.PruningCallback(
        recording(asked(name, rounds=1), records), schedule=SCHEDULE, data=examples(family)
    )
    model = compiled(cnn(family), family)
    history = fit(model, callback).history
    refreshes = list(records)
    check_run(callback, SPARSITY)
    sites = [target.site for target in callback.driver.targets]
    check_sites([site.name for site in sites], callback.report)
    if type(asked(name).rule).masks is TopKRule.masks:  # others do not choose by scores alone
        assert [round(sparsity, 4) for _, sparsity, _ in refreshes] == [0, 0.5778, SPARSITY]
    for scores, sparsity, chosen in refreshes:
        expected = asked(name).rule.choose(scores, sites, sparsity, final=SPARSITY)
        for mask, other in zip(chosen, expected):
            np.testing.assert_array_equal(mask, np.asarray(other))
    for mask, last in zip(masks(callback).values(), refreshes[-1][2] if refreshes else ()):
        np.testing.assert_array_equal(mask, last)

    report = callback.report
    assert not report.warnings
    for mask, site, row in zip(masks(callback).values(), sites, report.sites):
        held = zeros(model)[site.name]
        check_zeros(name, held, mask)
        assert row.kept == held.sum()
    assert history["sparsity"][-1] == pytest.approx(report.sparsity)


@pytest.mark.parametrize("name", ASKED)
def test_both_kerases_in_one_process_choose_the_same_masks(name):
    chosen = {}
    for family in KERASES:
        callback = tfprune.PruningCallback(
            asked(name), schedule=tfprune.OneShot(SPARSITY), data=examples(family)
        )
        callback.start(cnn(family))
        chosen[family] = masks(callback)
        callback.finish()
    assert chosen["keras"].keys() == chosen["tf_keras"].keys()
    for key, mask in chosen["keras"].items():
        np.testing.assert_array_equal(mask, chosen["tf_keras"][key])
