# SPDX-License-Identifier: Apache-2.0
"""Fisher and Taylor: gates against references that do not know them."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from scipy.stats import spearmanr
from tiny_models import BATCH, KERASES, cnn, data, with_weights

import tfprune
from tfprune.backend import adapter_of, view
from tfprune.masks.structures import Block, Channel, Column, Element, Filter, Kernel
from tfprune.statistics.calibration_data import CalibrationData, Feed
from tfprune.statistics.measure import measuring
from tfprune.statistics.measured_model import Subject
from tfprune.training.plan import plan
from tfprune.training.run_length import Run

everywhere = pytest.mark.parametrize("family", KERASES)
NEEDS = {
    "taylor": "gate_batch_square",
    "fisher": "gate_square",
    "taylor_second_order": "gate_change",
}


def planned(model, structure, method="taylor"):
    """The subject of a run: with couplings where the structure asks for them."""
    subject = Subject.of(view(model))
    method = tfprune.get_method(method, structure=structure, schedule=tfprune.OneShot(0.5))
    (settle,) = plan(subject.view, subject.found, method, Run()).settles
    owners = {item.site.name: item for item in subject.found}
    found = tuple(
        type(owners[target.site.name])(
            target.site, owners[target.site.name].variable, None, owners[target.site.name].owner
        )
        for target in settle.targets
    )
    return Subject(subject.view, found)


def measured(model, structure, name, data):
    """{site name: statistic} of a model."""
    subject = planned(model, structure)
    feed = Feed(data)
    with measuring((name,), subject, feed, structure) as measure:
        given = measure()
    return {site.name: one[name].numpy() for site, one in zip(subject.sites, given)}


def whole(source, loss):
    """All examples in one batch."""
    return CalibrationData(source, loss=loss, batch_size=len(source[1]))


def loss_of(family):
    return KERASES[family].losses.SparseCategoricalCrossentropy(from_logits=True)


def residual(family):
    """stem -> (inner -> outer) + identity -> Dense, with trained-looking BatchNorm."""
    layers, library = KERASES[family].layers, KERASES[family]
    inputs = library.Input((6, 6, 2))
    x = layers.Conv2D(4, 3, padding="same", use_bias=False, name="stem")(inputs)
    x = layers.ReLU()(layers.BatchNormalization(name="norm")(x))
    y = layers.Conv2D(5, 3, padding="same", activation="relu", name="inner")(x)
    y = layers.Conv2D(4, 3, padding="same", name="outer")(y)
    x = layers.ReLU()(layers.Add()([x, y]))
    outputs = layers.Dense(3, name="logits")(layers.Flatten()(x))
    model = with_weights(library.Model(inputs, outputs))
    norm = model.get_layer("norm")
    norm.set_weights(
        [
            np.array(v, "float32")
            for v in (
                [1.0, 0.5, -0.7, 1.2],
                [0.1, -0.2, 0.3, 0.0],
                [0.2, -0.1, 0.0, 0.3],
                [0.5, 1.5, 1.0, 2.0],
            )
        ]
    )
    return model


def mean_loss(model, family, inputs, labels):
    return float(tf.reduce_mean(loss_of(family)(labels, model(inputs, training=False))))


@everywhere
def test_a_gate_after_normalization_is_gamma_and_beta(family):
    """By Euler's identity, as ReLU is 1-homogeneous: dL/dz = gamma dL/dgamma + beta dL/dbeta."""
    model = residual(family)
    inputs, labels = data()
    # Cut the identity, so that the stem's channels are read by `inner` alone.
    layers, library = KERASES[family].layers, KERASES[family]
    x = layers.ReLU()(model.get_layer("norm").output)
    x = model.get_layer("inner")(x)
    chain = library.Model(model.inputs, layers.Dense(3)(layers.Flatten()(x)))
    norm = chain.get_layer("norm")
    with tf.GradientTape() as tape:
        loss = loss_of(family)(labels, chain(inputs, training=False))
    adapter = adapter_of(chain)
    gamma, beta = adapter.raw(norm.gamma), adapter.raw(norm.beta)
    slope_gamma, slope_beta = tape.gradient(loss, [gamma, beta])
    expected = gamma * slope_gamma + beta * slope_beta
    found = measured(
        chain, Filter(coupled=True), "gate_batch_square", whole((inputs, labels), loss_of(family))
    )
    np.testing.assert_allclose(found["stem/kernel"], expected**2, rtol=1e-3, atol=1e-9)


@everywhere
@pytest.mark.parametrize(
    "structure", [Element(), Kernel(), Column(), Block(2, 3), Filter(), Channel()], ids=repr
)
def test_a_gate_on_a_site_is_the_sum_of_weight_times_gradient(family, structure):
    model = cnn(family)
    inputs, labels = data()
    found = measured(
        model, structure, "gate_batch_square", whole((inputs, labels), loss_of(family))
    )
    subject = Subject.of(view(model))
    with tf.GradientTape() as tape:
        loss = loss_of(family)(labels, model(inputs, training=False))
    for item, slope in zip(subject.found, tape.gradient(loss, subject.kernels)):
        product = (item.variable * slope).numpy().astype("float64")
        shape, layout = item.site.shape, item.site.layout
        number = structure.expand(np.arange(structure.groups(shape, layout)), shape, layout)
        expected = np.bincount(number.reshape(-1), product.reshape(-1)) ** 2
        np.testing.assert_allclose(
            found[item.site.name].reshape(-1), expected, rtol=1e-3, atol=1e-9
        )


@everywhere
def test_one_gate_for_a_channel_of_a_residual_stream(family):
    """The stream is read by `inner` and `logits`: scaling both reads is scaling the channel."""
    model = residual(family)
    inputs, labels = data()
    found = measured(
        model, Filter(coupled=True), "gate_batch_square", whole((inputs, labels), loss_of(family))
    )
    np.testing.assert_array_equal(found["stem/kernel"], found["outer/kernel"])

    inner, logits = (model.get_layer(name).kernel for name in ("inner", "logits"))
    before = inner.numpy(), logits.numpy()

    def scaled(channel, factor):
        first, last = before[0].copy(), before[1].reshape(36, 4, 3).copy()
        first[:, :, channel] *= factor
        last[:, channel] *= factor
        inner.assign(first)
        logits.assign(last.reshape(-1, 3))
        return mean_loss(model, family, inputs, labels)

    for channel in range(4):
        slope = (scaled(channel, 1.01) - scaled(channel, 0.99)) / 0.02
        assert found["stem/kernel"][channel] == pytest.approx(slope**2, rel=0.05, abs=1e-6)
    inner.assign(before[0])
    logits.assign(before[1])


@everywhere
def test_fisher_is_the_gradient_of_a_gate_for_each_example(family):
    layers, library = KERASES[family].layers, KERASES[family]
    inputs, labels = data()
    model = residual(family)
    half = library.Model(model.inputs, model.get_layer("norm").output)
    entry = library.Input((6, 6, 4))
    rest = library.Model(entry, layers.Dense(3)(layers.Flatten()(layers.Conv2D(5, 3)(entry))))
    joined = library.Model(model.inputs, rest(layers.ReLU()(half.output)))

    activation = tf.nn.relu(half(inputs, training=False))
    gate = tf.ones([len(inputs), 1, 1, 4])
    with tf.GradientTape() as tape:
        tape.watch(gate)
        outputs = rest(activation * gate)
        total = tf.reduce_sum(tf.nn.sparse_softmax_cross_entropy_with_logits(labels, outputs))
    slopes = tape.gradient(total, gate)[:, 0, 0].numpy()
    found = measured(
        joined,
        Filter(coupled=True),
        "gate_square",
        CalibrationData((inputs, labels), loss=loss_of(family), batch_size=BATCH),
    )
    np.testing.assert_allclose(found["stem/kernel"], np.mean(slopes**2, 0), rtol=1e-4)
    # The same examples in other batches: frozen weights, so accumulating changes nothing.
    at_once = Feed(whole((inputs, labels), loss_of(family)))
    with measuring(
        ("gate_square",), planned(joined, Filter(coupled=True)), at_once, Filter(coupled=True)
    ) as measure:
        np.testing.assert_allclose(measure()[0]["gate_square"], found["stem/kernel"], rtol=1e-5)


@everywhere
@pytest.mark.parametrize(
    "method, loss",
    [
        ("taylor", lambda labels, outputs: tf.reduce_sum(outputs, -1)),
        ("taylor_second_order", lambda labels, outputs: tf.reduce_sum(tf.square(outputs - 1), -1)),
    ],
)
def test_exact_where_the_loss_is_linear_or_quadratic(family, method, loss):
    """The score is the square of how much the loss changes when the group is removed."""
    layers, library = KERASES[family].layers, KERASES[family]
    shape = dict(input_shape=(3,)) if family == "tf_keras" else {}
    head = [] if shape else [library.Input((3,))]
    model = with_weights(library.Sequential([*head, layers.Dense(2, name="only", **shape)]))
    inputs = np.random.default_rng(2).normal(size=(8, 3)).astype("float32")
    labels = np.zeros(8)
    for structure in (Element(), Channel(), Filter()):
        name = NEEDS[method]
        statistic = measured(model, structure, name, whole((inputs, labels), loss))["only/kernel"]
        scores = tfprune.get_method(method).rule.score.formula({name: statistic}).reshape(-1)
        kernel = model.layers[-1].kernel
        value = kernel.numpy()
        layout = Subject.of(view(model)).sites[0].layout
        before = float(tf.reduce_mean(loss(labels, model(inputs))))
        for group in range(structure.groups((3, 2), layout)):
            removed = np.zeros(structure.groups((3, 2), layout), bool)
            removed[group] = True
            kernel.assign(np.where(structure.expand(removed, (3, 2), layout), 0, value))
            change = float(tf.reduce_mean(loss(labels, model(inputs)))) - before
            assert scores[group] == pytest.approx(change**2, rel=1e-3, abs=1e-9)
        kernel.assign(value)


def test_curvatures_of_many_gates_are_estimated_without_bias():
    """With 24 gates in the last layer alone signs are random; their mean is the diagonal."""
    model = cnn("keras")
    inputs, labels = data()

    def loss(labels, outputs):
        return tf.reduce_sum(tf.square(outputs), -1)

    change = measured(model, Element(), "gate_change", whole((inputs, labels), loss))
    hidden = keras.Model(model.inputs, model.get_layer("hidden").output)(inputs).numpy()
    outputs = model(inputs).numpy()
    kernel = model.get_layer("logits").kernel.numpy()
    slope = 2 * kernel * (hidden.T @ outputs) / len(inputs)
    exact = 2 * np.mean(hidden**2, 0)[:, None] * kernel**2  # d2/dz2 of the mean square
    found = 2 * (change["logits/kernel"] + slope)
    assert abs(found.sum() - exact.sum()) < 0.5 * exact.sum()


@everywhere
def test_scores_are_not_negative_and_zero_for_what_is_removed(family):
    model = residual(family)
    kernel = model.get_layer("inner").kernel
    kernel.assign(kernel.numpy() * (np.arange(5) != 2))
    for method, name in NEEDS.items():
        found = measured(model, Filter(), name, whole(data(), loss_of(family)))["inner/kernel"]
        scores = tfprune.get_method(method).rule.score.formula({name: found})
        assert (scores >= 0).all() and scores[2] == 0


@everywhere
def test_removal_takes_so_many_channels_every_time(family):
    model = residual(family)
    kept = []

    class Counted(tfprune.PruningCallback):
        def on_train_batch_end(self, batch, logs=None):
            super().on_train_batch_end(batch, logs)
            kept.append(
                sum(
                    int(np.any(target.mask.numpy() != 0, axis=(0, 1, 2)).sum())
                    for target in self.driver.targets
                    if target.site.name != "outer/kernel"
                )
            )

    model.compile("sgd", loss_of(family))
    callback = Counted(
        "taylor",
        schedule=tfprune.StepwiseRemoval(0.4, count=2, begin=1, frequency=2),
        data=CalibrationData(data(), batch_size=BATCH),
    )
    inputs, labels = data()
    model.fit(inputs, labels, batch_size=BATCH, epochs=2, verbose=0, callbacks=[callback])
    assert kept == [7, 7, 5, 5, 5, 5]  # of 4 + 5 channels 2 after steps 1 and 3: 0.4 * 9 = 3.6
    masks = {t.site.name: t.mask.numpy() for t in callback.driver.targets}
    stem, outer = (
        np.any(masks[f"{name}/kernel"] != 0, axis=(0, 1, 2)) for name in ("stem", "outer")
    )
    np.testing.assert_array_equal(stem, outer)
    assert [skip.name for skip in callback.report.skipped if "model output" in skip.reason] == [
        "logits/kernel"
    ]


def test_constant_scores_have_constant_averages():
    """Weights that do not move: with an average the second update chooses as the first did."""
    chosen = []
    for momentum in (0.0, 0.9):
        model = residual("keras")
        model.compile(keras.optimizers.SGD(0.0), loss_of("keras"))
        method = tfprune.get_method(
            "taylor",
            momentum=momentum,
            structure=Element(),
            schedule=tfprune.Constant(0.5, end=4, frequency=2),
        )
        callback = tfprune.PruningCallback(method, data=CalibrationData(data(), batch_size=BATCH))
        inputs, labels = data()
        model.fit(inputs, labels, batch_size=BATCH, epochs=2, verbose=0, callbacks=[callback])
        chosen.append([target.mask.numpy() for target in callback.driver.targets])
    for one, other in zip(*chosen):
        np.testing.assert_array_equal(one, other)


def test_taylor_and_the_oracle_agree_on_a_trained_net():
    """Rank correlation with the squared change of the loss when a channel is really closed."""
    from tfprune import data as datasets

    images, labels = datasets.arrays("handwritten_digits", "train")
    images = images.astype("float32") / 16
    keras.utils.set_random_seed(1)
    model = keras.Sequential(
        [
            keras.Input(images.shape[1:]),
            keras.layers.Conv2D(8, 3, activation="relu"),
            keras.layers.Conv2D(16, 3, activation="relu"),
            keras.layers.Flatten(),
            keras.layers.Dense(24, activation="relu"),
            keras.layers.Dense(10),
        ]
    )
    model.compile(keras.optimizers.Adam(3e-3), loss_of("keras"))
    model.fit(images, labels, epochs=2, batch_size=64, verbose=0)
    sample = images[:512], labels[:512]
    found = measured(
        model,
        Filter(coupled=True),
        "gate_batch_square",
        CalibrationData(sample, loss=loss_of("keras"), batch_size=32),
    )
    scores = np.concatenate(list(found.values()))
    before = mean_loss(model, "keras", *sample)
    changes = []
    for group in tfprune.channel_groups(model):
        if not group.prunable:
            continue
        (reader,) = group.consumers
        kernel = model.get_layer(reader.layer).kernel
        value = kernel.numpy()
        for entries in reader.indices:
            closed = np.moveaxis(value.copy(), reader.axis, 0)
            closed[entries] = 0
            kernel.assign(np.moveaxis(closed, 0, reader.axis))
            changes.append((mean_loss(model, "keras", *sample) - before) ** 2)
        kernel.assign(value)
    assert len(scores) == len(changes) == 8 + 16 + 24
    assert spearmanr(scores, changes).statistic > 0.9
