# SPDX-License-Identifier: Apache-2.0
"""What cannot be measured: layers that stay dense, bad data, scores that say nothing."""

import numpy as np
import pytest
import tensorflow as tf
from input_models import measured, model_of
from tiny_models import KERASES, cnn, data, masks, with_weights

import tfprune
from tfprune.backend import view
from tfprune.statistics.calibration_data import CalibrationData
from tfprune.statistics.measured_model import Subject

families = pytest.mark.parametrize("family", KERASES)


# Layers whose input does not tell.


def odd(family):
    library = KERASES[family]
    layers = library.layers
    tokens = library.Input((6,), dtype="int32", name="tokens")
    image = library.Input((8, 8, 3), name="image")
    x = layers.Embedding(11, 4, name="table")(tokens)
    x = layers.Bidirectional(layers.LSTM(4, return_sequences=True, name="lstm"), name="both")(x)
    x = layers.GRU(3, name="gru")(x)
    y = layers.SeparableConv2D(4, 3, name="separable")(image)
    y = layers.ConvLSTM1D(3, 2, name="steps")(y)
    x = layers.Concatenate()([x, layers.Flatten()(y)])
    return with_weights(library.Model([tokens, image], layers.Dense(3, name="out")(x)))


def odd_data():
    generator = np.random.default_rng(0)
    return [generator.integers(0, 11, (12, 6)), generator.normal(size=(12, 8, 8, 3))]


RECURRENT = {
    f"{cell}/{which}"
    for cell in (
        "both/forward_lstm/lstm_cell",
        "both/backward_lstm/lstm_cell",
        "gru/gru_cell",
        "steps/conv_lstm_cell",
    )
    for which in ("kernel", "recurrent_kernel")
}


@families
@pytest.mark.parametrize(
    "method, names",
    [
        ("sipp", RECURRENT | {"table/embeddings", "separable/pointwise_kernel"}),
        ("pfp", RECURRENT | {"table/embeddings", "separable/pointwise_kernel"}),
        ("synflow", RECURRENT),
    ],
)
def test_they_stay_dense_with_a_reason_and_the_rest_is_pruned(family, method, names):
    model = odd(family)
    before = {item.site.name: item.variable.numpy() for item in Subject.of(view(model)).found}
    callback = tfprune.PruningCallback(method, 0.5, data=(odd_data(),))
    callback.start(model)
    callback.finish()
    reasons = {skip.name: skip.reason for skip in callback.driver.skipped}
    assert reasons.keys() == names
    for cell, word in (
        ("gru/gru_cell/kernel", "GRUCell"),
        ("both/forward_lstm/lstm_cell/kernel", "LSTMCell"),
    ):
        assert word in reasons[cell]
    if "separable/pointwise_kernel" in names:
        assert "result of the depthwise one" in reasons["separable/pointwise_kernel"]
    chosen = masks(callback)
    assert chosen.keys() == before.keys() - names and "out/kernel" in chosen
    assert not all(mask.all() for mask in chosen.values())
    for item in Subject.of(view(model)).found:
        if item.site.name in names:
            np.testing.assert_array_equal(item.variable.numpy(), before[item.site.name])
    assert names <= {skip.name for skip in callback.report.skipped}


@families
def test_a_model_of_nothing_else_says_why(family):
    layers = KERASES[family].layers
    model = model_of(family, layers.LSTM(3, name="lstm"), shape=(4, 2))
    callback = tfprune.PruningCallback("sipp", 0.5, data=np.ones((4, 4, 2)))
    with pytest.raises(ValueError, match=r"(?s)no weight that can be pruned.*LSTMCell does more"):
        callback.start(model)


@families
def test_other_weights_of_a_known_layer(family):
    class Own(KERASES[family].layers.Dense):
        def build(self, shape):
            super().build(shape)
            self.gain = self.add_weight(name="gain", shape=(4, 4), initializer="ones")

        def get_prunable_weights(self):
            return [self.kernel, self.gain]

        def call(self, x):
            return tf.matmul(super().call(x), tf.convert_to_tensor(self.gain))

    model = model_of(family, Own(4, name="own"), shape=(5,))
    callback = tfprune.PruningCallback("sipp", 0.5, data=np.ones((4, 5)))
    callback.start(model)
    (skip,) = callback.driver.skipped
    assert skip.name.startswith("own/") and "not known how Own uses" in skip.reason
    assert len(masks(callback)) == 1


# Bad input.


def started(family, source, method="sipp"):
    callback = tfprune.PruningCallback(method, schedule=tfprune.OneShot(0.5), data=source)
    callback.start(cnn(family))


IMAGES = data()[0]
WRONG = {
    "none": (None, r"computed from data: pass data=\(x, y\)"),
    "empty array": (IMAGES[:0], "yields no batch"),
    "empty data set": (
        tf.data.Dataset.from_tensor_slices(IMAGES).batch(4).take(0),
        "yields no batch",
    ),
    "a batch without examples": ([IMAGES[:0]], "batch of the data holds no example"),
    "nan": (np.where(IMAGES > 2, np.nan, IMAGES), "inputs that are NaN or infinite"),
    "infinite": (np.where(IMAGES > 2, np.inf, IMAGES), "inputs that are NaN or infinite"),
    "shape": (IMAGES[..., :1], r"inputs of shape \(24, 6, 6, 1\).*takes \(None, 6, 6, 2\)"),
    "one example": (list(IMAGES), r"inputs of shape \(6, 6, 2\).*takes"),
    "two inputs": (([IMAGES, IMAGES],), "takes"),
    "text": (["digits"], "A batch of the data is str"),
    "number": ([3.0], "A batch of the data is float"),
}


@families
@pytest.mark.parametrize("case", WRONG)
def test_bad_data_is_one_clear_error(family, case):
    source, message = WRONG[case]
    with pytest.raises(ValueError, match=message):
        started(family, source)


@families
def test_inputs_that_are_all_zero(family):
    model = model_of(family, KERASES[family].layers.Dense(3, use_bias=False), shape=(4,))
    before = model.get_weights()
    callback = tfprune.PruningCallback("sipp", 0.5, data=np.zeros((6, 4), "float32"))
    with pytest.raises(ValueError, match="mean_sensitivity is 0 at every weight. Are all inputs 0"):
        callback.start(model)
    np.testing.assert_array_equal(model.get_weights()[0], before[0])


@families
def test_weights_that_are_nan(family):
    layers = KERASES[family].layers
    model = model_of(family, layers.Dense(3), layers.Dense(2, name="out"), shape=(4,))
    model.layers[0].kernel.assign(model.layers[0].kernel * np.nan)
    with pytest.raises(ValueError, match="^The input of the layer 'out' is NaN or infinite"):
        measured(model, np.ones((6, 4), "float32"))


@families
@pytest.mark.parametrize("source", [IMAGES, (IMAGES,), (IMAGES, None)])
def test_scores_that_need_labels_say_so(family, source):
    loss = KERASES[family].losses.SparseCategoricalCrossentropy(from_logits=True)
    for method in ("snip", "taylor"):
        with pytest.raises(ValueError, match=r"data has no labels.*pass \(x, y\)"):
            started(family, CalibrationData(source, loss=loss), method)


# Nothing to choose by.


@families
@pytest.mark.parametrize("method", ["snip", "grasp", "taylor", "taylor_second_order", "fisher"])
def test_a_gradient_that_is_zero_everywhere(family, method):
    model = cnn(family)
    before = model.get_weights()
    source = CalibrationData(
        data(), loss=lambda labels, outputs: tf.reduce_sum(tf.round(outputs), -1)
    )
    callback = tfprune.PruningCallback(method, schedule=tfprune.OneShot(0.5), data=source)
    with pytest.raises(ValueError, match="nothing to choose .* by: the measured .* is 0 at every"):
        callback.start(model)
    for weight, value in zip(model.get_weights(), before):
        np.testing.assert_array_equal(weight, value)


@families
def test_a_gradient_that_is_nan_everywhere(family):
    def loss(labels, outputs):  # 0, with the derivative 0 * inf
        return tf.sqrt(tf.reduce_sum(0 * outputs, -1))

    callback = tfprune.PruningCallback("snip", 0.5, data=CalibrationData(data(), loss=loss))
    with pytest.raises(ValueError, match="the measured gradient holds NaN and no other number"):
        callback.start(cnn(family))
