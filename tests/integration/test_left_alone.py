# SPDX-License-Identifier: Apache-2.0
"""Reports and smaller copies leave a wrapped model as it was, what its wrappers hold included."""

import numpy as np
import pytest

import tfprune
from tests.tiny_models import KERASES, cnn, compiled, fit
from tfprune.masks.schedules import Constant

HIDING = ("st3", "dpf", "movement_soft", "magnitude")  # the first three keep hidden weights


@pytest.fixture(params=KERASES)
def family(request):
    return request.param


def wrapped(family, method, **settings):
    """A wrapped model in the middle of its training, driven by nobody now."""
    model = tfprune.prune(cnn(family), method, schedule=Constant(0.5), **settings)
    fit(compiled(model, family), tfprune.PruningCallback(), epochs=1)
    return model


def held(model):
    """Every variable of a model, to the bit."""
    return [(one.name, np.asarray(one).tobytes()) for one in model.variables]


@pytest.mark.parametrize("method", HIDING)
def test_a_report_changes_nothing(family, method):
    model = wrapped(family, method)
    before = held(model)
    assert "not followed" not in tfprune.report(model).paths
    assert held(model) == before


def test_a_report_does_not_end_a_run(family):
    model = compiled(tfprune.prune(cnn(family), "st3", schedule=Constant(0.5)), family)
    told = []

    class Reports(KERASES[family].callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            before = held(model)
            told.append(tfprune.report(model).kept)
            assert held(model) == before

    alone = wrapped(family, "st3")
    fit(model, tfprune.PruningCallback(), Reports(), epochs=1)
    assert len(told) == 3 and held(model) == held(alone)


@pytest.mark.filterwarnings("ignore:Masked channels of .* may return")
def test_smaller_copies_change_nothing(family):
    model = wrapped(family, "st3", structure=tfprune.Filter(coupled=True))
    before = held(model)
    _, report = tfprune.shrink_to(model, tfprune.Budget(macs=0.2))
    assert held(model) == before
    small = report.record.replay(model)
    assert held(model) == before
    plain = report.record.replay(tfprune.strip_pruning(model))
    for one, other in zip(small.get_weights(), plain.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)
