# SPDX-License-Identifier: Apache-2.0
"""Channel groups: layer kinds with structure of their own, and what cannot be pruned and why."""

import numpy as np
import pytest
import tensorflow as tf

import tfprune
from tests.tiny_models import KERASES
from tests.unit.test_channel_groups import groups_of, member, sites
from tfprune.backend import view
from tfprune.layers.channel_graph import Role

pytestmark = pytest.mark.parametrize("family", sorted(KERASES))


def reasons(model):
    return {name: group.reason for name, group in groups_of(model).items()}


def dense_chain(library, *between):
    """Dense `first`, what is given, Dense `last`."""
    layers = library.layers
    return library.Sequential(
        [
            library.Input((6, 5)),
            layers.Dense(4, name="first"),
            *between,
            layers.Dense(2, name="last"),
        ]
    )


def test_squeeze_and_excitation(family):
    library = KERASES[family]
    layers = library.layers
    inputs = library.Input((8, 8, 3))
    x = layers.Conv2D(6, 3, name="conv")(inputs)
    gate = layers.Dense(2, activation="relu", name="squeeze")(layers.GlobalAveragePooling2D()(x))
    gate = layers.Dense(6, activation="sigmoid", name="excite")(gate)
    x = layers.Multiply(name="scale")([x, layers.Reshape((1, 1, 6))(gate)])
    groups = groups_of(library.Model(inputs, layers.Conv2D(2, 1, name="last")(x)))
    assert sites(groups["conv"], Role.PRODUCER) == ["conv/kernel", "excite/kernel"]
    assert sites(groups["conv"], Role.CONSUMER) == ["squeeze/kernel", "last/kernel"]
    assert groups["squeeze"].size == 2 and groups["squeeze"].prunable


def test_lstm_gates(family):
    library = KERASES[family]
    layers = library.layers
    model = library.Sequential(
        [
            library.Input((4,), dtype="int32"),
            layers.Embedding(10, 5, name="words"),
            layers.LSTM(3, name="lstm"),
            layers.Dense(2, name="out"),
        ]
    )
    groups = groups_of(model)
    assert list(groups) == ["words", "lstm/lstm_cell", "out"]
    assert member(groups["words"], "words/embeddings").axis == 1
    units, cell = groups["lstm/lstm_cell"], "lstm/lstm_cell"
    gates = [[0, 3, 6, 9], [1, 4, 7, 10], [2, 5, 8, 11]]
    assert member(units, f"{cell}/kernel", 1).indices.tolist() == gates
    assert member(units, f"{cell}/recurrent_kernel", 1).indices.tolist() == gates
    assert member(units, f"{cell}/bias").indices.tolist() == gates
    assert member(units, f"{cell}/recurrent_kernel", 0).role is Role.CONSUMER
    assert member(units, "out/kernel").indices.tolist() == [[0], [1], [2]]


def test_attention_has_heads_and_two_widths(family):
    library = KERASES[family]
    layers = library.layers
    inputs = library.Input((5, 4))
    x = layers.Dense(6, name="in")(inputs)
    x = layers.MultiHeadAttention(3, 4, value_dim=7, name="mha")(x, x)
    groups = groups_of(library.Model(inputs, layers.Dense(2, name="out")(x)))
    assert {name: group.size for name, group in groups.items() if group.prunable} == {
        "in": 6,
        "mha/query": 3,
        "mha/query:2": 4,
        "mha/value": 7,
        "mha/attention_output": 6,
    }
    heads = {(one.site, one.axis) for one in groups["mha/query"].members}
    assert heads == {
        *((f"mha/{name}/kernel", 1) for name in ("query", "key", "value")),
        *((f"mha/{name}/bias", 0) for name in ("query", "key", "value")),
        ("mha/attention_output/kernel", 0),
    }
    assert {one.site for one in groups["mha/query:2"].members} == {
        "mha/query/kernel",
        "mha/query/bias",
        "mha/key/kernel",
        "mha/key/bias",
    }


def test_grouped_convolution_loses_the_same_channel_in_every_group(family):
    library = KERASES[family]
    layers = library.layers
    model = library.Sequential(
        [
            library.Input((8, 8, 3)),
            layers.Conv2D(6, 1, name="in"),
            layers.Conv2D(4, 1, groups=2, name="grouped"),
            layers.Conv2D(2, 1, name="out"),
        ]
    )
    groups = groups_of(model)
    assert member(groups["in"], "in/kernel").indices.tolist() == [[0, 3], [1, 4], [2, 5]]
    assert member(groups["in"], "grouped/kernel").indices.tolist() == [[0], [1], [2]]
    assert member(groups["grouped"], "out/kernel").indices.tolist() == [[0, 2], [1, 3]]


def test_shared_layer_and_nested_model_join_their_uses(family):
    library = KERASES[family]
    layers = library.layers
    inside = library.Input((4,))
    encoder = library.Model(
        inside, layers.Dense(3, name="code")(layers.Dense(5, name="hidden")(inside)), name="encoder"
    )
    one, two = library.Input((6,)), library.Input((7,))
    a = encoder(layers.Dense(4, name="a")(one))
    b = encoder(layers.Dense(4, name="b")(two))
    model = library.Model([one, two], [layers.Dense(2, name="y")(a), layers.Dense(1, name="z")(b)])
    groups = groups_of(model)
    both = next(group for group in groups.values() if "a" in (one.layer for one in group.producers))
    assert set(sites(both, Role.PRODUCER)) == {"a/kernel", "b/kernel"}
    assert sites(both, Role.CONSUMER) == ["encoder/hidden/kernel"]
    assert groups["encoder/hidden"].size == 5 and groups["encoder/hidden"].prunable
    assert set(sites(groups["encoder/code"], Role.CONSUMER)) == {"y/kernel", "z/kernel"}
    assert groups["y"].reason == groups["z"].reason == "model output"


def test_sites_have_the_names_that_pruning_gives_them(family):
    library = KERASES[family]
    layers = library.layers
    inner = library.Sequential([layers.Conv1D(4, 2, name="c"), layers.ReLU()], name="inner")
    model = library.Sequential(
        [
            library.Input((8, 3)),
            inner,
            layers.SeparableConv1D(4, 2),
            layers.Bidirectional(layers.GRU(3, return_sequences=True)),
            layers.TimeDistributed(layers.Dense(3, name="each")),
            layers.Dense(2, name="out"),
        ]
    )
    held = {one.site for group in tfprune.channel_groups(model) for one in group.members}
    assert {item.site.name for item in view(model).sites} <= held


def test_wrapped_layers_are_looked_through(family):
    model = dense_chain(KERASES[family], KERASES[family].layers.ReLU())
    plain = list(map(str, tfprune.channel_groups(model)))
    assert list(map(str, tfprune.channel_groups(tfprune.prune(model, "magnitude", 0.5)))) == plain


def test_a_lambda_pins_its_neighbours_and_nothing_else(family):
    library = KERASES[family]
    layers = library.layers
    odd = layers.Lambda(tf.sort, output_shape=(6, 4), name="odd")
    found = reasons(dense_chain(library, odd, layers.Dense(7, name="next")))
    assert found["first"] == found["next in"] == "unknown operation odd/TopKV2"
    assert found["next"] is None and found["last"] == "model output"


def test_reasons_at_layers_of_ones_own_say_what_to_do(family):
    library = KERASES[family]

    class Own(library.layers.Layer):
        def build(self, shape):
            self.own = self.add_weight(shape=(shape[-1], 6), initializer="ones", name="own")

        def call(self, x):
            return tf.sort(x @ tf.convert_to_tensor(self.own))

    found = reasons(dense_chain(library, Own(name="mine")))
    assert "mine has own, which no rule covers" in found["first"]
    assert "(tfprune.register_layer can say what Own does)" in found["first"]


def test_a_layer_with_a_call_of_its_own_and_a_kernel_keeps_what_it_reads_and_makes(family):
    library = KERASES[family]

    class Doubled(library.layers.Dense):
        def call(self, inputs):
            return 2 * super().call(inputs)

    class Named(library.layers.Dense):
        pass

    found = reasons(dense_chain(library, Named(3, name="named"), Doubled(3, name="double")))
    assert found["first"] is None
    assert "double/" in found["named"] and "double has kernel" in found["last in"]


@pytest.mark.parametrize(
    "kind,settings,reason",
    [
        ("LayerNormalization", {}, "odd takes its statistics over them"),
        ("Softmax", {}, "softmax in odd mixes them"),
        ("Permute", {"dims": (2, 1)}, None),
        ("Dropout", {"rate": 0.1}, None),
        ("Activation", {"activation": "softmax"}, "softmax mixes them in odd"),
    ],
)
def test_what_mixes_channels_keeps_them(family, kind, settings, reason):
    library = KERASES[family]
    odd = getattr(library.layers, kind)(name="odd", **settings)
    found = reasons(dense_chain(library, odd))["first"]
    assert found == (reason if kind != "Permute" else "model output")


def test_reshape_keeps_exact_indices(family):
    library = KERASES[family]
    layers = library.layers
    model = library.Sequential(
        [
            library.Input((5,)),
            layers.Dense(12, name="first"),
            layers.Reshape((3, 4)),
            layers.Dense(2, name="mid"),
            layers.Flatten(),
            layers.Dense(1, name="last"),
        ]
    )
    groups = groups_of(model)
    assert member(groups["first"], "first/kernel").indices.tolist() == [
        [0, 4, 8],
        [1, 5, 9],
        [2, 6, 10],
        [3, 7, 11],
    ]
    assert member(groups["mid"], "last/kernel").indices.tolist() == [[0, 2, 4], [1, 3, 5]]


def test_models_without_a_graph_are_refused(family):
    library = KERASES[family]

    class Subclassed(library.Model):
        def __init__(self):
            super().__init__()
            self.dense = library.layers.Dense(3)

        def call(self, inputs):
            return self.dense(inputs)

    model = Subclassed()
    model(np.ones((1, 2), "float32"))
    with pytest.raises(ValueError, match="subclassed model.*functional model"):
        tfprune.channel_groups(model)
    with pytest.raises(ValueError, match="not built.*model.build"):
        tfprune.channel_groups(library.Sequential([library.layers.Dense(3)]))
    with pytest.raises(TypeError, match="Expected a Keras model"):
        tfprune.channel_groups(library.layers.Dense(3))
    inputs = library.Input((6,))
    outputs = library.layers.Dense(2, name="out")(model_on(library, Subclassed, inputs))
    found = reasons(library.Model(inputs, outputs))
    assert found["before"] is None


def model_on(library, kind, inputs):
    return kind()(library.layers.Dense(5, name="before")(inputs))
