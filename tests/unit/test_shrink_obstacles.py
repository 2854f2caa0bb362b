# SPDX-License-Identifier: Apache-2.0
"""What stays and why, how many channels are left, and what is refused."""

import keras
import numpy as np
import pytest
import tensorflow as tf
import tf_keras

import tfprune
from tests.shrink_models import deviation, examples, randomized
from tests.tiny_models import KERASES
from tfprune.channels.tracer import variables


def _chain(library, width=12):
    layers = library.layers
    inputs = library.Input((5, 5, 2))
    x = layers.Conv2D(width, 3, activation="relu", name="a")(inputs)
    x = layers.Conv2D(width, 1, activation="relu", name="b")(x)
    return library.Model(inputs, layers.Dense(2, name="c")(layers.GlobalMaxPooling2D()(x)))


def _kill(model, layer, channels):
    """Zero channels of a layer with their bias."""
    for name in ("kernel", "bias"):
        value = variables(model)[f"{layer}/{name}"].numpy()
        value[..., channels] = 0
        variables(model)[f"{layer}/{name}"].assign(value)


@pytest.mark.parametrize("family", sorted(KERASES))
def test_groups_keep_multiples_and_a_smallest_number(family):
    model = randomized(_chain(KERASES[family]))
    _kill(model, "a", [1, 2, 3, 5, 7, 11])
    _kill(model, "b", range(12))

    def left(**settings):
        small, report = tfprune.shrink(model, **settings)
        assert deviation(model, small, examples(model)) < 1e-5
        return [one for one in report.groups if one.dead]

    one, two = left()
    assert (one.after, two.after) == (6, 1)
    assert two.reasons == ("one channel stays of a group that is all dead",)
    assert not one.reasons and "11 dead ones stayed" not in str(two)
    one, two = left(round_to=8)
    assert (one.after, two.after) == (8, 8) and one.reasons == ("round_to=8",)
    assert [each.after for each in left(round_to=16)] == [12, 12]
    one, two = left(min_channels=7)
    assert (one.after, two.after) == (7, 7) and one.reasons == ("min_channels=7",)
    assert [each.after for each in left(round_to=4, min_channels=5)] == [8, 8]


def _slices(library, key):
    layers = library.layers
    inputs = library.Input((5, 5, 2))
    x = layers.Conv2D(8, 1, name="a")(inputs)
    return library.Model(inputs, layers.Conv2D(3, 1, name="b")(x[..., key]))


@pytest.mark.parametrize("family", sorted(KERASES))
@pytest.mark.parametrize(
    "key,dead,after",
    [
        (slice(1, 7), [1, 2, 4], 3),
        (slice(None, None, 2), [2, 3], 3),
        (slice(None, None, 2), [2, 4], 2),
        (slice(6, 1, -1), [3, 4], 3),
    ],
)
def test_slices_take_the_same_channels_as_before(family, key, dead, after):
    model = randomized(_slices(KERASES[family], key))
    _kill(model, "a", dead)
    small, report = tfprune.shrink(model)
    assert deviation(model, small, examples(model)) < 1e-6
    assert small.get_layer("b").kernel.shape[2] == after, str(report)


def test_slices_that_would_have_to_skip_unevenly_keep_their_channels():
    model = randomized(_slices(keras, slice(None, None, 2)))
    _kill(model, "a", [3])  # from 0, 2, 4, 6 of eight to 0, 2, 3, 5 of seven
    small, report = tfprune.shrink(model)
    assert deviation(model, small, examples(model)) == 0 and report.removed == 0
    group = next(one for one in report.groups if one.dead)
    assert "does not take neighbours" in group.reasons[0]


@pytest.mark.parametrize("family", sorted(KERASES))
def test_both_directions_keep_as_many_units(family):
    library = KERASES[family]
    inputs = library.Input((3, 2))
    x = library.layers.Bidirectional(library.layers.GRU(6, unroll=True), name="both")(inputs)
    model = randomized(library.Model(inputs, library.layers.Dense(2)(x)))
    for site, units in (("forward_gru", [0, 1, 2]), ("backward_gru", [5])):
        for name in ("kernel", "recurrent_kernel", "bias"):
            variable = next(
                one
                for key, one in variables(model).items()
                if site in key and key.endswith(f"/{name}")
            )
            value = variable.numpy()
            value.reshape(-1, 3, 6)[..., units] = 0
            variable.assign(value)
    small, report = tfprune.shrink(model)
    assert deviation(model, small, examples(model)) < 1e-6
    assert [one.after for one in report.groups if one.dead] == [5, 5]
    assert "as many units in each direction" in report.to_markdown()


@pytest.mark.parametrize("family", sorted(KERASES))
def test_a_model_called_with_unequal_tensors_keeps_its_channels(family):
    library = KERASES[family]
    layers = library.layers
    inner = library.Input((5, 5, 6))
    block = library.Model(inner, layers.ReLU()(inner), name="block")
    inputs = library.Input((5, 5, 2))
    a = block(layers.Conv2D(6, 1, name="a")(inputs))
    b = block(layers.Conv2D(6, 1, name="b")(inputs))
    x = layers.Concatenate()([a, b])
    model = randomized(library.Model(inputs, layers.Conv2D(2, 1, name="c")(x)))
    _kill(model, "a", [1, 2])
    _kill(model, "b", [1])
    small, report = tfprune.shrink(model)
    assert report.removed == 0
    assert "block is called with tensors of different sizes" in report.to_markdown()
    _kill(model, "b", [4])
    small, report = tfprune.shrink(model)
    assert report.removed == 4 and deviation(model, small, examples(model)) < 1e-6


def _doubled(x):
    return tf.math.softplus(2 * x)


@pytest.mark.parametrize("family", sorted(KERASES))
def test_what_an_unknown_layer_reads_stays_and_nothing_else(family):
    library = KERASES[family]
    layers = library.layers
    inputs = library.Input((5, 5, 2))
    x = layers.Conv2D(6, 1, name="a")(inputs)
    x = layers.Lambda(lambda t: tf.sin(2 * tf.sort(t)), name="own")(x)
    x = layers.Conv2D(6, 1, name="b")(x)
    x = layers.Conv2D(4, 1, activation=_doubled, name="c")(x)
    model = randomized(library.Model(inputs, layers.Conv2D(2, 1, name="d")(x)))
    for layer in "abc":
        _kill(model, layer, [0, 1])
    small, report = tfprune.shrink(model)
    kept = {one.name: (one.after, one.reasons) for one in report.groups}
    assert kept["a"] == (6, ("unknown operation own/TopKV2",)) and kept["b"] == (4, ())
    assert kept["c"] == (4, ("unknown activation _doubled in c",))
    assert deviation(model, small, examples(model)) < 1e-6


class _Own(keras.Model):
    def __init__(self):
        super().__init__(name="own")
        self.dense = keras.layers.Dense(2)

    def call(self, inputs):
        return self.dense(inputs)


class _Closed(keras.layers.Layer):
    def __init__(self, function):
        super().__init__(name="closed")
        self.function = function

    def call(self, inputs):
        return self.function(inputs)


def test_what_cannot_be_shrunk_is_refused_with_what_to_do():
    own = _Own()
    own(np.ones((1, 3), "float32"))
    with pytest.raises(ValueError, match="'own' is a subclassed model.*Write it as a functional"):
        tfprune.shrink(own)
    with pytest.raises(ValueError, match="not built.*model.build"):
        tfprune.shrink(keras.Sequential([keras.layers.Dense(2)]))
    with pytest.raises(TypeError, match="Expected a Keras model"):
        tfprune.shrink(keras.layers.Dense(2))
    with pytest.raises(TypeError):
        tfprune.shrink("model")
    model = _chain(keras)
    for name, value in (("round_to", 0), ("min_channels", -1), ("round_to", 2.5)):
        with pytest.raises(ValueError, match=f"{name} is a number of channels.*got"):
            tfprune.shrink(model, **{name: value})
    inputs = keras.Input((3,))
    model = keras.Model(inputs, keras.layers.Dense(2)(_Closed(tf.negative)(inputs)))
    with pytest.raises(ValueError, match=r"'closed' \(_Closed\) cannot be copied"):
        tfprune.reinitialize(model)


class _Named(keras.Model):
    """A functional model with a constructor and a training step of its own."""

    def __init__(self, width):
        inputs = keras.Input((3,))
        super().__init__(inputs, keras.layers.Dense(2)(keras.layers.Dense(width)(inputs)))

    def train_step(self, data):
        return super().train_step(data)


def test_a_class_of_its_own_that_is_lost_is_named():
    model = _Named(4)
    small, report = tfprune.shrink(model)
    assert "_Named has a constructor of its own" in report.notes[0]
    np.testing.assert_allclose(small(np.ones((2, 3))), model(np.ones((2, 3))), rtol=1e-6)


def test_a_loss_beside_the_graph_is_named():
    inputs = tf_keras.Input((3,))
    x = tf_keras.layers.Dense(4)(inputs)
    model = tf_keras.Model(inputs, tf_keras.layers.Dense(2)(x))
    model.add_loss(tf.reduce_sum(x))
    small, report = tfprune.shrink(model)
    assert report.notes == ("losses and metrics of add_loss and add_metric are not taken over",)
    np.testing.assert_allclose(small(np.ones((2, 3))), model(np.ones((2, 3))), rtol=1e-6)


def _distance(target, output):
    return tf.reduce_mean(tf.abs(target - output), axis=-1)


@pytest.mark.filterwarnings("ignore:The object being serialized includes a `lambda`")
@pytest.mark.parametrize("family", sorted(KERASES))
def test_functions_given_to_compile_are_taken_over(family):
    library = KERASES[family]
    model = library.Sequential(
        [library.Input((3,)), library.layers.Dense(4), library.layers.Dense(2)]
    )
    model.compile(library.optimizers.Adam(0.25), _distance, metrics=[_distance, "mae"])
    small, report = tfprune.shrink(model)
    assert not report.notes and float(small.optimizer.learning_rate) == 0.25
    data = np.ones((4, 3), "float32"), np.ones((4, 2), "float32")
    assert "_distance" in small.train_on_batch(*data, return_dict=True)
    model.compile("sgd", lambda target, output: _distance(target, output))
    small, report = tfprune.shrink(model, optimizer=True)
    assert getattr(small, "optimizer", None) is None
    assert "call model.compile(...)" in report.notes[-2]
    assert "the model is not compiled" in report.notes[-1]
