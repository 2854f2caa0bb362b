# SPDX-License-Identifier: Apache-2.0
"""What users say of layers of their own."""

import numpy as np
import pytest
import tensorflow as tf

import tfprune
from tests.tiny_models import KERASES


@pytest.fixture(params=sorted(KERASES))
def keras(request):
    return KERASES[request.param]


def _network(keras, first, between):
    inputs = keras.Input((4,))
    x = between(first(inputs))
    return keras.Model(inputs, keras.layers.Dense(2, name="last")(x))


def _prunable(model):
    return [one.name for one in tfprune.channel_groups(model) if one.prunable]


def test_a_layer_that_is_not_traceable_can_be_said_to_be_elementwise(keras):
    class Odd(keras.layers.Layer):
        def call(self, inputs):
            return tf.reshape(
                tf.nn.relu(tf.numpy_function(np.copy, [inputs], inputs.dtype)), tf.shape(inputs)
            )

        def compute_output_shape(self, shape):
            return shape

    def model():
        x = keras.Input((4,))
        return keras.Sequential(
            [x, keras.layers.Dense(6, name="first"), Odd(), keras.layers.Softmax()]
        )

    (group,) = [one for one in tfprune.channel_groups(model()) if one.name == "first"]
    assert "softmax" not in group.reason
    tfprune.register_layer(Odd, elementwise=True)
    (group,) = [one for one in tfprune.channel_groups(model()) if one.name == "first"]
    assert "softmax" in group.reason


def test_a_layer_like_dense_is_pruned_and_shrunk_as_dense(keras):
    class Own(keras.layers.Layer):
        def __init__(self, units, **settings):
            super().__init__(**settings)
            self.units, self.activation = units, keras.activations.linear

        def build(self, shape):
            self.kernel = self.add_weight(name="kernel", shape=(shape[-1], self.units))
            super().build(shape)

        def call(self, inputs):
            return tf.matmul(inputs, self.kernel)

        def get_config(self):
            return {**super().get_config(), "units": self.units}

    assert _prunable(_network(keras, Own(8, name="own"), keras.layers.ReLU())) == []
    assert tfprune.register_layer(Own, like=keras.layers.Dense) is Own
    model = _network(keras, Own(8, name="own"), keras.layers.ReLU())
    assert _prunable(model) == ["own"]
    small, _ = tfprune.shrink_to(model, tfprune.Budget(parameters=0.5))
    assert small.get_layer("own").units == 3 and type(small.get_layer("own")) is Own


def test_what_is_said_is_checked(keras):
    class Own(keras.layers.Layer):
        pass

    with pytest.raises(ValueError, match="What does Own do. Pass one of"):
        tfprune.register_layer(Own)
    with pytest.raises(ValueError, match="like=Own: nothing is known"):
        tfprune.register_layer(Own, like=Own)
    with pytest.raises(TypeError, match="expected a class of layers"):
        tfprune.register_layer(Own(), elementwise=True)
    with pytest.raises(TypeError, match="expected a tfprune.LayerKind"):
        tfprune.register_layer(Own, kind="Dense")
