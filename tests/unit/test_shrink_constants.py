# SPDX-License-Identifier: Apache-2.0
"""What dead channels carry: folded where that is exact, named where it is not."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import tfprune
from tests.shrink_models import deviation, examples, masked, outputs, randomized
from tests.tiny_models import KERASES
from tfprune.channels.tracer import variables
from tfprune.surgery.agreement import Agreement


def _readers(library):
    """Every kind of layer that takes up constants, with a bias and without."""
    layers = library.layers
    image, steps = library.Input((6, 6, 3)), library.Input((4, 3))
    x = layers.Conv2D(4, 1, activation="sigmoid", name="one")(image)
    x = layers.Conv2D(4, 3, strides=2, use_bias=False, name="bare")(x)
    x = layers.BatchNormalization(name="norm")(x)
    x = layers.Conv2D(4, 1, groups=2, use_bias=False, activation="sigmoid", name="grouped")(x)
    x = layers.SeparableConv2D(4, 2, activation="sigmoid", name="separable")(x)
    x = layers.ZeroPadding2D()(x)
    x = layers.Dense(4, use_bias=False, activation="sigmoid", name="flat")(layers.Flatten()(x))
    y = layers.Dense(4, activation="sigmoid", name="first")(steps)
    y = layers.EinsumDense(
        "abc,cd->abd", output_shape=(None, 4), activation="sigmoid", name="einsum"
    )(y)
    y = layers.TimeDistributed(layers.Dense(4, use_bias=False, activation="sigmoid"))(y)
    z = layers.GRU(2, unroll=True, use_bias=False, name="gru")(y)
    y = layers.LSTM(2, unroll=True, name="lstm")(y)
    return library.Model(
        [image, steps], layers.Dense(2, use_bias=False, name="out")(layers.Concatenate()([x, y, z]))
    )


@pytest.mark.parametrize("family", sorted(KERASES))
def test_constants_are_folded_into_every_kind_of_reader(family):
    model = randomized(_readers(KERASES[family]))
    dead = masked(model, constants=True)
    passing = variables(model)["separable/depthwise_kernel"]
    passing.assign(np.random.default_rng(7).normal(size=passing.shape))
    # The state of a unit with a bias moves although nothing drives it.
    moving = {name: count for name, count in dead.items() if name.startswith("lstm")}
    small, report = tfprune.shrink(model)
    assert deviation(model, small, examples(model)) < 1e-5
    assert report.removed == sum(dead.values()) - sum(moving.values()), str(report)
    into = {one.reader: one.into for one in report.folded}
    assert into["bare/kernel"] == "moving_mean of norm"
    assert into["separable/pointwise_kernel"] == into["lstm/lstm_cell/kernel"] == "bias"
    bare = (
        "grouped/kernel",
        "flat/kernel",
        "einsum/kernel",
        "out/kernel",
        "gru/gru_cell/kernel",
        "time_distributed/dense/kernel",
    )
    new = {site for site, where in into.items() if where == "a new bias"}
    assert {site.split("_")[0].split("/")[0] for site in new} == {
        site.split("_")[0].split("/")[0] for site in bare
    }
    assert not report.borders
    again, nothing = tfprune.shrink(small)
    assert nothing.removed == 0 and deviation(small, again, examples(model)) < 1e-6


def _same(library):
    layers = library.layers
    inputs = library.Input((8, 8, 2))
    x = layers.Conv2D(4, 1, activation="sigmoid", name="dead")(inputs)
    return library.Model(inputs, layers.Conv2D(3, 3, padding="same", name="reads")(x))


@pytest.mark.parametrize("family", sorted(KERASES))
def test_a_border_where_folding_is_not_exact_stays_unless_asked_for(family):
    model = randomized(_same(KERASES[family]))
    masked(model, constants=True)
    data = examples(model)
    same, report = tfprune.shrink(model, data=data)
    assert report.removed == 0 and deviation(model, same, data) == 0
    (reason,) = next(one.reasons for one in report.groups if one.name == "dead")
    assert reason.startswith("reads reads zeros beside it at the border; borders=True folds it")
    assert report.agreement == Agreement(4, 0.0, 0.0)
    small, report = tfprune.shrink(model, borders=True, data=data)
    (one,) = report.borders
    assert (one.reader, one.channels, one.into) == ("reads/kernel", 2, "bias")
    assert "exact but for the border" in report.to_markdown()
    difference = np.abs(outputs(model, data) - outputs(small, data)).reshape(4, 8, 8, 3)
    assert difference[:, 1:-1, 1:-1].max() < 1e-5 < 1e-2 < difference.max()
    classes = [outputs(each, data).reshape(-1, 3).argmax(-1) for each in (model, small)]
    assert report.agreement.deviation == pytest.approx(deviation(model, small, data), rel=1e-6)
    assert report.agreement.changed == np.mean(classes[0] != classes[1]) > 0
    assert f"{report.agreement.changed:.4%} of the classes change" in report.to_markdown()
    assert report.to_dict()["agreement"]["examples"] == 4


@pytest.mark.parametrize(
    "make, error, words",
    [
        (
            lambda x: (x, np.zeros(4)),
            ValueError,
            r"2 arrays, but .* 1 input: .*pass x, not \(x, y\)",
        ),
        (
            lambda x: tf.data.Dataset.from_tensors(x),
            TypeError,
            "expected arrays .*got _TensorDataset",
        ),
        (
            lambda x: tfprune.CalibrationData((x,)),
            TypeError,
            "expected arrays or tensors.*got CalibrationData",
        ),
        (lambda x: x.tolist(), TypeError, "expected arrays or tensors.*got float"),
        (lambda x: x * np.nan, ValueError, "holds NaN or infinity"),
    ],
)
def test_data_that_is_no_inputs_is_refused(make, error, words):
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)])
    with pytest.raises(error, match=words):
        tfprune.shrink(model, data=make(np.ones((4, 3), "float32")))


def test_a_channel_that_differs_between_places_stays():
    inputs = keras.Input((8, 8, 2))
    x = keras.layers.Conv2D(4, 1, activation="sigmoid", name="a")(inputs)
    x = keras.layers.ZeroPadding2D()(x)
    x = keras.layers.Conv2D(2, 3, name="b")(x)
    model = randomized(keras.Model(inputs, x))
    masked(model, constants=True)
    small, report = tfprune.shrink(model)
    assert small.get_layer("a").filters == 4
    group = next(one for one in report.groups if one.name == "a")
    assert (group.before, group.after, group.dead) == (4, 4, 2)
    assert group.reasons == ("b/kernel does not read a constant",)


def test_queries_and_keys_without_half_their_width_are_scaled_as_before():
    inputs = keras.Input((5, 4))
    x = keras.layers.MultiHeadAttention(2, 4, use_bias=False, name="mha")(inputs, inputs)
    model = randomized(keras.Model(inputs, keras.layers.Dense(2)(x)))
    masked(model)
    small, report = tfprune.shrink(model)
    config = small.get_layer("mha").get_config()
    assert (config["num_heads"], config["key_dim"], config["value_dim"]) == (1, 2, 2)
    assert deviation(model, small, examples(model)) < 1e-5


def test_examples_are_asked_for_where_random_inputs_do_not_do():
    inputs = keras.Input((2,), dtype="string")
    x = keras.layers.StringLookup(vocabulary=["a", "b"])(inputs)
    x = keras.layers.Embedding(4, 6)(x)
    x = keras.layers.Dense(4, name="dense")(x)
    model = randomized(keras.Model(inputs, keras.layers.Dense(2, name="out")(x)))
    masked(model, constants=True)
    with pytest.raises(ValueError, match=r"data=inputs"):
        tfprune.shrink(model)
    words = tf.constant([["a", "b"], ["b", "b"]])
    small, report = tfprune.shrink(model, data=words)
    assert report.removed == 5 and deviation(model, small, words) < 1e-5
