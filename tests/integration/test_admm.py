# SPDX-License-Identifier: Apache-2.0
"""ADMM without data: structures, kinds of models, retraining, interruption, export."""

import dataclasses
import io

import numpy as np
import pytest
import tensorflow as tf
from admm_models import QUICK, method, network
from ai_edge_litert.interpreter import Interpreter
from tiny_models import KERASES, check_run, cnn, compiled, fit, with_weights, zeros

import tflite_export
import tfprune
from tfprune.masks import pattern_library
from tfprune.masks.structures import Column, Element, Filter, Kernel, Pattern
from tfprune.reconstruction import admm

everywhere = pytest.mark.parametrize("family", KERASES)
LIBRARY = pattern_library.FOUR_OF_NINE


def weights(model):
    return [np.array(one) for one in model.get_weights()]


def assert_equal(one, other):
    for first, second in zip(one, other, strict=True):
        np.testing.assert_array_equal(first, second)


@pytest.mark.parametrize(
    "family, structure, kept",
    [
        ("keras", Element(), [36, 72, 12, 576]),
        ("tf_keras", Filter(), [36, 72, 12, 768]),
        ("keras", Column(), [36, 72, 12, 576]),
        ("tf_keras", Kernel(), [36, 72, 12, 576]),
        ("keras", Pattern(), [32, 64]),
        ("keras", Pattern(connectivity=True), [16, 32]),
        ("tf_keras", Pattern(connectivity=True, balanced=True), [16, 32]),
    ],
    ids=str,
)
def test_structures(family, structure, kept, monkeypatch):
    """Exact counts, whole groups, other kept weights; the teacher rests while it is solved."""
    model = network(family)
    before, seen = weights(model), []
    solve = admm.solve

    def watched(*arguments, **settings):
        found = solve(*arguments, **settings)
        seen.append(weights(model))
        return found

    monkeypatch.setattr(admm, "solve", watched)
    sparsity = None if structure.fixed else 0.5
    report = tfprune.sparsify(model, method(), sparsity, structure=structure)
    assert len(seen) == 1
    assert_equal(seen[0], before)
    assert [row.kept for row in report.sites] == kept and not report.warnings
    assert all("ADMM on synthetic inputs" in row.notes[0] for row in report.sites)
    first = model.get_layer("first")
    kernel, bias = first.get_weights()
    held = kernel != 0
    assert (kernel[held] != before[0][held]).any() and (bias != before[1]).any()
    assert_equal(
        model.get_layer("normal").get_weights(), network(family).get_layer("normal").get_weights()
    )
    if isinstance(structure, Pattern):
        for name in ("first", "second"):
            shapes = pattern_library.kept_shapes(model.get_layer(name).get_weights()[0])
            assert shapes <= {(), *LIBRARY}
        assert {skip.name for skip in report.skipped} >= {"pointwise/kernel", "logits/kernel"}
    if getattr(structure, "balanced", False):
        alive = model.get_layer("second").get_weights()[0].any(axis=(0, 1)).sum(axis=0)
        assert alive.tolist() == [2, 2, 2, 2]


def test_the_seed_decides_and_no_random_state_moves(family="keras"):
    found = {}
    tf.random.set_seed(7)
    drawn = float(tf.random.uniform([]))
    for seed in (1, 1, 2):
        tf.random.set_seed(7)
        model = cnn(family)
        tfprune.sparsify(model, method(seed=seed), 0.6)
        found.setdefault(seed, []).append(weights(model))
        assert float(tf.random.uniform([])) == drawn
    assert_equal(*found[1])
    assert any((a != b).any() for a, b in zip(found[1][0], found[2][0]))


def test_global_allocation_counts_over_all_layers():
    report = tfprune.sparsify(cnn("keras"), method(allocation=tfprune.Global()), 0.6)
    assert report.kept == round(report.size * 0.4)


def several(family):
    """Image, tokens and a vector; a recurrent layer, a shared layer, a nested model."""
    library = KERASES[family]
    layers = library.layers
    image, vector = library.Input((4, 4, 1), name="image"), library.Input((5,), name="vector")
    tokens = library.Input((6,), dtype="int32", name="tokens")
    shared = layers.Dense(4, activation="relu", name="shared")
    inner = library.Sequential(
        [library.Input((5,)), layers.Dense(4, name="inside"), layers.ReLU()], name="nested"
    )
    words = layers.Embedding(9, 4, name="words")(tokens)
    words = layers.LSTM(4, name="lstm")(words)
    x = layers.Conv2D(4, 3, name="conv")(image)
    x = shared(layers.GlobalAveragePooling2D()(x))
    x = layers.Concatenate()([x, shared(words), inner(vector)])
    model = library.Model(
        {"image": image, "tokens": tokens, "vector": vector}, layers.Dense(2, name="end")(x)
    )
    return with_weights(model)


@everywhere
def test_several_inputs_and_all_kinds_of_layers(family):
    model = several(family)
    report = tfprune.sparsify(model, method(), 0.5)
    assert not report.warnings and len(report.sites) == 7
    for row in report.sites:
        assert row.kept == max(1, round(row.size * 0.5)) and len(row.notes) == 1, row.name
    answers = model(
        {"image": np.ones((2, 4, 4, 1)), "tokens": np.full((2, 6), 8), "vector": np.ones((2, 5))}
    )
    assert np.isfinite(np.asarray(answers)).all()


@everywhere
def test_subclassed_and_open_sizes(family):
    layers = KERASES[family].layers

    class Own(KERASES[family].Model):
        def __init__(self):
            super().__init__()
            self.first, self.last = layers.Dense(4, name="first"), layers.Dense(2, name="last")

        def call(self, inputs):
            return self.last(tf.nn.relu(self.first(inputs)))

    model = Own()
    model(np.ones((1, 6), "float32"))
    report = tfprune.sparsify(model, method(), 0.5)
    assert [row.kept for row in report.sites] == [12, 4] and not report.warnings

    library = KERASES[family]
    text = library.Sequential(
        [
            library.Input((None,), dtype="int32"),
            layers.Embedding(7, 3),
            layers.GlobalAveragePooling1D(),
            layers.Dense(2),
        ]
    )
    with pytest.raises(ValueError, match=r"SyntheticInputs\(size=32\)"):
        tfprune.sparsify(text, method(), 0.5)
    inputs = dataclasses.replace(QUICK.inputs, size=5)
    solved = method(solver=dataclasses.replace(QUICK, inputs=inputs))
    assert tfprune.sparsify(text, solved, 0.5).kept == 10 + 3


@everywhere
def test_an_interrupted_search_changes_nothing(family, monkeypatch):
    model = cnn(family)
    before = weights(model)

    def interrupted(*arguments, **settings):
        raise KeyboardInterrupt

    monkeypatch.setattr("tfprune.output.progress.Progress.advance", interrupted)
    with pytest.raises(KeyboardInterrupt):
        tfprune.sparsify(model, method(), 0.5)
    assert_equal(weights(model), before)
    assert "call" not in vars(model.get_layer("conv"))
    monkeypatch.undo()
    assert tfprune.sparsify(model, method(), 0.5).kept == 304


@pytest.mark.parametrize("family, wrap", [("keras", True), ("tf_keras", False)])
def test_masked_retraining_keeps_exactly_these_zeros(family, wrap):
    """Afterwards, from a model that is only sparse: with momentum and weight decay."""
    model = network(family)
    tfprune.sparsify(model, method(structure=Pattern(connectivity=True)), 0.5)
    before, held = weights(model), zeros(model)
    optimizer = KERASES[family].optimizers.SGD(0.05, momentum=0.9, weight_decay=0.01)
    callback = tfprune.PruningCallback(schedule=tfprune.FixedMask())
    if wrap:
        model, callback = (
            tfprune.prune(model, schedule=tfprune.FixedMask()),
            tfprune.PruningCallback(),
        )
    fit(compiled(model, family, optimizer), callback, shape=(8, 8, 2))
    for name, kept in zeros(tfprune.strip_pruning(model)).items():
        np.testing.assert_array_equal(kept, held[name])
    assert not callback.report.warnings
    moved = weights(tfprune.strip_pruning(model))
    assert all((old != new).any() for old, new in zip(before, moved) if old.any())


@everywhere
def test_within_a_fit(family):
    """The masks of the search hold from the first step on."""
    model = cnn(family)
    callback = tfprune.PruningCallback(method(), 0.6)
    fit(compiled(model, family), callback)
    check_run(callback, 0.6)
    assert not callback.report.warnings


@pytest.mark.parametrize("terminal, shown", [(True, True), (True, False), (False, True)])
def test_progress_is_shown_on_terminals_only(monkeypatch, terminal, shown):
    from rich import console

    written = io.StringIO()
    real = console.Console
    monkeypatch.setattr(console, "Console", lambda: real(file=written, force_terminal=terminal))
    model = KERASES["keras"].Sequential(
        [KERASES["keras"].Input((4,)), KERASES["keras"].layers.Dense(3)]
    )
    tfprune.sparsify(model, method(solver=dataclasses.replace(QUICK, progress=shown)), 0.5)
    assert ("off the structure" in written.getvalue()) == (terminal and shown)


@everywhere
def test_the_exported_file_has_exactly_the_patterns(family, tmp_path):
    model = network(family)
    tfprune.sparsify(model, method(structure=Pattern()))
    path = tmp_path / "patterns.tflite"
    tflite_export.export(model, path, data=np.ones((2, 8, 8, 2), "float32"))
    interpreter = Interpreter(model_path=str(path))
    interpreter.allocate_tensors()
    shapes = {(4, 3, 3, 2): "first", (4, 3, 3, 4): "second"}
    seen = set()
    for detail in interpreter.get_tensor_details():
        if tuple(detail["shape"]) in shapes and not detail["name"].startswith("serving"):
            value = interpreter.get_tensor(detail["index"])
            kernel = model.get_layer(shapes[tuple(detail["shape"])]).get_weights()[0]
            np.testing.assert_array_equal(np.transpose(value, (1, 2, 3, 0)) != 0, kernel != 0)
            assert pattern_library.kept_shapes(np.transpose(value, (1, 2, 3, 0))) <= set(LIBRARY)
            seen.add(tuple(detail["shape"]))
    assert seen == set(shapes)
