# SPDX-License-Identifier: Apache-2.0
"""Sensitivities as they are measured in a model: the mathematics at the layer's true input."""

import numpy as np
import pytest
import tensorflow as tf
from input_models import NAMES, measured, model_of, subject_of
from tiny_models import KERASES, cnn, compiled, data, fit, masks, with_weights

import tfprune
from tfprune.backend import view
from tfprune.layers.im2col import patches, reading
from tfprune.masks.kernel_layout import from_matrix, to_matrix
from tfprune.statistics import activations, input_sensitivity
from tfprune.statistics.measured_model import Subject

families = pytest.mark.parametrize("family", KERASES)


def assert_equal(found, expected, **tolerance):
    assert found.keys() == expected.keys()
    for site, values in expected.items():
        for name, value in values.items():
            np.testing.assert_allclose(
                found[site][name],
                value,
                err_msg=f"{site} {name}",
                **(tolerance or {"rtol": 1e-6, "atol": 1e-7}),
            )


# What is measured.

READERS = {
    "Dense": lambda k: (k.Flatten(), k.Dense(3)),
    "Dense on positions": lambda k: (k.Dense(3),),
    "EinsumDense": lambda k: (k.EinsumDense("abcd,de->abce", (None, None, 4)),),
    "Conv2D": lambda k: (k.Conv2D(3, (3, 2), strides=2, padding="same"),),
    "Conv2D dilated": lambda k: (k.Conv2D(3, 2, dilation_rate=2),),
    "Conv2D grouped": lambda k: (k.Conv2D(4, 2, groups=2),),
    "Conv2DTranspose": lambda k: (k.Conv2DTranspose(3, 3, strides=2, padding="same"),),
    "DepthwiseConv2D": lambda k: (k.DepthwiseConv2D(3, depth_multiplier=2, padding="same"),),
    "SeparableConv2D": lambda k: (k.SeparableConv2D(3, 2),),
}


@families
@pytest.mark.parametrize("kind", READERS)
def test_it_is_the_sensitivity_at_the_layers_own_input(family, kind):
    library = KERASES[family]
    model = model_of(
        family, library.layers.Conv2D(4, 1, name="first"), *READERS[kind](library.layers)
    )
    images = data()[0]
    found = measured(model, images, batch_size=10)
    (item,) = subject_of(model).found[1:]
    true = library.Model(model.inputs, item.owner.input).predict(images, verbose=0)
    layout = item.site.layout
    rows = patches(true, reading(item.owner, layout), layout)
    matrix = to_matrix(item.variable.numpy(), layout)
    for name in NAMES:
        expected = from_matrix(
            getattr(input_sensitivity, name)(rows, matrix), item.site.shape, layout
        )
        assert found[item.site.name][name].dtype == np.float32
        np.testing.assert_allclose(found[item.site.name][name], expected, rtol=1e-5, atol=1e-6)


@families
def test_dense_against_the_definition_in_numpy(family):
    model = model_of(family, KERASES[family].layers.Dense(4), shape=(5,))
    kernel = model.get_weights()[0].astype("float64")
    examples = np.random.default_rng(1).normal(size=(9, 5))
    expected = np.zeros_like(kernel)
    for example in np.concatenate([np.maximum(examples, 0), np.maximum(-examples, 0)]):
        for unit in range(4):
            for sign in (1, -1):
                parts = np.maximum(sign * kernel[:, unit], 0) * example
                if parts.sum():
                    expected[:, unit] = np.maximum(expected[:, unit], parts / parts.sum())
    (found,) = measured(model, examples.astype("float32"), batch_size=4).values()
    for name in NAMES:  # one position: the mean is the peak
        np.testing.assert_allclose(found[name], expected, atol=1e-6)


@families
def test_batches_and_parts_of_batches_make_no_difference(family, monkeypatch):
    model, images = model_of(family, KERASES[family].layers.Conv2D(3, 3)), data()[0]
    whole = measured(model, images, batch_size=24)
    assert_equal(measured(model, images, batch_size=7), whole)
    monkeypatch.setattr(activations, "_ROOM", 6 * 6 * 2 * 9 * 5)  # five examples at a time
    assert_equal(measured(model, images, batch_size=24), whole)
    for name in NAMES:  # one of them alone
        alone = measured(model, images, (name, "weight"), batch_size=24)
        assert_equal(alone, {site: {name: values[name]} for site, values in whole.items()})
        assert [list(values) for values in alone.values()] == [[name]]


@families
@pytest.mark.parametrize(
    "source",
    [
        lambda x, y: (x, y),
        lambda x, y: (x, None),
        lambda x, y: (x,),
        lambda x, y: x,
        lambda x, y: (x, np.array(["a label"] * len(y))),
        lambda x, y: (x, y, np.zeros(len(y))),
        lambda x, y: tf.data.Dataset.from_tensor_slices(x).batch(9),
        lambda x, y: tf.data.Dataset.from_tensor_slices((x,)).batch(9),
        lambda x, y: [x[:9], x[9:]],
    ],
    ids=["labels", "None", "alone", "array", "any labels", "weights", "data set", "tuples", "list"],
)
def test_labels_are_not_looked_at(family, source):
    model, name = model_of(family, KERASES[family].layers.Dense(3)), NAMES[:1]
    expected = measured(model, data(), name)
    assert_equal(measured(model, source(*data()), name), expected)  # and no loss is known


@families
def test_a_shared_layer_counts_the_largest_of_its_calls(family):
    library = KERASES[family]
    first, second = library.Input((5,), name="first"), library.Input((5,), name="second")
    shared = library.layers.Dense(3, name="shared")
    outputs = library.layers.Add()([shared(first), shared(second)])
    model = with_weights(library.Model([first, second], outputs))
    generator = np.random.default_rng(2)
    one, other = generator.normal(size=(2, 6, 5)).astype("float32")
    alone = library.Sequential([library.Input((5,)), shared])
    found = measured(model, ([one, other],))["shared/kernel"]
    parts = [measured(alone, part)["shared/kernel"] for part in (one, other)]
    for name in NAMES:
        assert (parts[0][name] != parts[1][name]).any()
        np.testing.assert_allclose(
            found[name], np.maximum(parts[0][name], parts[1][name]), rtol=1e-6
        )


@families
def test_inputs_under_names(family):
    library = KERASES[family]
    given = {name: library.Input((3,), name=name) for name in ("left", "right")}
    model = with_weights(
        library.Model(
            given,
            library.layers.Dense(2, name="out")(
                library.layers.Concatenate()([given["left"], given["right"]])
            ),
        )
    )
    images = {
        name: np.random.default_rng(0).normal(size=(8, 3)).astype("float32") for name in given
    }
    assert_equal(measured(model, images), measured(model, (images, np.zeros(8))))


@families
def test_layers_in_layers_and_models_in_models(family):
    layers = KERASES[family].layers
    inner = KERASES[family].Sequential([KERASES[family].Input((4, 3)), layers.Dense(3)])
    model = model_of(family, inner, layers.TimeDistributed(layers.Dense(2)), shape=(4, 3))
    values = measured(model, np.random.default_rng(0).normal(size=(5, 4, 3)).astype("float32"))
    assert len(values) == 2
    for one in values.values():
        assert (one["peak_sensitivity"] > 0).all() and (one["mean_sensitivity"] > 0).all()
        assert (one["mean_sensitivity"] <= one["peak_sensitivity"] + 1e-6).all()


@families
def test_a_model_that_compiles_a_part_of_itself(family):
    layers = KERASES[family].layers

    class Own(KERASES[family].Model):
        def __init__(self):
            super().__init__()
            self.hidden, self.out = layers.Dense(4, activation="relu"), layers.Dense(2)

        @tf.function
        def _body(self, x):
            return self.out(self.hidden(x))

        def call(self, x):
            return self._body(x)

    examples = np.random.default_rng(0).normal(size=(6, 3)).astype("float32")
    model = Own()
    model(examples)
    with_weights(model)
    plain = model_of(family, layers.Dense(4, activation="relu"), layers.Dense(2), shape=(3,))
    for one, other in zip(measured(model, examples).values(), measured(plain, examples).values()):
        for name in NAMES:
            np.testing.assert_allclose(one[name], other[name], rtol=1e-6)


@families
def test_half_precision_is_measured_in_single(family):
    layers = KERASES[family].layers

    def parts(**policy):
        return (
            layers.Conv2D(4, 3, activation="relu", name="conv", **policy),
            layers.Flatten(),
            layers.Dense(3, name="out", **policy),
        )

    expected = measured(model_of(family, *parts()), data()[0])
    mixed = model_of(family, *parts(dtype=KERASES[family].mixed_precision.Policy("mixed_float16")))
    assert_equal(measured(mixed, data()[0]), expected)


@families
def test_a_layer_that_is_never_called_scores_zero_and_is_named(family):
    layers = KERASES[family].layers

    class Own(KERASES[family].Model):
        def __init__(self):
            super().__init__()
            self.idle, self.out = layers.Dense(3, name="idle"), layers.Dense(2, name="out")

        def build(self, shape):
            self.idle.build(shape)
            self.out.build(shape)
            self.built = True

        def call(self, x):
            return self.out(x)

    model = Own()
    model.build((None, 3))
    with pytest.warns(UserWarning, match="'idle' was not called on the data"):
        values = measured(model, np.ones((4, 3), "float32"))
    sums = {name.split("/")[-2]: one["mean_sensitivity"].sum() for name, one in values.items()}
    assert sums["idle"] == 0 < sums["out"]


# Scaling.


def relu_net(family):
    layers = KERASES[family].layers
    plain = {"use_bias": False, "activation": "relu"}
    return model_of(
        family,
        layers.Conv2D(4, 3, name="conv", **plain),
        layers.Flatten(),
        layers.Dense(8, name="hidden", **plain),
        layers.Dense(3, name="out", use_bias=False),
    )


@families
def test_scaling_changes_neither_scores_nor_masks(family):
    images = data()[0]
    scaled = relu_net(family)
    scaled.layers[0].kernel.assign(scaled.layers[0].kernel * 8)  # a whole layer
    scaled.layers[-1].kernel.assign(scaled.layers[-1].kernel * [1, 0.25, 4])  # filter by filter
    sites = subject_of(scaled).sites
    expected = measured(relu_net(family), images)
    for values in (measured(scaled, images), measured(relu_net(family), 64 * images)):
        assert_equal(values, expected)
        for rule in (tfprune.get_method("sipp").rule, tfprune.get_method("pfp").rule):
            chosen = [
                rule.choose(
                    rule.scores([None] * 3, sites, list(given.values())), sites, 0.5, final=0.5
                )
                for given in (expected, values)
            ]
            assert sum(int(mask.sum()) for mask in chosen[0]) < sum(site.size for site in sites)
            for one, other in zip(*chosen):
                np.testing.assert_array_equal(one, other)


# The methods.


@families
@pytest.mark.parametrize("sparsity", [0.5, 0.99])
def test_pfp_never_empties_a_layer_and_removes_whole_channels(family, sparsity):
    callback = tfprune.PruningCallback("pfp", sparsity, data=data()[0])
    callback.start(cnn(family))
    kept = {
        name: mask.any(axis=(0, 1, 3)) if mask.ndim == 4 else mask.any(axis=1)
        for name, mask in masks(callback).items()
    }
    for name, mask in masks(callback).items():
        channels = mask.all(axis=(0, 1, 3)) if mask.ndim == 4 else mask.all(axis=1)
        np.testing.assert_array_equal(channels, kept[name])
        assert channels.any(), name
    total = sum(one.size for one in kept.values())
    assert sum(one.sum() for one in kept.values()) == max(3, round(total * (1 - sparsity)))


@families
@pytest.mark.parametrize("method, norm", [("filter_threshold", 1), ("filter_threshold_l2", 2)])
def test_filter_thresholding_keeps_the_same_fraction_of_each_layer(family, method, norm):
    model = cnn(family)
    before = {item.site.name: item.variable.numpy() for item in Subject.of(view(model)).found}
    callback = tfprune.PruningCallback(method, 0.5)  # no data
    callback.start(model)
    for name, mask in masks(callback).items():
        filters = mask.reshape(-1, mask.shape[-1])
        count = filters.shape[1]
        norms = np.linalg.norm(before[name].reshape(-1, count).astype("float64"), norm, axis=0)
        kept = filters.any(axis=0)
        assert (kept == filters.all(axis=0)).all() and kept.sum() == max(1, round(count * 0.5))
        assert norms[kept].min() > norms[~kept].max()


def test_methods_prune_once_before_training():
    for method in ("sipp", "pfp", "filter_threshold", "filter_threshold_l2"):
        schedule = tfprune.PruningCallback(method, 0.5).method.schedule
        assert schedule == tfprune.OneShot(0.5) and list(schedule.resolve().updates) == [0]


# What scoring leaves behind.


@families
def test_nothing_else_changes(family):
    library = KERASES[family]
    layers = library.layers
    model = library.Sequential(
        [
            library.Input((6, 6, 2)),
            layers.Conv2D(4, 3),
            layers.BatchNormalization(),
            layers.Dropout(0.5),
            layers.GaussianNoise(0.1),
            layers.Flatten(),
            layers.Dense(3),
        ]
    )
    fit(compiled(model, family, library.optimizers.Adam()), epochs=1)
    optimizer = model.optimizer.variables
    seeds = [
        seed.state
        for layer in model.layers
        for seed in [getattr(layer, "seed_generator", None)]
        if family == "keras" and seed
    ]
    held = [*model.weights, *(optimizer() if callable(optimizer) else optimizer), *seeds]
    before = [variable.numpy() for variable in held]
    drawn = np.random.get_state()[1].copy()
    tf.random.set_seed(7)
    expected = tf.random.uniform((4,)).numpy()
    calls = {layer.name: "call" in vars(layer) for layer in model.layers}

    tf.random.set_seed(7)
    measured(model, data()[0])
    np.testing.assert_array_equal(tf.random.uniform((4,)).numpy(), expected)
    np.testing.assert_array_equal(np.random.get_state()[1], drawn)
    assert not seeds or len(seeds) == 2
    for variable, value in zip(held, before):
        np.testing.assert_array_equal(variable.numpy(), value)
    assert calls == {layer.name: "call" in vars(layer) for layer in model.layers}
