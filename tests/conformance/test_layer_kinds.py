# SPDX-License-Identifier: Apache-2.0
"""Every kind of layer between two others: half of its channels taken out, and a training step.

A kind is a row of `ROWS`; behind a `_` stands what is special in the row. All rows that read
tensors of one shape are branches of one model.
"""

import importlib

import numpy as np
import pytest
import tensorflow as tf

import tfprune
from tests.shrink_models import examples, masked, randomized
from tests.tiny_models import KERASES, arrays, check_run
from tfprune.backend import adapter_of
from tfprune.layers.base import registered

SHAPES = {
    "line": (6, 4),
    "image": (6, 6, 4),
    "volume": (3, 3, 3, 4),
    "film": (2, 3, 3, 3, 4),
    "tokens": (5,),
    "vector": (4,),
}
SPACES = ("line", "image", "volume")
BATCH = ("BatchNormalization", "SyncBatchNormalization")
ABSENT = {
    "keras": "LocallyConnected1D LocallyConnected2D GroupQueryAttention SyncBatchNormalization "
    "ThresholdedReLU",
    "tf_keras": "GroupQueryAttention GroupedQueryAttention RMSNormalization "
    + " ".join(
        f"Adaptive{kind}Pooling{rank}D" for kind in ("Average", "Max") for rank in (1, 2, 3)
    ),
}
"""Kinds that a Keras has no layer of."""
PINNED = {
    *("LayerNormalization", "RMSNormalization", "UnitNormalization", "Normalization"),
    *("Masking", "Softmax"),
}
"""Kinds that need all the channels that they read."""


def _of(shape, names, *args, **settings):
    def row(name):
        return shape, lambda cls, layers: cls(*args, name=name, **settings), False

    return {name: row(name) for name in names.split()}


def _several(names, *args):
    """Rows of layers that read a list of tensors."""
    return {
        name: (shape, make, True) for name, (shape, make, _) in _of("line", names, *args).items()
    }


def _around(shape, name, inner):
    """A row of a layer that is given another one."""
    return {name: (shape, lambda cls, layers: cls(inner(layers), name=name), False)}


def _spatial():
    """Rows of kinds that have a class for each number of spatial axes."""
    for rank, shape in enumerate(("line", "image", "volume"), 1):
        yield _of(shape, f"Conv{rank}D Conv{rank}DTranspose", 4, 2)
        yield _of(shape, f"ZeroPadding{rank}D Cropping{rank}D UpSampling{rank}D", 1)
        yield _of(shape, f"AveragePooling{rank}D MaxPooling{rank}D", 2)
        yield _of(shape, f"GlobalAveragePooling{rank}D GlobalMaxPooling{rank}D")
        yield _of(shape, f"AdaptiveAveragePooling{rank}D AdaptiveMaxPooling{rank}D", 2)
        yield _of(shape, f"SpatialDropout{rank}D", 0.1)
        yield _of(("image", "volume", "film")[rank - 1], f"ConvLSTM{rank}D", 4, 2)
    for rank, shape in enumerate(("line", "image"), 1):
        yield _of(shape, f"DepthwiseConv{rank}D", 2)
        yield _of(shape, f"SeparableConv{rank}D LocallyConnected{rank}D", 4, 2)


ROWS = {
    **{name: row for rows in _spatial() for name, row in rows.items()},
    **_of("line", "Dense", 4),
    **_of("line", "EinsumDense", "abc,cd->abd", (None, 4), bias_axes="d"),
    **_of("tokens", "Embedding", 9, 4),
    **_of("line", "LSTM GRU SimpleRNN", 4, unroll=True),
    **_around("line", "RNN", lambda layers: layers.LSTMCell(4)),
    **_around("line", "Bidirectional", lambda layers: layers.LSTM(4, unroll=True)),
    **_around("image", "TimeDistributed", lambda layers: layers.Conv1D(4, 2)),
    **_of("line", "MultiHeadAttention", 2, 4),
    **_of("line", "GroupedQueryAttention", 4, 4, 2),
    **_of("image", "BatchNormalization SyncBatchNormalization LayerNormalization"),
    **_of("image", "RMSNormalization UnitNormalization"),
    **_of("image", "GroupNormalization", 2),
    **_of("line", "Normalization", mean=[0.5] * 4, variance=[2.0] * 4),
    **_of("line", "Rescaling LeakyReLU ELU ThresholdedReLU", 0.5),
    **_of("image", "LayerScale", 0.5, 4),
    **_of("line", "Activation", "tanh"),
    **_of("line", "ReLU PReLU Softmax Identity Masking"),
    **_of("line", "Dropout AlphaDropout GaussianDropout GaussianNoise StochasticDepth", 0.1),
    **_of("line", "ActivityRegularization"),
    **_several("Add Subtract Multiply Average Maximum Minimum Concatenate Attention"),
    **_several("AdditiveAttention"),
    **_several("CustomScaleLayer", 0.5),
    **_of("image", "Resizing CenterCrop", 4, 4),
    **_of("image", "Flatten"),
    **_of("image", "Reshape", (36, 4)),
    **_of("image", "Permute", (2, 1, 3)),
    **_of("vector", "RepeatVector", 3),
    # other settings
    **_of("image", "Conv2D_grouped", 4, 1, groups=2),
    **_of("image", "Conv2D_each", 8, 2, groups=4, padding="same"),
    **_of("line", "Conv1D_causal", 4, 2, padding="causal"),
    **_of("line", "Conv1DTranspose_apart", 4, 2, strides=2),
    **_of("image", "DepthwiseConv2D_twice", 3, depth_multiplier=2, padding="same"),
    **_of("image", "SeparableConv2D_twice", 5, 3, depth_multiplier=2, padding="same"),
    **_of("image", "PReLU_shared", shared_axes=[1, 2]),
    **_of("image", "Reshape_open", (-1,)),
    **_of("line", "ReLU_bounded", 6.0),
}
ATTENTION = {"MultiHeadAttention", "GroupedQueryAttention"}
"""Kinds that read a query and a value."""
HOLDERS = {
    kind.name for kind in registered() if kind.kernels or kind.traits & {"loop", "projections"}
}
"""Kinds with kernels, in layers inside of them if not in themselves."""
everywhere = pytest.mark.parametrize("family", KERASES)


def _classes(library):
    """The layers of a Keras by the names of their classes."""
    homes = [
        f"{library.__name__}.src.applications.{one}" for one in ("convnext", "inception_resnet_v2")
    ]
    places = [*map(importlib.import_module, homes), getattr(library.layers, "experimental", None)]
    held = [
        one
        for place in (*places, library.layers)
        for one in getattr(place, "__dict__", {}).values()
    ]
    return {one.__name__: one for one in held if isinstance(one, type)}


def _kind(name):
    return name.partition("_")[0]


def _model(library, names, *, alone=False):
    """For each kind an output: the kind between two Dense layers, or alone."""
    layers, classes = library.layers, _classes(library)
    inputs, outputs = {}, []
    for name in names:
        shape, make, several = ROWS[name]
        given = "int32" if shape == "tokens" else "float32"
        x = inputs.setdefault(shape, library.Input(SHAPES[shape], dtype=given))
        source, layer = x, make(classes[_kind(name)], layers)
        if not alone and shape != "tokens":
            x = layers.Dense(4, name=f"{name}_before")(x)
        if several:
            x = layer([x, layers.Dense(4)(source)])
        else:
            x = layer(x, x) if name in ATTENTION else layer(x)
        outputs.append(x if alone else layers.Dense(2, name=f"{name}_after")(x))
    return library.Model(list(inputs.values()), outputs)


def _present(family, shape=None):
    return [
        name
        for name, (own, *_) in ROWS.items()
        if _kind(name) not in ABSENT[family].split() and shape in (None, own)
    ]


@everywhere
def test_every_kind_has_a_row(family):
    kinds = {
        kind.name for kind in registered() if kind.propagate or kind.kernels and not kind.gates
    }
    assert kinds == {
        *map(_kind, ROWS),
        "GroupQueryAttention",
    }  # the name of another version of Keras
    assert not set(ABSENT[family].split()) & set(_classes(KERASES[family]))


@everywhere
@pytest.mark.parametrize("shape", SHAPES)
def test_half_of_the_channels_of_every_kind_can_be_taken_out(family, shape):
    names = [one for one in _present(family, shape) if not one.startswith("Locally")]
    model = randomized(_model(KERASES[family], names))
    groups = [one for one in tfprune.channel_groups(model) if one.prunable]
    made = {member.layer for group in groups for member in group.producers}
    free = {name for name in names if f"{name}_before" in made}
    assert free == set(names) - PINNED - {"Embedding"}
    dead, data = masked(model), examples(model)
    small, report = tfprune.shrink(model)
    assert report.removed == sum(dead.values()), str(report)
    assert report.macs[1] < report.macs[0] and report.parameters[1] == small.count_params()
    for name, one, other in zip(names, _outputs(model, data), _outputs(small, data), strict=True):
        np.testing.assert_allclose(other, one, atol=1e-5 * np.abs(one).max(), err_msg=name)


def _outputs(model, data):
    found = model(data, training=False)
    return [np.asarray(one) for one in (found if isinstance(found, (list, tuple)) else [found])]


@everywhere
def test_kernels_of_every_kind_are_trained_and_stay_sparse(family):
    library = KERASES[family]
    names = [one for one in _present(family) if _kind(one) in HOLDERS]
    model = randomized(_model(library, names, alone=True))
    raw = adapter_of(model).raw
    before = {id(raw(one)): one.numpy() for one in model.weights}
    data = examples(model)
    model.compile(library.optimizers.SGD(0.01), "mse")
    labels = [np.ones(one.shape, "float32") for one in _outputs(model, data)]
    method = tfprune.get_method("magnitude", schedule=tfprune.Constant(0.5))
    callback = tfprune.PruningCallback(method)
    tf.config.run_functions_eagerly(True)  # to trace all of it takes longer than a step
    try:
        model.fit(data, labels, batch_size=4, verbose=0, callbacks=[callback])
    finally:
        tf.config.run_functions_eagerly(False)
    check_run(callback, 0.5)
    targets = callback.driver.targets
    assert {target.site.name.partition("/")[0] for target in targets} == set(names)
    for target in targets:
        kernel, mask, _ = arrays(target)
        assert np.isfinite(kernel).all(), target.site.name
        assert (kernel != before[id(target.kernel)])[mask].any(), target.site.name
