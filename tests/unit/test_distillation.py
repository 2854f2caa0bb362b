# SPDX-License-Identifier: Apache-2.0
"""Teachers that cannot teach, kinds of outputs, and the soft loss by itself."""

import numpy as np
import pytest
import tensorflow as tf
from tiny_models import KERASES, cnn, compiled, data, fit

import tfprune
from tfprune.backend import view
from tfprune.training.distillation import soft_loss, weighted_mean
from tfprune.training.output_kind import OutputKind, last_activation

everywhere = pytest.mark.parametrize("family", KERASES)


@pytest.fixture(autouse=True)
def eager():
    """Without tracing, which would take nearly all of the time."""
    tf.config.run_functions_eagerly(True)
    yield
    tf.config.run_functions_eagerly(False)


def test_the_soft_loss_of_two_by_two():
    """T^2 (p log(p / q) + (1 - p) log((1 - p) / (1 - q))), p = 3/4 and q = 1/2."""
    taught = tf.math.log([[9.0, 1.0]])  # at T = 2 the odds are 3 to 1
    value = soft_loss(taught, tf.constant([[1.0, 1.0]]), 2.0, False)
    expected = 4 * (0.75 * np.log(1.5) + 0.25 * np.log(0.5))
    np.testing.assert_allclose(value, [expected], rtol=1e-6)
    entries = soft_loss(tf.math.log([[9.0, 1 / 9]]), tf.zeros([1, 2]), 2.0, True)
    np.testing.assert_allclose(entries, [expected], rtol=1e-6)


def test_means_count_what_the_mask_keeps():
    values = tf.constant([[1.0, 2.0], [3.0, 4.0]])
    mask = tf.constant([[True, False], [True, True]])
    assert float(weighted_mean(values, None, None)) == 2.5
    assert float(weighted_mean(values, tf.constant([[2.0], [0.0]]), None)) == 1.5
    assert float(weighted_mean(values, tf.constant([3.0, 1.0]), mask)) == pytest.approx(10 / 3)


@everywhere
@pytest.mark.parametrize(
    "last, loss, logits",
    [
        ("softmax", None, False),
        ("softmax", "kl_divergence", False),
        ("sigmoid", "mse", False),
        ("linear", None, True),
        ("log_softmax", None, True),
        ("relu", "from_logits", True),
        ("relu", "sparse_categorical_crossentropy", False),
        ("relu", None, "last activation is relu"),
        ("linear", "mse", "no cross-entropy"),
        ("linear", "sparse_categorical_crossentropy", "no softmax"),
    ],
)
def test_logits_are_told_from_probabilities(family, last, loss, logits):
    library = KERASES[family]
    layers = library.layers
    if last == "log_softmax":
        last = tf.nn.log_softmax
    net = library.Sequential(
        [
            library.Input((4,)),
            layers.Dense(6, activation=last),
            layers.Dropout(0.1),
            layers.Reshape((2, 3)),
            layers.Activation("linear", dtype="float32"),
        ]
    )
    outer = library.Sequential([library.Input((4,)), net])
    if loss == "from_logits":
        loss = library.losses.SparseCategoricalCrossentropy(from_logits=True)
    outer.compile("sgd", loss)
    kind = OutputKind.of(view(outer))
    if isinstance(logits, bool):
        assert kind.are_logits() is logits
    else:
        with pytest.raises(ValueError, match=logits):
            kind.are_logits()


@everywhere
def test_activations_at_the_end(family):
    layers = KERASES[family].layers
    inputs = KERASES[family].Input((4,))
    x = layers.Dense(3)(inputs)
    squash = tf.nn.softmax if family == "tf_keras" else KERASES[family].ops.softmax
    for output in (layers.Softmax()(x), squash(x)):
        assert last_activation(view(KERASES[family].Model(inputs, output))) == "softmax"
    for output in (x + 1.0, layers.BatchNormalization()(x)):
        assert last_activation(view(KERASES[family].Model(inputs, output))) not in (
            "softmax",
            "linear",
        )
    wrapped = tfprune.prune(KERASES[family].Model(inputs, x), "magnitude", 0.5)
    assert last_activation(view(wrapped)) == "linear"


def run(family, teacher, model=None, **settings):
    """One fit under a teacher."""
    if settings:
        teacher = tfprune.Distillation(teacher, **settings)
    fit(
        model or compiled(cnn(family), family),
        tfprune.PruningCallback("magnitude", 0.5, teacher=teacher),
    )


def dense(family, outputs=3, last="linear", shape=(6, 6, 2)):
    layers, inputs = KERASES[family].layers, KERASES[family].Input(shape)
    x = layers.Dense(4, name="hidden")(layers.Flatten(name="flat")(inputs))
    return KERASES[family].Model(
        inputs, layers.Dense(outputs, activation=last, name="out")(x), name="teacher"
    )


@everywhere
def test_teachers_that_cannot_teach(family):
    library = KERASES[family]
    other = next(name for name in KERASES if name != family)
    with pytest.raises(TypeError, match="of one Keras"):
        run(family, dense(other))
    model = compiled(cnn(family), family)
    with pytest.raises(ValueError, match="is the model that is trained.*clone_model"):
        run(family, model, model)
    with pytest.raises(ValueError, match="shares .*conv.*clone_model"):
        run(family, model, compiled(tfprune.prune(model, "magnitude", 0.5), family))
    with pytest.raises(ValueError, match="'teacher' returns 8x4, the model .* 8x3"):
        run(family, dense(family, outputs=4))
    with pytest.raises(ValueError, match="'teacher' cannot take the batches"):
        run(family, dense(family, shape=(5, 5, 2)))
    with pytest.raises(ValueError, match="single|labels of their own"):
        run(family, dense(family, last="sigmoid"))
    net = dense(family)
    twice = library.Model(net.inputs, [net.output, net.output], name="twice")
    with pytest.raises(ValueError, match="'twice' has several outputs"):
        run(family, twice)
    with pytest.raises(ValueError, match="call it on a batch"):
        run(family, library.Sequential([library.layers.Dense(3)]))
    with pytest.raises(TypeError, match="Expected a Keras model"):
        run(family, 3)
    fit(compiled(cnn(family), family), tfprune.PruningCallback("magnitude", 0.5), epochs=1)


@everywhere
def test_features_that_do_not_fit(family):
    teacher = dense(family)
    with pytest.raises(ValueError, match="'hidden' returns 8x8, the teacher's 'hidden' 8x4"):
        run(family, teacher, features={"hidden": "hidden"})
    with pytest.raises(
        ValueError, match="the teacher 'teacher' has no layer 'hiden'; it has .*out"
    ):
        run(family, teacher, features={"hidden": "hiden"})
    with pytest.raises(ValueError, match="the network .* has no layer 'x'"):
        run(family, teacher, features={"x": "hidden"})


def test_settings_out_of_range():
    teacher = dense("keras")
    for settings, match in (
        ({"temperature": 0.0}, "temperature=0.0: expected a number above 0"),
        ({"temperature": float("inf")}, "above 0"),
        ({"share": 1.5}, r"share=1.5: expected values in \[0, 1\]"),
        ({"share": tfprune.Annealed(0.5, -1.0)}, r"in \[0, 1\]"),
    ):
        with pytest.raises(ValueError, match=match):
            tfprune.Distillation(teacher, **settings)
    with pytest.raises(TypeError, match="names of layers"):
        tfprune.Distillation(teacher, features=["hidden"])


def test_loops_that_do_not_ask_the_teacher():
    model, callback = cnn("keras"), tfprune.PruningCallback("magnitude", 0.5)
    with pytest.raises(RuntimeError, match="teacher=dense"):
        callback.distilled(data()[0], None)
    moving = tfprune.Distillation(dense("keras"), share=tfprune.Annealed(1.0, 0.0))
    pruned = tfprune.PruningCallback("magnitude", schedule=tfprune.OneShot(0.5, 1))
    with pytest.raises(ValueError, match="whose length nobody knows"):
        pruned.start(model, teacher=moving)
    before = model.get_weights()
    at_once = tfprune.PruningCallback("magnitude", schedule=tfprune.Constant(0.5, begin=0))
    with pytest.raises(ValueError, match="is the model that is trained"):
        at_once.start(model, total_steps=2, teacher=model)
    np.testing.assert_array_equal(model.get_weights()[0], before[0])
    callback.start(model, total_steps=2, teacher=dense("keras"))
    with pytest.raises(ValueError, match="pruning.distilled"):
        callback.settle()


def test_one_teacher_for_a_fit():
    both = [
        tfprune.PruningCallback(
            "magnitude",
            0.5,
            allocation=tfprune.PerSite({name: 0.0 for name in names}),
            teacher=dense("keras"),
        )
        for names in (["conv"], ["hidden", "logits"])
    ]
    with pytest.raises(ValueError, match="pass it to one"):
        fit(compiled(cnn("keras"), "keras"), *both)
