# SPDX-License-Identifier: Apache-2.0
"""Variables with several owners: what reads them keeps them, and copies share them again."""

import keras
import numpy as np
import pytest
import tensorflow as tf
import tf_keras

import tfprune
from tests.shrink_models import deviation, examples, masked, randomized
from tests.tiny_models import KERASES

everywhere = pytest.mark.parametrize("family", sorted(KERASES))


def _scored(library):
    """A layer of one's own that reads the table of another layer, which it holds."""

    @library.utils.register_keras_serializable("shrink_ties")
    class Scored(library.layers.Layer):
        def __init__(self, table, **kwargs):
            super().__init__(**kwargs)
            self.own = library.layers.Dense(4, use_bias=False)
            self.table = table

        def build(self, shape):
            self.own.build((None, 4))
            super().build(shape)

        def call(self, inputs):
            table = tf.convert_to_tensor(self.table.embeddings)
            return self.own(tf.matmul(inputs, table, transpose_b=True))

        def get_config(self):
            return {**super().get_config(), "table": library.layers.serialize(self.table)}

        @classmethod
        def from_config(cls, config):
            return cls(library.layers.deserialize(config.pop("table")), **config)

    return Scored


def _table(library, last):
    """Tokens through an embedding and two Dense layers into what `last` makes of both."""
    inputs = library.Input((6,), dtype="int32")
    table = library.layers.Embedding(4, 8, name="table")
    x = library.layers.Dense(8, activation="relu", name="mid")(table(inputs))
    x = library.layers.Dense(8, name="out")(x)
    return randomized(library.Model(inputs, last(table)(x)))


def _reasons(model):
    return {one.name: one.reason for one in tfprune.channel_groups(model)}


@everywhere
def test_what_a_layer_of_unknown_kind_reads_stays_and_is_shared_again(family):
    library = KERASES[family]
    model = _table(library, _scored(library))
    reasons = _reasons(model)
    assert "scored/BatchMatMulV2 reads it" in reasons["table"] and reasons["mid"] is None
    masked(model)
    data = examples(model) % 4
    small, report = tfprune.shrink(model)
    assert deviation(model, small, data) < 1e-6
    assert report.removed == 4 and small.count_params() == report.parameters[1] == 32 + 36 + 40 + 16
    assert small.get_layer("scored").table is small.get_layer("table")
    before = small(data).numpy()
    small.get_layer("table").embeddings.assign(np.zeros((4, 8)))
    assert not small(data).numpy().any() and before.any()
    assert tfprune.reinitialize(model).count_params() == model.count_params()


@everywhere
def test_what_is_counted_for_a_budget_is_what_the_model_has(family):
    library = KERASES[family]
    model = _table(library, _scored(library))
    small, report = tfprune.shrink_to(model, tfprune.Budget(parameters=0.8))
    assert small.count_params() == report.costs[0].after <= 0.8 * model.count_params()


@everywhere
def test_a_shared_layer_inside_of_another_is_copied_once(family):
    library = KERASES[family]
    layers = library.layers
    inputs = library.Input((6, 8))
    twice = layers.Dense(8, name="twice")
    x = layers.ReLU()(twice(layers.Dense(8, name="first")(inputs)))
    outputs = layers.Dense(3)(layers.TimeDistributed(twice, name="steps")(x))
    model = randomized(library.Model(inputs, outputs))
    masked(model)
    small, report = tfprune.shrink(model)
    assert deviation(model, small, examples(model)) < 1e-6 and report.removed == 4
    assert small.get_layer("steps").layer is small.get_layer("twice")
    assert small.count_params() == 9 * 4 + 5 * 4 + 5 * 3


@everywhere
def test_an_operation_reads_the_variable_of_the_copy(family):
    library = KERASES[family]
    multiply = keras.ops.matmul if library is keras else tf.matmul

    def last(table):
        return lambda x: multiply(library.layers.Dense(4, name="back")(x), table.embeddings)

    model = _table(library, last)
    assert "reads it" in _reasons(model)["table"]
    masked(model)
    small, _ = tfprune.shrink(model)
    data = examples(model) % 4
    assert deviation(model, small, data) < 1e-6
    small.get_layer("table").embeddings.assign(np.zeros((4, 8)))
    assert not small(data).numpy().any()


@everywhere
def test_a_function_that_reads_a_variable_keeps_it_and_cannot_be_copied(family):
    library = KERASES[family]

    def last(table):
        return library.layers.Lambda(
            lambda x: tf.matmul(x, tf.convert_to_tensor(table.embeddings), transpose_b=True),
            output_shape=(6, 4),
            name="scores",
        )

    model = _table(library, last)
    assert "scores (Lambda) reads a variable that is not" in _reasons(model)["table"]
    with pytest.raises(ValueError, match="'scores' .Lambda. reads the variable 'table/.*attribute"):
        tfprune.shrink(model)


def _assigned(library):
    layers = library.layers
    inputs = library.Input((8,))
    one, other = (layers.Dense(8, use_bias=False, name=name) for name in ("one", "other"))
    x = one(layers.Dense(8)(inputs))
    other.build((None, 8))
    if library is keras:
        other._tracker.unlock()
        other._kernel = one._kernel
    else:
        other.kernel = one.kernel
    return library.Model(inputs, layers.Dense(3)(other(layers.ReLU()(x))))


@everywhere
@pytest.mark.parametrize("call", [tfprune.shrink, tfprune.reinitialize])
def test_a_variable_that_is_put_into_two_layers_is_named(family, call):
    with pytest.raises(ValueError, match="'one' and 'other' share the variable.*Call one layer"):
        call(_assigned(KERASES[family]))


def test_a_table_that_is_read_along_its_rows_keeps_them():
    layers = tf_keras.layers
    tokens, weights = tf_keras.Input((6,), dtype="int32"), tf_keras.Input((3,))
    table = layers.Embedding(4, 8, name="table")
    mixed = layers.Dense(8, use_bias=False, name="mixed")
    rows = layers.Dense(4, name="rows")(weights)
    mixed.build((None, 4))
    table.build(None)
    mixed.kernel = table.embeddings
    x = layers.Add()([layers.GlobalAveragePooling1D()(table(tokens)), mixed(rows)])
    model = tf_keras.Model([tokens, weights], layers.Dense(2)(x))
    reasons = _reasons(model)
    assert reasons["rows"] == "table reads mixed/kernel, too" and reasons["table"] is None


def test_biases_that_folded_constants_need_count_for_the_budget():
    layers = keras.layers
    model = keras.Sequential(
        [
            keras.Input((5, 5, 2)),
            layers.Conv2D(8, 1, activation="relu", name="a"),
            layers.Conv2D(30, 1, use_bias=False, name="b"),
            layers.GlobalAveragePooling2D(),
            layers.Dense(2),
        ]
    )
    kernel, _ = model.get_layer("a").get_weights()
    kernel[..., 2:] = 0
    model.get_layer("a").set_weights([kernel, np.ones(8)])
    small, report = tfprune.shrink_to(model, tfprune.Budget(parameters=0.97))
    assert small.get_layer("b").use_bias
    assert small.count_params() == report.costs[0].after <= report.costs[0].limit
