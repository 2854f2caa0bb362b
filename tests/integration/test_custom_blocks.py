# SPDX-License-Identifier: Apache-2.0
"""Networks whose blocks are layers of their own: a masked model and its shrunk copy are one."""

import numpy as np
import pytest
import tensorflow as tf

import tfprune
from tests.custom_blocks import NAMES, network
from tests.tiny_models import KERASES


def masked(model):
    """The model with two channels in five of every group zero, but for those that must stay."""
    generator = np.random.default_rng(0)
    for weight in model.weights:
        weight.assign(np.asarray(weight) + generator.uniform(0.01, 0.1, weight.shape))
    structure = tfprune.Filter(coupled=True)
    tfprune.sparsify(model, "magnitude", 0.4, structure=structure)
    return model


def outputs(model, data):
    return [np.asarray(one) for one in tf.nest.flatten(model(data, training=False))]


@pytest.mark.filterwarnings(r"ignore:`build\(\)` was called on layer")
@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("family", sorted(KERASES))
def test_a_masked_network_of_blocks_is_its_shrunk_copy(family, name, tmp_path):
    model = masked(network(KERASES[family], name))
    pinned = [one for one in tfprune.channel_groups(model) if not one.prunable]
    assert all("model " in one.reason or "statistics" in one.reason for one in pinned)
    data = np.random.default_rng(1).normal(size=(2, *model.input_shape[1:])).astype("float32")
    small, report = tfprune.shrink(model)
    for one in report.groups:
        assert one.after == one.before - one.dead, one
    assert report.removed and small.count_params() == report.parameters[1] < report.parameters[0]
    assert report.macs[1] < report.macs[0] and not report.uncounted
    for before, after in zip(outputs(model, data), outputs(small, data), strict=True):
        assert np.abs(before - after).max() <= 1e-5 * np.abs(before).max()
    path = str(tmp_path / "small.keras")
    small.save(path)
    own = {cls.__name__: cls for cls in model.own_classes}
    loaded = KERASES[family].models.load_model(path, custom_objects=own)
    for before, after in zip(outputs(small, data), outputs(loaded, data), strict=True):
        np.testing.assert_array_equal(before, after)


@pytest.mark.parametrize("family", sorted(KERASES))
def test_kernels_in_copies_with_other_names_are_counted(family):
    keras = KERASES[family]

    class Late(keras.layers.Layer):
        def build(self, shape):
            self.dense = keras.layers.Dense(6)  # its copy gets a name of its own
            super().build(shape)

        def call(self, x):
            return self.dense(x)

    inputs = keras.Input((4,))
    model = keras.Model(inputs, keras.layers.Dense(2)(keras.layers.Dense(8)(Late()(inputs))))
    small, report = tfprune.shrink(model)
    assert small.count_params() == report.parameters[1] == report.parameters[0]
    assert report.macs == (4 * 6 + 6 * 8 + 8 * 2,) * 2 and not report.uncounted


@pytest.mark.parametrize("family", sorted(KERASES))
def test_two_sizes_of_a_block_change_at_once(family):
    keras = KERASES[family]

    class Bottleneck(keras.layers.Layer):
        def __init__(self, hidden, units, **settings):
            super().__init__(**settings)
            self.hidden, self.units = hidden, units

        def build(self, shape):
            self.wide = keras.layers.Dense(self.hidden, activation="relu")
            self.narrow = keras.layers.Dense(self.units)
            super().build(shape)

        def call(self, x):
            return self.narrow(self.wide(x))

        def get_config(self):
            return {**super().get_config(), "hidden": self.hidden, "units": self.units}

    inputs = keras.Input((4,))
    model = masked(keras.Model(inputs, keras.layers.Dense(2)(Bottleneck(20, 10)(inputs))))
    small, report = tfprune.shrink(model)
    assert {(one.before, one.after) for one in report.groups if one.dead} == {(20, 12), (10, 6)}
    data = np.random.default_rng(1).normal(size=(3, 4)).astype("float32")
    (before,), (after,) = outputs(model, data), outputs(small, data)
    np.testing.assert_allclose(before, after, rtol=1e-5)
