# SPDX-License-Identifier: Apache-2.0
"""The flow through what people have: layers and models that are no bias-free ReLU nets."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from flow_kinds import (
    BRANCHES,
    KINDS,
    dictionaries,
    functional,
    half,
    several,
    squeezed,
    trained_batch_norm,
)
from flow_models import at_init, mlp, residual, shares, subject, weighted
from tiny_models import KERASES, zeros

import tfprune
from tfprune.training.connectivity import paths

everywhere = pytest.mark.parametrize("family", KERASES)


@everywhere
@pytest.mark.parametrize("kind", KINDS)
def test_flow_is_conserved_in_chains_of_any_layers(family, kind):
    library = KERASES[family]
    model = kind(library, library.layers)
    if kind is not trained_batch_norm:
        weighted(model)
    before = [weight.tobytes() for weight in model.get_weights()]
    found = shares(model)
    assert [weight.tobytes() for weight in model.get_weights()] == before
    assert len(found) >= 2
    sums = [share.sum() for share in found.values()]
    # Under mixed_bfloat16, too, everything is computed in float32.
    np.testing.assert_allclose(sums, sums[0], rtol=1e-5)
    for name, share in found.items():
        assert (share > 0).all(), name


@everywhere
@pytest.mark.parametrize("kind", BRANCHES)
def test_branches_share_the_flow(family, kind):
    library = KERASES[family]
    model = weighted(kind(library, library.layers))
    found = shares(model)
    assert all((share > 0).all() for share in found.values())
    entering, leaving = (
        [found[f"{name}/kernel"].sum() for name in names] for names in BRANCHES[kind]
    )
    assert sum(entering) == pytest.approx(sum(leaving), rel=1e-5)
    if len(entering) > 1:  # none of them is left with next to nothing
        assert min(entering) > 0.1 * sum(entering)


def test_grouped_queries():
    layer = keras.layers.GroupQueryAttention(4, 4, 2, name="gqa")
    model = weighted(functional(keras, (3, 8), lambda x: keras.layers.Flatten()(layer(x, x))))
    found = {name.split("/")[1]: share.sum() for name, share in shares(model).items()}
    assert found["query"] + found["key"] + found["value"] == pytest.approx(
        found["attention_output"], rel=1e-5
    )


@everywhere
def test_a_transformer_block_is_pruned_everywhere(family):
    layers = KERASES[family].layers

    def body(x):
        y = layers.LayerNormalization()(x)
        x = layers.Add()([x, layers.MultiHeadAttention(2, 4, name="mha")(y, y)])
        y = layers.Dense(8, activation="gelu")(layers.LayerNormalization()(x))
        return layers.Dense(3)(layers.GlobalAveragePooling1D()(layers.Add()([x, y])))

    model = weighted(functional(KERASES[family], (5, 8), body))
    report = tfprune.sparsify(model, tfprune.get_method("synflow", rounds=20), 0.5)
    assert report.kept == round(report.size / 2) and not report.warnings
    assert all(0 < row.sparsity < 0.9 for row in report.sites)
    assert not any(paths(subject(model)).stranded.values())


# Recurrent cells.


@everywhere
@pytest.mark.parametrize("kind", ["SimpleRNN", "LSTM", "Bidirectional"])
def test_recurrent_layers_are_named_skips_that_the_flow_passes(family, kind):
    layers = KERASES[family].layers
    cell = (
        layers.Bidirectional(layers.GRU(8))
        if kind == "Bidirectional"
        else getattr(layers, kind)(16)
    )
    model = weighted(
        functional(KERASES[family], (60, 4), lambda x: layers.Dense(3)(cell(layers.Dense(5)(x))))
    )
    report = tfprune.sparsify(model, tfprune.get_method("synflow", rounds=4), 0.5)
    assert {skip.name.split("/")[-1] for skip in report.skipped} == {"kernel", "recurrent_kernel"}
    assert all("no sum over paths" in skip.reason for skip in report.skipped)
    assert [row.size for row in report.sites] == [20, 48] and report.kept == 34
    sums = {
        name: share.sum()
        for name, share in shares(model).items()
        if not name.endswith("recurrent_kernel")
    }
    first, *inside, last = sums.values()  # 60 steps do not overflow
    assert first == pytest.approx(last, rel=1e-5) == pytest.approx(sum(inside), rel=1e-5)
    assert "no sum over paths" in paths(subject(model))


# Where float32 would end.

OVERFLOW = "flow through the model .* is NaN or infinite: a layer"


@everywhere
def test_deep_and_wide_nets_do_not_overflow(family):
    layers = KERASES[family].layers
    stack = [layers.Dense(64, activation="relu", name=f"dense{index}") for index in range(60)]
    model = at_init(
        KERASES[family].Sequential(
            [KERASES[family].Input((8,)), *stack, layers.Dense(3, name="head")]
        )
    )
    with pytest.raises(ValueError, match=OVERFLOW):
        shares(model, biases=True)  # which rescales nothing
    sums = [share.sum() for share in shares(model).values()]
    np.testing.assert_allclose(sums, sums[0], rtol=1e-4)


@everywhere
def test_small_weights_do_not_underflow(family):
    model = mlp(family)
    for kernel in subject(model).kernels:
        kernel.assign(kernel * 1e-13)
    with pytest.raises(ValueError, match="No flow reaches the outputs"):
        shares(model, biases=True)
    found = shares(model)
    for name, share in shares(mlp(family)).items():
        np.testing.assert_allclose(found[name] / found[name].sum(), share / share.sum(), rtol=1e-4)


@everywhere
def test_residual_nets_do_not_overflow(family):
    model = residual(family, depth=3, gain=1e7)
    with pytest.raises(ValueError, match=OVERFLOW):
        shares(model, biases=True)
    report = tfprune.sparsify(model, tfprune.get_method("synflow", rounds=5), 0.9)
    assert report.kept == round(report.size * 0.1)
    assert paths(subject(model)).connected
    found = shares(model)
    assert found["head/kernel"].sum() == pytest.approx(found["stem/kernel"].sum(), rel=1e-4)


# Pruned as a whole.


@everywhere
@pytest.mark.parametrize("kind", [trained_batch_norm, squeezed, several, dictionaries, half])
def test_pruned_to_a_tenth_a_path_is_left(family, kind):
    library = KERASES[family]
    model = kind(library, library.layers)
    if kind is not trained_batch_norm:
        weighted(model)
    size = sum(mask.size for mask in zeros(model).values())
    report = tfprune.sparsify(model, "synflow", 0.9)
    assert report.kept == sum(mask.sum() for mask in zeros(model).values()) == round(size * 0.1)
    left = paths(subject(model))
    assert left.connected and sum(left.stranded.values()) == 0


@everywhere
def test_open_shapes_are_taken_from_data(family):
    layers = KERASES[family].layers
    model = weighted(
        functional(
            KERASES[family],
            (None, None, 3),
            lambda x: layers.Dense(2)(layers.GlobalAveragePooling2D()(layers.Conv2D(4, 3)(x))),
        )
    )
    with pytest.raises(ValueError, match=r"input shape .* not known.*None, None, 3.*data="):
        tfprune.sparsify(model, "synflow", 0.5)
    inputs = np.zeros((3, 7, 6, 3), "float32")
    report = tfprune.sparsify(model, tfprune.get_method("synflow", rounds=4), 0.5, data=(inputs,))
    assert report.kept == 58


# What cannot be linearised is said.


@everywhere
def test_layers_of_ones_own(family):
    library = KERASES[family]

    class Own(library.layers.Layer):
        def __init__(self, function, **settings):
            super().__init__(**settings)
            self.function = function

        def call(self, inputs):
            return self.function(inputs)

    def model(function):
        def body(x):
            y = Own(function)(library.layers.Dense(5, name="one")(x))
            z = library.layers.Dense(5, name="other")(x)
            return library.layers.Dense(3, name="head")(library.layers.Concatenate()([y, z]))

        return weighted(functional(library, (6,), body))

    assert shares(model(lambda x: 2 * tf.nn.relu(x)))["one/kernel"].min() > 0
    with pytest.warns(UserWarning, match="No flow passes through one/kernel, so its weights"):
        shares(model(lambda x: tf.nn.relu(-x)))

    alone = weighted(
        functional(library, (6,), lambda x: Own(tf.nn.softmax)(library.layers.Dense(3)(x)))
    )
    with pytest.raises(ValueError, match="No flow reaches the outputs.*keras.layers.Softmax"):
        tfprune.sparsify(alone, "synflow", 0.5)
