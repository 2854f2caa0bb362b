# SPDX-License-Identifier: Apache-2.0
"""Masked, stateful, frozen and unlike models where weights are refitted without training."""

import numpy as np
import pytest
from tiny_models import KERASES

import tfprune

FAMILIES = pytest.mark.parametrize("family", KERASES)


def tokens():
    """int32 [40, 6]; zeros, which are masked, behind the end of each."""
    draw = np.random.default_rng(0)
    found = draw.integers(1, 20, (40, 6)).astype("int32")
    for row, end in zip(found, draw.integers(1, 6, 40), strict=True):
        row[end:] = 0
    return found


def copy(library, model):
    twin = library.models.clone_model(model)
    twin.set_weights(model.get_weights())
    return twin


@FAMILIES
def test_masks_stay_with_what_is_called_again(family):
    library = KERASES[family]
    library.utils.set_random_seed(0)
    layers = library.layers
    inputs = library.Input((6,), dtype="int32")
    x = layers.Embedding(20, 16, mask_zero=True)(inputs)
    x = layers.GlobalAveragePooling1D()(layers.MultiHeadAttention(2, 8)(x, x))
    dense = library.Model(inputs, layers.Dense(3)(x))
    model = copy(library, dense)
    tfprune.sparsify(model, "magnitude", 0.6)
    after = tfprune.reconstruct(model, dense, tokens()).outputs[1]
    own, wanted = (one.predict(tokens(), verbose=0) for one in (model, dense))
    assert after == pytest.approx(np.linalg.norm(own - wanted) / np.linalg.norm(wanted), rel=1e-4)


@FAMILIES
def test_masked_positions_are_in_no_average(family):
    library = KERASES[family]
    library.utils.set_random_seed(0)
    layers = library.layers
    inputs = library.Input((6,), dtype="int32")
    embedded = layers.Embedding(20, 4, mask_zero=True, name="words")
    norm = layers.BatchNormalization(name="norm")
    model = library.Model(inputs, layers.GlobalAveragePooling1D()(norm(embedded(inputs))))
    tfprune.recalibrate(model, tokens())
    words = embedded.get_weights()[0][tokens()[tokens() > 0]].astype("float64")
    np.testing.assert_allclose(norm.get_weights()[2], words.mean(0), rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(norm.get_weights()[3], words.var(0), rtol=1e-4, atol=1e-6)


@FAMILIES
def test_a_layer_that_goes_on_from_its_last_state_is_refused(family):
    library = KERASES[family]
    inputs = library.Input(batch_shape=(8, 3, 2))
    hidden = library.layers.LSTM(4, stateful=True, name="memory")(inputs)
    model = library.Model(inputs, library.layers.Dense(2)(hidden))
    data = tfprune.CalibrationData(np.zeros((16, 3, 2), "float32"), batch_size=8)
    with pytest.raises(ValueError, match="'memory' is stateful"):
        tfprune.sensitivity(model, "magnitude", data, ratios=(0.5,))


@FAMILIES
def test_layers_that_do_not_train_stay(family):
    library = KERASES[family]
    layers = library.layers
    dense = library.Sequential(
        [
            library.Input((4,)),
            layers.Dense(6, name="first"),
            layers.BatchNormalization(name="norm"),
            layers.Dense(3, name="last"),
        ]
    )
    model, data = copy(library, dense), np.random.default_rng(0).normal(size=(50, 4))
    tfprune.sparsify(model, "magnitude", 0.5)
    for name in ("norm", "last"):
        model.get_layer(name).trainable = False
    before = {one.name: one.get_weights() for one in model.layers}
    report = tfprune.reconstruct(model, dense, data.astype("float32"))
    tfprune.recalibrate(model, data.astype("float32"))
    assert [one.name for one in report.layers] == ["first/kernel"]
    for name in ("norm", "last"):
        for one, other in zip(model.get_layer(name).get_weights(), before[name], strict=True):
            np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("changed", [{"padding": "valid"}, {"dilation_rate": 2}], ids=str)
def test_equal_shapes_that_are_used_otherwise_do_not_correspond(changed):
    layers = KERASES["keras"].layers

    def network(**settings):
        return KERASES["keras"].Sequential(
            [
                KERASES["keras"].Input((8, 8, 3)),
                layers.Conv2D(4, 3, name="conv", **{"padding": "same", **settings}),
                layers.GlobalAveragePooling2D(),
            ]
        )

    data = np.zeros((4, 8, 8, 3), "float32")
    with pytest.raises(ValueError, match=f"'conv/kernel' has {[*changed][0]}="):
        tfprune.reconstruct(network(), network(**changed), data)


def test_a_generator_is_gone_through_once():
    model = KERASES["keras"].Sequential(
        [KERASES["keras"].Input((4,)), *map(KERASES["keras"].layers.Dense, (3, 2))]
    )
    data = np.random.default_rng(0).normal(size=(40, 4)).astype("float32")
    parts = (data[start : start + 10] for start in range(0, 40, 10))
    assert tfprune.sensitivity(model, "magnitude", parts, ratios=(0.5,)).examples == 40


def test_nan_of_the_dense_model_is_refused():
    library = KERASES["keras"]
    model = library.Sequential([library.Input((2,)), library.layers.BatchNormalization()])
    dense = copy(library, model)
    dense.layers[0].gamma.assign([np.nan, 1.0])
    with pytest.raises(ValueError, match="NaN"):
        tfprune.recalibrate(model, np.ones((4, 2), "float32"), dense)
