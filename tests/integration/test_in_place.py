# SPDX-License-Identifier: Apache-2.0
"""Passes that are compiled and write in place give what TensorFlow's own operations give."""

import numpy as np
import pytest
import tensorflow as tf

import tfprune
from tests.tiny_models import KERASES
from tfprune.methods.gates import Moment
from tfprune.training import in_place

METHODS = ["magnitude", "dpf", "srste", "movement", "spp", "dpp", "rigl", "st3"]


def trained(family, method, wrap=False):
    """Everything that a run of some steps leaves: weights, masks, what is hidden."""
    keras = KERASES[family]
    keras.utils.set_random_seed(3)
    layers = [keras.layers.Dense(12, name="a"), keras.layers.Dense(4, name="b")]
    model = keras.Sequential([keras.Input((16,)), *layers])  # draws are seeded by names
    fixed = tfprune.get_method(method).rule.structure.fixed is not None
    asked = (method,) if fixed else (method, 0.5)
    if wrap:
        model = tfprune.prune(model, *asked)
    model.compile("adam", "mse")
    callback = tfprune.PruningCallback(*() if wrap else asked)
    x = np.random.default_rng(1).normal(size=(48, 16)).astype("float32")
    model.fit(x, x[:, :4], batch_size=4, verbose=0, shuffle=False, callbacks=[callback])
    targets = callback.driver.targets
    held = [one for target in targets for one in (target.kernel, target.mask, target.hidden)]
    return [one.numpy() for one in held if one is not None]


@pytest.mark.parametrize("method", METHODS)
def test_the_same_bits_as_without(monkeypatch, method):
    plain = trained("keras", method)
    asked, pays = [], in_place.pays
    monkeypatch.setattr(in_place, "LEAST", 1)
    monkeypatch.setattr(in_place, "pays", lambda kernel: asked.append(pays(kernel)) or asked[-1])
    for one, other in zip(plain, trained("keras", method), strict=True):
        np.testing.assert_array_equal(one, other)
    assert any(asked)


@pytest.mark.parametrize("family", KERASES)
def test_wrapped_layers_too(monkeypatch, family):
    plain = trained(family, "dpf", wrap=True)
    monkeypatch.setattr(in_place, "LEAST", 1)
    for one, other in zip(plain, trained(family, "dpf", wrap=True), strict=True):
        np.testing.assert_array_equal(one, other)


def test_nothing_hidden_is_lost_where_masks_return():
    kernel = tf.Variable([1.0, 2.0, 0.0, 0.0])
    hidden = tf.Variable([0.0, 0.0, 3.0, 4.0])
    kept = tf.constant([True, False, True, False])
    in_place.take_back(kernel, hidden, kept)
    in_place.hide_pruned(kernel, hidden, kept)
    in_place.zero_pruned(kernel, kept)
    assert kernel.numpy().tolist() == [1, 0, 3, 0] and hidden.numpy().tolist() == [0, 2, 0, 4]


def test_nan_of_pruned_weights_stays_visible_where_a_gate_opens():
    weight, kept = tf.constant([1.0, np.nan, -3.0]), tf.constant([True, False, False])
    gate = tfprune.get_method("set").gate
    seen, _ = gate.open(Moment(None, None, weight, kept, {}))
    kernel, hidden = tf.Variable(weight), tf.Variable(tf.zeros(3))
    in_place.split(kernel, hidden, kept)
    np.testing.assert_array_equal(seen, kernel)
    assert np.isnan(seen[1])
