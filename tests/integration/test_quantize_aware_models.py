# SPDX-License-Identifier: Apache-2.0
"""Which models quantization-aware fine-tuning takes, what stays in float, and what it refuses."""

import numpy as np
import pytest
from tiny_models import KERASES, cnn, data, with_weights

import tfprune
from tfprune.backend import view
from tfprune.quantization.quantize_aware import wrappers

both = pytest.mark.parametrize("family", list(KERASES))


def mixed_kinds(family):
    """Nested models, a shared layer, three inputs (one of whole numbers), layers without grids."""
    library = KERASES[family]
    layers = library.layers
    images = [library.Input((6, 6, 2), name=name) for name in ("left", "right")]
    words = library.Input((4,), dtype="int32", name="words")
    shared = layers.Conv2D(2, 3, padding="same", name="shared")
    x = layers.Maximum(name="most")([shared(one) for one in images])
    inner = cnn(family)
    tokens = layers.LSTM(3, name="lstm")(layers.Embedding(5, 4, name="table")(words))
    twice = layers.Add(name="whole")([words, words])
    tokens = layers.EinsumDense("ab,bc->ac", output_shape=2, name="einsum")(tokens)
    y = layers.Concatenate(name="all")([inner(x), inner(images[0]), tokens])
    return with_weights(
        library.Model([*images, words], [layers.Dense(2, name="last")(y + 1.0), twice])
    )


@both
def test_nested_shared_and_whole_number_models_are_quantized_and_the_rest_is_named(
    family, tmp_path
):
    model = mixed_kinds(family)
    aware = tfprune.quantize_aware(model)
    first, *others = tfprune.report(aware).remarks
    assert first == (
        "quantization-aware: 5 kernels see 8 bits per output channel, 12 activations "
        "see 8 bits (0 ranges are known)"
    )
    assert [text.split()[2] for text in others[:3]] == ["table", "lstm", "einsum"]
    assert "whole numbers" in others[0] and "LSTM: only Dense" in others[1]
    assert "add is an operation" in others[3]
    images = data()[0]
    inputs = [images, 2 * images, np.arange(4 * len(images), dtype="int32").reshape(-1, 4) % 5]
    expected, whole = model(inputs)
    aware(inputs, training=True)
    found, same = aware(inputs)
    np.testing.assert_array_equal(whole, same)
    difference = np.abs(expected - found).max() / np.abs(expected).max()
    assert 0 < difference < 0.1  # 8 bits, and one range for two calls
    around = {one.layer.name: one for one in wrappers(view(aware))}
    assert set(around) == {"shared", "most", "conv", "hidden", "logits", "whole", "all", "last"}
    assert around["all"].core.ranges.shape == (3, 2)
    assert not around["whole"].core.ranges.numpy().any()
    aware.save(tmp_path / "model.keras")
    np.testing.assert_array_equal(tfprune.load_model(tmp_path / "model.keras")(inputs)[0], found)
    plain = tfprune.strip_pruning(aware)
    np.testing.assert_array_equal(plain(inputs)[0], expected)
    assert not tfprune.report(plain).remarks


@both
def test_paths_are_those_of_the_plain_model(family):
    model = cnn(family)
    tfprune.sparsify(model, "magnitude", 0.5)
    expected = tfprune.report(model)
    aware = tfprune.quantize_aware(model)
    aware(data()[0], training=True)
    assert tfprune.report(aware).sites == expected.sites
    assert len(tfprune.channel_groups(aware)) == len(tfprune.channel_groups(model)) > 0


@both
def test_pruning_wrappers_come_off_and_their_zeros_are_the_mask(family):
    model = tfprune.prune(cnn(family), "magnitude", schedule=tfprune.OneShot(0.5))
    for layer in (one.layer for one in model.layers if hasattr(one, "pruning_vars")):
        layer.kernel.assign(layer.kernel.numpy() * (np.abs(layer.kernel.numpy()) > 0.2))
    aware = tfprune.quantize_aware(model)
    for one in wrappers(view(aware)):
        np.testing.assert_array_equal(
            one.core.masks["kernel"].numpy() != 0, one.layer.kernel.numpy() != 0
        )
        assert 0 < one.core.masks["kernel"].numpy().mean() < 1


def refused(family):
    library = KERASES[family]
    layers = library.layers

    class Subclassed(library.Model):
        def __init__(self):
            super().__init__()
            self.dense = layers.Dense(2)

        def call(self, inputs):
            return self.dense(inputs)

    class OwnTraining(library.Model):
        def __init__(self, inputs, outputs, name=None):
            super().__init__(inputs, outputs)

        def train_step(self, batch):
            return {}

    subclassed = Subclassed()
    subclassed(np.ones((1, 3), "float32"))
    model = cnn(family)
    return [
        (subclassed, "Subclassed is a subclassed model.*build a functional model"),
        (library.Sequential([layers.Dense(2)]), "has no weights.*call it on a batch"),
        (library.Sequential([library.Input((3, 3)), layers.LSTM(2)]), "no kernel.*LSTM: only"),
        (tfprune.quantize_aware(model), "quantization-aware already.*strip_pruning"),
        (layers.Dense(2), "got a Dense, expected a model"),
        ([layers.Dense(2)], "got a list, expected a model"),
    ]


@both
def test_what_cannot_be_quantized_is_an_error_that_says_what_to_do(family):
    for model, said in refused(family):
        with pytest.raises(ValueError, match=said):
            tfprune.quantize_aware(model)
    with pytest.raises(TypeError, match="expected a tfprune.QuantizationConfig"):
        tfprune.quantize_aware(cnn(family), 8)
    with pytest.raises(TypeError, match="Expected a Keras model"):
        tfprune.quantize_aware(3)


@both
def test_a_quantization_aware_model_is_not_pruned(family):
    aware = tfprune.quantize_aware(cnn(family))
    for prune in (
        lambda: tfprune.prune(aware, "magnitude", 0.5),
        lambda: tfprune.prune(aware, "djpq"),
        lambda: tfprune.prune(list(aware.layers[1:]), "magnitude", 0.5),
        lambda: tfprune.prune_low_magnitude(aware),
        lambda: tfprune.sparsify(aware, "magnitude", 0.5),
    ):
        with pytest.raises(
            ValueError, match="'conv' is wrapped by tfprune.quantize_aware.*prune first"
        ):
            prune()


def test_layers_that_compute_something_else_stay_in_float():
    layers = KERASES["keras"].layers

    class Scaled(layers.Dense):
        def call(self, inputs, scale=None):
            return super().call(inputs)

    low_rank = layers.Dense(3, name="low_rank")
    model = KERASES["keras"].Sequential(
        [KERASES["keras"].Input((4,)), layers.Dense(4), Scaled(4, name="scaled"), low_rank]
    )
    low_rank.enable_lora(1)
    remarks = tfprune.report(tfprune.quantize_aware(model)).remarks
    assert len(remarks) == 3
    assert "scaled" in remarks[1] and "takes more than its inputs" in remarks[1]
    assert "low_rank" in remarks[2] and "LoRA" in remarks[2]
