# SPDX-License-Identifier: Apache-2.0
"""Every layer, block and m-by-n setting that TF-MOT prunes, and what it refuses: same answers."""

import keras
import numpy as np
import pytest
import tf_keras
from drop_in_models import EVERY_STEP, KERAS, LAYERS, LIBRARIES, MOT, masks, one_step
from tensorflow_model_optimization.python.core.sparsity.keras import prune_registry

import tfprune

VECTOR, SEQUENCE, IMAGE, VOLUME = (2, 6), (2, 5, 6), (2, 6, 6, 4), (2, 4, 4, 4, 3)
PRUNED = {
    "Dense": (lambda: LAYERS.Dense(8), VECTOR),
    "Conv1D": (lambda: LAYERS.Conv1D(4, 2), SEQUENCE),
    "Conv2D": (lambda: LAYERS.Conv2D(4, 2), IMAGE),
    "Conv3D": (lambda: LAYERS.Conv3D(2, 2), VOLUME),
    "Conv2DTranspose": (lambda: LAYERS.Conv2DTranspose(4, 2), IMAGE),
    "Conv3DTranspose": (lambda: LAYERS.Conv3DTranspose(2, 2), VOLUME),
    "SeparableConv1D": (lambda: LAYERS.SeparableConv1D(4, 2), SEQUENCE),
    "SeparableConv2D": (lambda: LAYERS.SeparableConv2D(4, 2), IMAGE),
    "LocallyConnected1D": (lambda: LAYERS.LocallyConnected1D(3, 2), SEQUENCE),
    "LocallyConnected2D": (lambda: LAYERS.LocallyConnected2D(3, 2), IMAGE),
    "Embedding": (lambda: LAYERS.Embedding(10, 8), None),
    "LSTM": (lambda: LAYERS.LSTM(4), SEQUENCE),
    "GRU": (lambda: LAYERS.GRU(4), SEQUENCE),
    "SimpleRNN": (lambda: LAYERS.SimpleRNN(4), SEQUENCE),
    "RNN": (lambda: LAYERS.RNN([LAYERS.LSTMCell(4), LAYERS.GRUCell(3)]), SEQUENCE),
    "MultiHeadAttention": (lambda: _attention(), SEQUENCE),
}
BLOCKS = [((2, 4), "AVG"), ((2, 2), "MAX"), ([1, 4], "AVG")]


def _attention():
    layer = LAYERS.MultiHeadAttention(2, 4)
    layer(np.zeros(SEQUENCE, "float32"), np.zeros(SEQUENCE, "float32"))  # TF-MOT needs it built
    return layer


def _inputs(shape):
    if shape is None:
        return np.zeros((2, 3), "int32")
    return np.random.default_rng(4).normal(size=shape).astype("float32")


def _pair(kind, **settings):
    build, shape = PRUNED[kind]
    inputs = _inputs(shape)
    call = {"value": inputs} if kind == "MultiHeadAttention" else {}
    pair = []
    for prune in LIBRARIES.values():
        layer = build()
        layer._name = "same"
        pair.append(one_step(prune(layer, EVERY_STEP, **settings), inputs, **call))
    return pair


def _assert_same(reference, ours):
    assert ours.name == reference.name == "prune_low_magnitude_same"
    assert len(masks(ours)) == len(masks(reference)) > 0
    for one, two in zip(masks(ours), masks(reference)):
        assert one.dtype == two.dtype and 0 < two.sum() < two.size
        np.testing.assert_array_equal(one, two)
    for one, two in zip(ours.get_weights(), reference.get_weights()):
        np.testing.assert_array_equal(one, two)


def test_the_table_above_holds_the_whole_registry():
    registry = prune_registry.PruneRegistry
    known = {cls.__name__ for cls, names in registry._LAYERS_WEIGHTS_MAP.items() if names}
    assert known | {cls.__name__ for cls in registry._RNN_LAYERS} == set(PRUNED)


@pytest.mark.parametrize("kind", PRUNED)
def test_same_masks_for_every_layer_of_the_registry(kind):
    _assert_same(*_pair(kind))


@pytest.mark.parametrize("block, pooling", BLOCKS)
@pytest.mark.parametrize("kind", ["Dense", "Embedding", "LSTM"])
def test_same_masks_in_blocks(kind, block, pooling):
    _assert_same(*_pair(kind, block_size=block, block_pooling_type=pooling))


def test_same_masks_in_blocks_with_an_uneven_edge():
    _assert_same(*_pair("Dense", block_size=(2, 3)))


@pytest.mark.parametrize("zeros", [(1, 4), (2, 4), (1, 2)])
@pytest.mark.parametrize(
    "kind", ["Dense", "Conv2D", "Conv2DTranspose", "SeparableConv2D", "Embedding", "GRU"]
)
def test_same_masks_with_m_zeros_in_n(kind, zeros):
    _assert_same(*_pair(kind, sparsity_m_by_n=zeros))


def test_layers_without_kernels_are_wrapped_and_left_alone():
    for build in (
        LAYERS.BatchNormalization,
        LAYERS.LayerNormalization,
        LAYERS.ReLU,
        LAYERS.Flatten,
        lambda: LAYERS.DepthwiseConv2D(2),
        lambda: LAYERS.Dropout(0.1),
    ):
        names = set()
        for prune in LIBRARIES.values():
            layer = build()
            layer._name = "same"
            wrapped = prune(layer)
            wrapped(_inputs(IMAGE))
            assert wrapped.pruning_vars == [] and layer.get_prunable_weights() == []
            names.add(wrapped.name)
        assert names == {"prune_low_magnitude_same"}


class Scaled(tf_keras.layers.Layer):
    """A custom layer: nobody knows its weights unless it names them."""

    def build(self, input_shape):
        self.table = self.add_weight("table", shape=(input_shape[-1], 4))
        self.shift = self.add_weight("shift", shape=(4,))

    def call(self, inputs):
        return inputs @ self.table + self.shift


class Named(Scaled):
    def get_prunable_weights(self):
        return [self.table, self.shift]


class NamedCell(tf_keras.layers.SimpleRNNCell, MOT.sparsity.keras.PrunableLayer):
    def get_prunable_weights(self):
        return [self.recurrent_kernel]


def _named_on_the_object():
    layer = Scaled(name="same")
    layer.get_prunable_weights = lambda: [layer.table]
    return layer


@pytest.mark.parametrize(
    "build",
    [
        lambda: Named(name="same"),
        _named_on_the_object,
        lambda: LAYERS.RNN(NamedCell(4), name="same"),
    ],
    ids=["method", "attribute", "cell"],
)
def test_custom_layers_that_name_their_weights(build):
    inputs = _inputs(SEQUENCE)
    reference, ours = (one_step(prune(build(), EVERY_STEP), inputs) for prune in LIBRARIES.values())
    _assert_same(reference, ours)


class Subclassed(tf_keras.Model):
    def call(self, inputs):
        return inputs


REFUSED = {
    "object": lambda prune: prune(object()),
    "number": lambda prune: prune(3),
    "nothing": lambda prune: prune(None),
    "tuple": lambda prune: prune((LAYERS.Dense(2),)),
    "class": lambda prune: prune(LAYERS.Dense),
    "subclassed model": lambda prune: prune(Subclassed()),
    "subclassed model inside": lambda prune: prune(tf_keras.Sequential([Subclassed()])),
    "list with a number": lambda prune: prune([3]),
    "list with a model": lambda prune: prune([tf_keras.Sequential([LAYERS.Dense(2)])]),
    "unknown layer": lambda prune: prune(LAYERS.ConvLSTM2D(2, 3)),
    "unknown layer in a model": lambda prune: prune(tf_keras.Sequential([LAYERS.PReLU()])),
    "composite layer": lambda prune: prune(LAYERS.Bidirectional(LAYERS.LSTM(2))),
    "custom layer": lambda prune: prune(Scaled()),
    "subclass of a known layer": lambda prune: prune(type("Mine", (LAYERS.Dense,), {})(2)),
    "unknown cell": lambda prune: prune(LAYERS.RNN(type("MyCell", (LAYERS.LSTMCell,), {})(2))),
    "input layer": lambda prune: prune(LAYERS.InputLayer((2,))),
    "wrapped layer": lambda prune: prune(prune(LAYERS.Dense(2))),
    "pooling": lambda prune: prune(LAYERS.Dense(2), block_pooling_type="MIN"),
    "blocks of a convolution": lambda prune: prune(LAYERS.Conv2D(2, 2), block_size=(2, 2)).build(
        (1, 4, 4, 2)
    ),
    "blocks without width": lambda prune: prune(LAYERS.Dense(2), block_size=2).build((1, 4)),
    "m without n": lambda prune: prune(LAYERS.Dense(2), sparsity_m_by_n=2),
    "three numbers": lambda prune: prune(LAYERS.Dense(2), sparsity_m_by_n=(1, 2, 3)),
    "half a zero": lambda prune: prune(LAYERS.Dense(2), sparsity_m_by_n=(0.5, 2)),
    "m by n of a Conv1D": lambda prune: one_step(
        prune(LAYERS.Conv1D(4, 2), EVERY_STEP, sparsity_m_by_n=(2, 4)), _inputs(SEQUENCE)
    ),
    "unknown keyword": lambda prune: prune(LAYERS.Dense(2), colour="red"),
    "unbuilt model with a policy": lambda prune: prune(
        tf_keras.Sequential([LAYERS.Dense(2)]),
        pruning_policy=MOT.sparsity.keras.PruneForLatencyOnXNNPack(),
    ),
}
IN_THE_SAME_WORDS = ("object", "number", "nothing", "tuple", "class", "subclassed model")


@pytest.mark.parametrize("what", REFUSED)
def test_refuses_what_tfmot_refuses(what):
    errors = []
    for prune in LIBRARIES.values():
        with pytest.raises(Exception) as caught:
            REFUSED[what](prune)
        errors.append(caught.value)
    reference, ours = errors
    assert type(ours) is type(reference)
    if what in IN_THE_SAME_WORDS:
        assert str(ours) == str(reference)
        assert ours.__notes__


def test_lists_keep_inputs_and_wrapped_layers():
    for prune in LIBRARIES.values():
        wrapped = prune(LAYERS.Dense(2, name="b"))
        layers = prune([LAYERS.InputLayer((3,), name="i"), LAYERS.Dense(2, name="a"), wrapped])
        assert [layer.name for layer in layers] == [
            "i",
            "prune_low_magnitude_a",
            "prune_low_magnitude_b",
        ]
        assert layers[2] is wrapped
        assert prune([]) == []
        assert prune(LAYERS.Dense(2, name="d"), name="mine").name == "prune_low_magnitude_d"


def test_a_policy_chooses_the_layers():
    class OnlyWide:
        def allow_pruning(self, layer):
            return getattr(layer, "units", 0) > 3

        def ensure_model_supports_pruning(self, model):
            if not model.built:
                raise ValueError("build it first")

    for prune in LIBRARIES.values():
        model = tf_keras.Sequential(
            [LAYERS.Dense(8, name="wide", input_shape=(4,)), LAYERS.Dense(2, name="slim")]
        )
        pruned = prune(model, pruning_policy=OnlyWide())
        assert [layer.name for layer in pruned.layers] == ["prune_low_magnitude_wide", "slim"]


def _mobile(library, kind):
    """A network that XNNPACK's sparse inference can run, or one with a fault."""
    layers = library.layers
    inputs = x = library.Input((8, 8, 3))
    if kind != "no beginning":
        x = layers.ZeroPadding2D(1)(x)
    x = layers.Conv2D(4, 3, strides=2, padding="valid")(x)
    x = layers.ReLU(6.0)(layers.BatchNormalization(axis=3)(x))
    y = layers.DepthwiseConv2D(3, padding="same")(layers.Conv2D(8, 1, name="wide")(x))
    x = layers.Add()([x, layers.Conv2D(4, 1, name="slim")(layers.Activation("relu")(y))])
    between = {
        "pooling": layers.MaxPooling2D(),
        "tanh": layers.Activation("tanh"),
        "big": layers.Conv2D(4, 3),
        "depthwise": layers.DepthwiseConv2D(3, padding="valid"),
        "padded": layers.ZeroPadding2D(1),
    }
    if kind in between:
        x = between[kind](x)
    if kind == "padded":
        x = layers.DepthwiseConv2D(3, strides=2, padding="valid")(x)
    if kind == "raw":
        x = x * 2.0 + x
    x = layers.Flatten()(x) if kind == "no end" else layers.GlobalAveragePooling2D()(x)
    return library.Model(inputs, layers.Dense(3)(x))


@pytest.mark.parametrize(
    "kind, words",
    [
        ("right", None),
        ("padded", None),
        ("raw", None),
        ("pooling", "MaxPooling2D.* not supported"),
        ("tanh", "Activation.* not supported"),
        ("big", "Conv2D.* not supported"),
        ("depthwise", "DepthwiseConv2D.* not supported"),
        ("no beginning", "Could not find .*ZeroPadding2D"),
        ("no end", "Could not find .*GlobalAveragePooling2D"),
    ],
)
def test_the_latency_policy_takes_and_refuses_the_same_in_both_kerases(kind, words):
    policy = KERAS.PruneForLatencyOnXNNPack()
    for library in (tf_keras, keras):
        if words is not None:
            with pytest.raises(ValueError, match=words):
                tfprune.prune_low_magnitude(_mobile(library, kind), pruning_policy=policy)
            continue
        model = tfprune.prune_low_magnitude(_mobile(library, kind), pruning_policy=policy)
        pruned = [layer.name for layer in model.layers if "prune" in layer.name]
        assert pruned == ["prune_low_magnitude_wide", "prune_low_magnitude_slim"]


def test_a_policy_that_allows_nothing_of_a_keras_3_model_is_refused():
    class Own(KERAS.PruningPolicy):
        def allow_pruning(self, layer):
            return isinstance(layer, LAYERS.Dense)

        def ensure_model_supports_pruning(self, model):
            pass

    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(2)])
    with pytest.raises(ValueError, match="Own allows no layer .* a test for tf_keras' classes"):
        tfprune.prune_low_magnitude(model, pruning_policy=Own())
    with pytest.raises(ValueError, match="PruneForLatencyOnXNNPack allows no layer"):
        tfprune.prune_low_magnitude(
            model.layers[0], pruning_policy=KERAS.PruneForLatencyOnXNNPack()
        )


def test_summaries_of_a_keras_3_model_are_refused_with_what_to_use(tmp_path):
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(2)])
    model.compile("sgd", "mse")
    summaries = KERAS.PruningSummaries(str(tmp_path))
    with pytest.raises(TypeError, match=r"tfprune.SparsityLog\(log_dir\) behind"):
        model.fit(
            np.zeros((2, 4)),
            np.zeros((2, 2)),
            verbose=0,
            callbacks=[tfprune.PruningCallback("magnitude", 0.5), summaries],
        )


def test_the_default_schedule_is_tfmots():
    config = tfprune.prune_low_magnitude(LAYERS.Dense(2)).pruning_schedule.get_config()
    assert config == KERAS.prune_low_magnitude(LAYERS.Dense(2)).pruning_schedule.get_config()
