# SPDX-License-Identifier: Apache-2.0
"""The gate of DPP in training: against an independent loop, and what each step may change."""

import zlib

import numpy as np
import pytest
import tensorflow as tf
from tiny_models import BATCH, KERASES, STEPS, arrays, cnn, compiled, data, fit, with_weights

import tfprune
from tfprune.masks.structures import Rows
from tfprune.methods.gates import Annealed, GumbelTopKGate
from tfprune.methods.gates.gumbel_topk import gumbel

everywhere = pytest.mark.parametrize("family", KERASES)


def fitted(model, family, *, optimizer=None, shape=(6, 6, 2), epochs=2, watch=(), **changes):
    """The callback of a fit under DPP at half, or at what the structure fixes."""
    method = tfprune.get_method("dpp", **changes)
    fixed = method.rule.structure.fixed is not None
    callback = tfprune.PruningCallback(method, None if fixed else 0.5)
    fit(
        compiled(model, family, optimizer),
        callback,
        *[one(callback) for one in watch],
        epochs=epochs,
        shape=shape,
    )
    return callback


def dense(family):
    library = KERASES[family]
    return with_weights(
        library.Sequential([library.Input((4,)), library.layers.Dense(3, use_bias=False, name="d")])
    )


def loop(family, weight, logits, steps, gate, k):
    """The same training without the library: one softmax after the other, gradients by the tape."""
    inputs, labels = data((4,))
    loss_of = KERASES[family].losses.SparseCategoricalCrossentropy(from_logits=True)
    first = second = np.zeros_like(logits)
    for step in range(steps):
        seed = [gate.seed ^ zlib.crc32(b"d/kernel"), step]
        noise = gumbel(logits.shape, tf.constant(seed, tf.int64)).numpy()
        noise *= np.float32(gate.noise.at(step / steps))
        order = np.argsort(-(logits + noise), axis=1)[:, :k]
        hard = np.zeros_like(logits)
        np.put_along_axis(hard, order, 1, axis=1)
        temperature, mu = (course.at(step / steps) for course in (gate.temperature, gate.entropy))
        phi, dense = tf.constant(logits), tf.constant(weight)
        at = slice((step % STEPS) * BATCH, (step % STEPS + 1) * BATCH)
        with tf.GradientTape() as tape:
            tape.watch([phi, dense])
            soft = used = tf.zeros_like(phi)
            for j in range(k):
                soft += tf.nn.softmax((phi + noise - 1e9 * used) / temperature)
                used += tf.one_hot(order[:, j], phi.shape[1])
            mask = tf.stop_gradient(hard - soft) + soft
            chances = tf.nn.softmax(phi)
            spread = -tf.reduce_sum(chances * tf.math.log(chances))
            outputs = tf.matmul(inputs[at], tf.transpose(mask) * dense)
            value = loss_of(labels[at], outputs) + mu * spread
        slope, of_weight = (one.numpy() for one in tape.gradient(value, [phi, dense]))
        weight = weight - 0.1 * of_weight
        first, second = 0.9 * first + 0.1 * slope, 0.999 * second + 0.001 * slope**2
        size = np.sqrt(second / (1 - 0.999 ** (step + 1))) + 1e-8
        logits = (logits - gate.rate * first / (1 - 0.9 ** (step + 1)) / size).astype("float32")
    return weight, logits


@pytest.mark.parametrize("k", [1, 2])
@everywhere
def test_dpp_is_an_independent_loop(family, k):
    gate = GumbelTopKGate(
        Annealed(2.0, 0.5), Annealed(0.0, 0.1), rate=0.05, seed=4, noise=Annealed(1.0, 0.5)
    )
    model = dense(family)
    (weight,) = model.get_weights()
    begun = {}

    class Begun(KERASES[family].callbacks.Callback):
        def on_train_batch_begin(self, batch, logs=None):
            (target,) = callback.driver.targets
            begun.setdefault("logits", target.state["logits"].numpy())

    callback = tfprune.PruningCallback(tfprune.get_method("dpp", gate=gate, structure=Rows(k=k)))
    fit(compiled(model, family, KERASES[family].optimizers.SGD(0.1)), callback, Begun(), shape=(4,))
    weight, logits = loop(family, weight, begun["logits"], 2 * STEPS, gate, k)
    (target,) = callback.driver.targets
    np.testing.assert_allclose(target.state["logits"].numpy(), logits, atol=2e-5)
    kernel, mask, hidden = arrays(target)
    np.testing.assert_allclose(kernel + hidden, weight, atol=1e-5)
    np.testing.assert_array_equal(mask.T, np.argsort(np.argsort(-logits)) < k)


def watching(family, seen):
    """A callback that notes, before and after each step, what DPP and the optimizer hold."""

    class Watch(KERASES[family].callbacks.Callback):
        def __init__(self, callback):
            super().__init__()
            self.driver = lambda: callback.driver

        def held(self):
            driver = self.driver()
            return [
                (
                    *(
                        one.numpy()
                        for one in driver.adapter.momenta(self.model.optimizer, target.kernel)
                    ),
                    sum(arrays(target)[::2]),
                    {name: one.numpy() for name, one in target.state.items()},
                )
                for target in driver.targets
            ]

        def on_train_batch_begin(self, batch, logs=None):
            self.before = self.held()

        def on_train_batch_end(self, batch, logs=None):
            seen.append((self.before, self.held()))

    return Watch


@everywhere
def test_what_is_not_drawn_comes_out_of_a_step_unchanged(family):
    seen = []
    model = cnn(family)
    optimizer = KERASES[family].optimizers.Adam(0.05)
    optimizer.build(model.trainable_variables)
    callback = fitted(model, family, optimizer=optimizer, watch=[watching(family, seen)])
    assert len(seen) == 2 * STEPS
    for before, after in seen:
        for target, old, new in zip(callback.driver.targets, before, after):
            drawn = new[-1]["drawn"]
            assert (drawn.sum(axis=1) == drawn.shape[1] // 2).all()
            present = Rows().expand(drawn != 0, target.site.shape, target.site.layout)
            for one, other, decay in zip(old[:-2], new[:-2], (0.9, 0.999)):
                np.testing.assert_allclose(decay * one[~present], other[~present], rtol=1e-5)
            np.testing.assert_allclose(old[-2][~present], new[-2][~present], rtol=1e-6)
            assert (old[-2] != new[-2])[present].mean() > 0.5  # behind ReLU some rest
    draws = [after[1][-1]["drawn"] for _, after in seen]
    assert any((one != draws[0]).any() for one in draws)


def test_rows_take_turns():
    seen, family = [], "keras"
    callback = fitted(
        cnn(family), family, gate=GumbelTopKGate(turn=128, rate=0.1), watch=[watching(family, seen)]
    )
    hidden = callback.driver.targets[1]  # eight rows of 64: two of them in each turn
    assert hidden.state["order"].shape == (2, 64)
    for step, (before, after) in enumerate(seen):
        old, new = before[1][-1], after[1][-1]
        turn = np.arange(8) // 2 == step % 4
        assert (new["drawn"].sum(axis=1) == 32).all()
        np.testing.assert_array_equal((old["logits"] != new["logits"]).any(axis=1), turn)
        if step:
            np.testing.assert_array_equal(new["drawn"][~turn], old["drawn"][~turn])


def test_logits_find_the_inputs_that_matter():
    import keras

    generator = np.random.default_rng(0)
    inputs = generator.normal(size=(512, 8)).astype("float32")
    outputs = inputs[:, [2, 5]] @ np.array([[2.0, -2.0], [2.0, 2.0]])
    model = with_weights(
        keras.Sequential([keras.Input((8,)), keras.layers.Dense(2, use_bias=False, name="d")])
    )
    model.compile(keras.optimizers.SGD(0.1), "mse")
    callback = tfprune.PruningCallback(
        tfprune.get_method(
            "dpp", gate=GumbelTopKGate(rate=0.03), structure=Rows(k=2), deviation=0.5
        )
    )
    model.fit(
        inputs, outputs, batch_size=64, epochs=20, verbose=0, shuffle=False, callbacks=[callback]
    )
    assert np.flatnonzero(model.get_weights()[0].any(axis=1)).tolist() == [2, 5]
    note = callback.report.sites[0].notes[0]
    assert note.startswith("confidence 0.") and "definitions of this project" in note


@pytest.mark.parametrize("bits", [8, 1])
def test_quantized_weights_are_at_rest_what_is_deployed(bits, tmp_path, family="keras"):
    callback = fitted(cnn(family), family, gate=GumbelTopKGate(bits=bits))
    model = callback.model
    for target in callback.driver.targets:
        kernel, mask, hidden = arrays(target)
        weight = (kernel + hidden) * mask
        scale = 127 / abs(weight).max()
        expected = np.round(weight * scale) / scale if bits == 8 else np.sign(weight)
        np.testing.assert_allclose(kernel, expected, atol=1e-6)
        if bits == 1:
            assert set(np.unique(kernel)) == {-1, 0, 1}
    model.save(tmp_path / "m.keras")
    inputs = data()[0]
    again = KERASES[family].models.load_model(tmp_path / "m.keras")
    expected = model.predict(inputs, verbose=0)
    np.testing.assert_array_equal(again.predict(inputs, verbose=0), expected)


@pytest.mark.parametrize(
    "bits, slope", [(32, [0.5, 0, 1, 0]), (8, [0.5, 0, 1, 0]), (1, [0.5, 0, 0, 0])]
)
def test_the_gradient_of_quantized_weights_by_hand(bits, slope):
    from tfprune.masks import kernel_layout
    from tfprune.masks.sites import Site
    from tfprune.methods.gates import Moment

    site = Site("d/kernel", (4, 1), kernel_layout.DENSE, "d")
    gate, structure = GumbelTopKGate(bits=bits, rate=0.1), Rows(k=2)
    weight = tf.constant([[-0.5], [0.25], [2.0], [-3.0]])
    state = {name: tf.constant(one) for name, one in gate.state(site, structure).items()}
    state |= {"logits": tf.constant([[9.0, -9, 8, -8]]), "count": tf.constant(2.0)}
    now = Moment(
        site, structure, weight, tf.ones((4, 1), bool), state, tf.constant(0), tf.constant(0.0)
    )
    shown, changes = gate.open(now)
    expected = {32: [-0.5, 0, 2, 0], 8: [-32 * 2 / 127, 0, 2, 0], 1: [-1, 0, 1, 0]}[bits]
    np.testing.assert_allclose(shown[:, 0], expected, rtol=1e-6)
    now.state.update(changes)
    gradient, changes = gate.learn(now, tf.constant([[0.5], [0.5], [1.0], [1.0]]))
    np.testing.assert_allclose(gradient[:, 0], slope)
    assert changes["logits"].shape == (1, 4)


@everywhere
def test_k_of_n_in_the_exported_file(family, tmp_path):
    from ai_edge_litert.interpreter import Interpreter

    from tflite_export import export

    callback = fitted(cnn(family), family, structure=Rows("weights", 3))
    export(callback.model, tmp_path / "m.tflite", sparse=False)
    interpreter = Interpreter(str(tmp_path / "m.tflite"))
    held = {}
    for detail in interpreter.get_tensor_details():
        if len(detail["shape"]) > 1:
            try:
                held[tuple(detail["shape"])] = interpreter.get_tensor(detail["index"])
            except ValueError:  # an activation
                continue
    for shape, axes in (((4, 3, 3, 2), (1, 2)), ((8, 64), 1), ((3, 8), 1)):
        counts = np.count_nonzero(held[shape], axis=axes)
        np.testing.assert_array_equal(counts, np.full(counts.shape, 3))


@pytest.mark.parametrize(
    "change, message",
    [
        ({"temperature": Annealed(5.0, 0.0)}, "expected values above 0"),
        ({"temperature": Annealed(-1.0, 1.0)}, "expected values above 0"),
        ({"entropy": Annealed(0.0, -1e-5)}, "expected values of at least 0"),
        ({"noise": Annealed(1.0, -0.1)}, "noise="),
        ({"rate": 0.0}, "rate=0.0"),
        ({"bits": 4}, "expected 32, 8 or 1"),
        ({"turn": 0}, "turn=0"),
    ],
)
def test_settings_out_of_range(change, message):
    with pytest.raises(ValueError, match=message):
        GumbelTopKGate(**change)


def test_courses():
    assert [round(Annealed(5.0, 0.5).at(e / 9), 12) for e in range(10)] == [
        5,
        4.5,
        4,
        3.5,
        3,
        2.5,
        2,
        1.5,
        1,
        0.5,
    ]
    assert [Annealed(0.0, 4.0, until=0.5).at(t) for t in (0, 0.25, 0.5, 1)] == [0, 2, 4, 4]
    for wrong in ((0.0, float("nan")), (float("inf"), 1.0)):
        with pytest.raises(ValueError, match="finite"):
            Annealed(*wrong)
    with pytest.raises(ValueError, match="until=0"):
        Annealed(1.0, 1.0, until=0)


def test_structures_and_rules_that_do_not_fit():
    for structure in (tfprune.Filter(coupled=True), tfprune.Pattern()):
        with pytest.raises(ValueError, match="does not fit"):
            tfprune.get_method("dpp", structure=structure)
    with pytest.raises(ValueError, match="deviation=0"):
        tfprune.get_method("dpp", deviation=0)
    callback = tfprune.PruningCallback(tfprune.get_method("magnitude", gate=GumbelTopKGate()), 0.5)
    with pytest.raises(ValueError, match="needs a rule that keeps logits"):
        fit(compiled(dense("keras"), "keras"), callback, shape=(4,))


def test_more_than_there_is():
    callback = tfprune.PruningCallback("dpp", structure=Rows("kernels", 5))
    with pytest.raises(ValueError, match="4, fewer than k=5"):
        fit(compiled(dense("keras"), "keras"), callback, shape=(4,))


@everywhere
def test_a_wrapped_model_knows_how_sure_its_choices_are(family):
    from tfprune.methods.rules.mask_statistics import confidence

    model = tfprune.prune(dense(family), "dpp", structure=Rows(k=2))
    (row,) = tfprune.report(model).sites
    (wrapper,) = [layer for layer in model.layers if hasattr(layer, "state_vars")]
    logits = np.asarray(wrapper.state_vars[0]["logits"])
    assert logits.shape == (3, 4)
    assert row.notes[0].startswith(f"confidence {confidence(logits):.3f}, ")
