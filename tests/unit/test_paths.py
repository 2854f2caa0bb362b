# SPDX-License-Identifier: Apache-2.0
"""Kept weights that lie on no path, counted by hand, in both Kerases."""

import keras
import numpy as np
import pytest
from tiny_models import KERASES, cnn, zeros

import tfprune

everywhere = pytest.mark.parametrize("family", KERASES)


def stranded(model):
    return {site.name: site.stranded for site in tfprune.report(model).sites}


def change(model, layer, kernel):
    weights = model.get_layer(layer).get_weights()
    model.get_layer(layer).set_weights([kernel(weights[0].copy()), *weights[1:]])


@everywhere
def test_a_unit_that_nothing_enters_strands_what_leaves_it(family):
    model = cnn(family)
    assert set(stranded(model).values()) == {0}
    change(model, "hidden", lambda kernel: kernel * (np.arange(8) != 3))
    before = [weight.tobytes() for weight in model.get_weights()]
    report = tfprune.report(model)
    assert stranded(model) == {"conv/kernel": 0, "hidden/kernel": 0, "logits/kernel": 3}
    assert "3 of the" in report.paths and "3 of logits/kernel" in report.paths
    assert report.paths in " ".join(str(report).split())
    assert before == [weight.tobytes() for weight in model.get_weights()]


@everywhere
def test_a_unit_that_nothing_reads_strands_what_enters_it(family):
    model = cnn(family)
    change(model, "logits", lambda kernel: kernel * (np.arange(8) != 5)[:, None])
    assert stranded(model) == {"conv/kernel": 0, "hidden/kernel": 64, "logits/kernel": 0}


@everywhere
def test_signs_do_not_cancel_and_tiny_weights_count(family):
    model = cnn(family)

    def small(kernel):
        kernel[...] = 1e-30
        kernel[::2] = -1e-30
        return kernel

    change(model, "hidden", small)
    assert set(stranded(model).values()) == {0}


@everywhere
def test_no_path_is_left(family):
    model = cnn(family)
    change(model, "hidden", np.zeros_like)
    report = tfprune.report(model)
    assert report.paths == "none is left: the outputs are constants"
    assert stranded(model) == {"conv/kernel": 72, "hidden/kernel": 0, "logits/kernel": 24}


@everywhere
def test_synflow_strands_nothing_where_magnitude_does(family):
    counts = {}
    for method in ("magnitude", "synflow"):
        model = cnn(family)
        tfprune.sparsify(model, method, 0.97, allocation=tfprune.Global())
        assert sum(mask.sum() for mask in zeros(model).values()) == round(608 * 0.03)
        counts[method] = sum(stranded(model).values())
    assert counts["synflow"] == 0 < counts["magnitude"]


@everywhere
def test_where_paths_cannot_be_followed_the_report_says_why(family):
    layers, library = KERASES[family].layers, KERASES[family]
    inputs = library.Input((None, 4))
    model = library.Model(inputs, layers.Dense(2)(layers.LSTM(3)(inputs)))
    report = tfprune.report(model)
    assert report.paths.startswith("not followed (") and "LSTM" in report.paths
    assert all(site.stranded is None for site in report.sites)


def test_gates_that_stand_between_layers():
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2), keras.layers.Dense(1)])
    assert "ask after strip_pruning" in tfprune.report(tfprune.prune(model, "djpq")).paths
