# SPDX-License-Identifier: Apache-2.0
"""What joint pruning and quantization cannot do says so, in both Kerases."""

import numpy as np
import pytest
from joint_models import cores, prune, residual
from tiny_models import KERASES, compiled, fit

import tfprune
from tfprune.backend import view
from tfprune.training import model_hooks

everywhere = pytest.mark.parametrize("family", KERASES)


@everywhere
def test_the_callback_alone_is_refused(family):
    model = compiled(residual(family), family)
    with pytest.raises(ValueError, match=r"not wrapped for it.*tfprune.prune\(model, 'djpq'\)"):
        fit(model, tfprune.PruningCallback("djpq"))


@everywhere
def test_without_the_callback_training_is_refused(family):
    library = KERASES[family]
    model = library.Sequential(
        [library.Input((6, 6, 2)), library.layers.Flatten(), library.layers.Dense(3)]
    )
    with pytest.raises(Exception, match="nothing prunes it"):
        fit(compiled(prune(model), family))


@everywhere
def test_a_wrapped_model_knows_its_method(family):
    model = compiled(prune(residual(family)), family)
    with pytest.raises(ValueError, match=r"use PruningCallback\(\) without"):
        fit(model, tfprune.PruningCallback("djpq"))
    with pytest.raises(ValueError, match="wrapped for pruning already"):
        prune(model)


@everywhere
def test_no_sparsity_is_asked_for(family):
    for settings in (
        {"sparsity": 0.5},
        {"schedule": tfprune.OneShot(0.5)},
        {"structure": tfprune.Element()},
        {"allocation": tfprune.Global()},
    ):
        with pytest.raises(ValueError, match=r"'djpq' finds out by itself.*DJPQConfig\(bops=2.0\)"):
            tfprune.prune(residual(family), "djpq", **settings)


@everywhere
def test_what_is_no_whole_model_is_refused(family):
    library = KERASES[family]
    with pytest.raises(ValueError, match="cannot wrap layers one by one"):
        tfprune.prune(library.layers.Dense(3), "djpq")
    with pytest.raises(ValueError, match="cannot wrap layers one by one"):
        tfprune.prune([library.layers.Dense(3)], "djpq")
    with pytest.raises(ValueError, match="needs a functional or Sequential model"):
        tfprune.prune(library.Sequential([library.layers.Dense(3)]), "djpq")
    recurrent = library.Sequential([library.Input((4, 3)), library.layers.LSTM(2)])
    with pytest.raises(ValueError, match="no layer that can be quantized"):
        tfprune.prune(recurrent, "djpq")


@everywhere
def test_a_model_is_not_stripped_in_the_middle_of_a_run(family):
    model = prune(residual(family))
    model_hooks.begin(view(model), [])
    with pytest.raises(ValueError, match="being trained.*finish"):
        tfprune.strip_pruning(model)
    model_hooks.finish(view(model))
    assert not any(core.is_running for core in cores(model).values())
    layer = next(one for one in model.layers if one.name.endswith("stem"))
    assert tfprune.strip_pruning(layer).name == "stem"


@pytest.mark.parametrize(
    "settings, said",
    [
        ({"form": "both"}, "form='both': expected 'relative' or 'log'"),
        ({"width": 1}, "width=1: expected 2 to 32"),
        ({"kl": -1}, "kl=-1"),
        ({"bops": np.nan}, "bops=nan"),
        ({"rate": 0}, "rate=0: expected a number above 0"),
        ({"threshold": 0}, "threshold=0"),
        ({"ramp": -1}, "ramp=-1"),
    ],
)
def test_settings_out_of_range(settings, said):
    with pytest.raises(ValueError, match=said):
        tfprune.DJPQConfig(**settings)


@everywhere
def test_why_channels_have_no_gate(family):
    library = KERASES[family]
    layers = library.layers
    inputs = library.Input((6, 6, 2))
    x = layers.Conv2D(3, 1, activation="sigmoid", name="a")(inputs)
    x = layers.BatchNormalization(scale=False)(layers.Conv2D(4, 1, name="b")(x))
    x = layers.DepthwiseConv2D(3, name="d")(x)
    x = layers.Conv2D(4, 1, name="c")(x)
    shared = layers.Dense(4, name="s")
    x = layers.Dense(2, name="e")(shared(shared(x)))
    model = prune(library.Model(inputs, x))
    said = " ".join(tfprune.report(model).remarks)
    for text in (
        "a: its channels have no gate: a/kernel: its activation sigmoid",
        "no gamma or no beta",
        "s is used several times",
        "e: its channels have no gate: model output",
    ):
        assert text in said


@everywhere
def test_what_is_not_quantized_is_named(family):
    library = KERASES[family]
    layers = library.layers
    inputs = library.Input((5, 4))
    model = prune(library.Model(inputs, layers.Dense(3)(layers.LSTM(4, name="states")(inputs))))
    said = " ".join(tfprune.report(model).remarks)
    assert "kernel: not quantized: only Dense, EinsumDense and convolutions are" in said
    assert said.count("not quantized: ") == 2  # its kernel and its recurrent one
