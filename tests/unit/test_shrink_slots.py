# SPDX-License-Identifier: Apache-2.0
"""What an optimizer keeps is taken over into the optimizer of the smaller model, or named."""

import numpy as np
import pytest

import tfprune
from tests.tiny_models import KERASES
from tfprune.backend import adapter_of

everywhere = pytest.mark.parametrize("family", sorted(KERASES))


def _trained(family, optimizer):
    """Two Dense layers whose optimizer keeps random numbers; three units of the first are dead."""
    library = KERASES[family]
    layers = library.layers
    model = library.Sequential(
        [
            library.Input((4,)),
            layers.Dense(8, name="a"),
            layers.Dense(8, name="b"),
            layers.Dense(2, name="c"),
        ]
    )
    model.compile(optimizer(library.optimizers), "mse")
    home, generator = adapter_of(model), np.random.default_rng(0)
    home.build_slots(model.optimizer, model.trainable_variables)
    for name in ("a", "b", "c"):
        for slot in _held(model, name).values():
            slot.assign(generator.uniform(1, 2, slot.shape).astype(slot.dtype.as_numpy_dtype))
    for number, counter in enumerate(home.counters(model.optimizer).values()):
        counter.assign(number + 3)
    kernel, bias = model.get_layer("a").get_weights()
    kernel[:, 2:5] = bias[2:5] = 0
    model.get_layer("a").set_weights([kernel, bias])
    return model


def _held(model, layer):
    home = adapter_of(model)
    return home.slots(home.innermost_optimizer(model), model.get_layer(layer).kernel)


def _slots(model, layer):
    return {name: one.numpy() for name, one in _held(model, layer).items()}


@everywhere
def test_factored_moments_of_smaller_weights_start_anew_and_are_named(family):
    model = _trained(family, lambda optimizers: optimizers.Adafactor(0.01))
    small, report = tfprune.shrink(model, optimizer=True)
    (note,) = report.notes
    assert note.startswith("c, r of ") and note.endswith("in the optimizer start anew")
    assert "a/kernel" in note and "b/kernel" in note and "c/kernel" not in note.replace("c, r", "")
    was, now = _slots(model, "c"), _slots(small, "c")
    assert set(now) == {"r", "c", "v"} and now["r"].any()
    for slot in now:
        np.testing.assert_array_equal(now[slot], was[slot])
    was, now = _slots(model, "b")["v"], _slots(small, "b")["v"]
    np.testing.assert_array_equal(now, was[[0, 1, 5, 6, 7]])


@everywhere
def test_averages_of_weights_are_taken_over(family):
    model = _trained(family, lambda optimizers: optimizers.SGD(0.01, 0.9, use_ema=True))
    small, report = tfprune.shrink(model, optimizer=True)
    was, now = _slots(model, "b"), _slots(small, "b")
    assert report.notes == () and len(now) == 2
    for slot in now:
        np.testing.assert_array_equal(now[slot], was[slot][[0, 1, 5, 6, 7]])
        assert now[slot].any()


@everywhere
def test_counters_are_taken_over(family):
    def optimizer(optimizers):
        home = optimizers if family == "keras" else KERASES[family].mixed_precision
        return home.LossScaleOptimizer(optimizers.Nadam(0.01))

    model = _trained(family, optimizer)
    small, report = tfprune.shrink(model, optimizer=True)
    home = adapter_of(model)
    was, now = (
        {name: float(one) for name, one in home.counters(each.optimizer).items()}
        for each in (model, small)
    )
    assert was == now and sorted(now.values()) == [3.0 + one for one in range(len(now))]
    scale = (
        {"step_counter", "dynamic_scale"}
        if family == "keras"
        else {"_counter", "_current_loss_scale"}
    )
    assert scale | {"inner _iterations", "inner _u_product"} <= set(now)
    assert report.notes == ()


@everywhere
def test_what_was_not_trained_is_named(family):
    model = _trained(family, lambda optimizers: optimizers.Adam(0.01))
    model.get_layer("b").trainable = False
    model.compile("adam", "mse")
    home = adapter_of(model)
    home.build_slots(model.optimizer, model.trainable_variables)
    model.get_layer("b").trainable = True
    _, report = tfprune.shrink(model, optimizer=True)
    (note,) = report.notes
    assert note.startswith("all slots of ") and "b/kernel" in note and "b/bias" in note
