# SPDX-License-Identifier: Apache-2.0
"""Trained, saved, cloned, stripped, summarized and quantized as TF-MOT's own wrapped models are."""

import contextlib
import json

import numpy as np
import pytest
import tensorflow as tf
import tf_keras
from drop_in_models import (
    EVERY_STEP,
    KERAS,
    LAYERS,
    LIBRARIES,
    MOT,
    assert_same,
    data,
    fill,
    masks,
    network,
    small,
    train,
    wrappers,
)

import tfprune

DECAY = KERAS.PolynomialDecay(0.2, 0.8, 1, 7, frequency=2)
ONE_ULP = 1e-6  # compiled functions that differ elsewhere may add in another order


def pruned(library, schedule=DECAY, **settings):
    return LIBRARIES[library](network(), schedule, **settings)


@pytest.fixture(scope="module")
def reference():
    """TF-MOT's, after eight steps."""
    return train(pruned("tfmot"))


@pytest.fixture(scope="module")
def ours():
    return train(pruned("tfprune"))


def test_same_masks_and_weights_after_training(ours, reference):
    assert_same(ours, reference, ONE_ULP)
    kernel = wrappers(ours)["prune_low_magnitude_conv"].layer.kernel.numpy()
    assert np.count_nonzero(kernel) == round(kernel.size * 0.2)


def test_same_names_and_variables(ours, reference):
    assert [layer.name for layer in ours.layers] == [layer.name for layer in reference.layers]
    assert [weight.name for weight in ours.weights] == [weight.name for weight in reference.weights]
    assert [weight.shape for weight in ours.weights] == [w.shape for w in reference.weights]
    assert len(ours.trainable_weights) == len(reference.trainable_weights)
    assert len(ours.get_weights()) == len(reference.get_weights())


def test_same_thresholds(ours, reference):
    for name, layer in wrappers(ours).items():
        for one, two in zip(layer.pruning_vars, wrappers(reference)[name].pruning_vars):
            np.testing.assert_allclose(one[2].numpy(), two[2].numpy(), atol=ONE_ULP)


def test_same_with_several_steps_in_one_call(reference):
    model = pruned("tfprune")
    loss = tf_keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(tf_keras.optimizers.SGD(0.1, momentum=0.9), loss, steps_per_execution=4)
    assert_same(train(model), reference, ONE_ULP)


def test_same_in_eager_mode_and_in_a_loop_of_ones_own():
    ends = []
    for library in LIBRARIES:
        model, callback = pruned(library), KERAS.UpdatePruningStep()
        optimizer = tf_keras.optimizers.SGD(0.1)
        loss = tf_keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        model.optimizer = optimizer
        callback.set_model(model)
        callback.on_train_begin()
        inputs, labels = data(4)
        for start in range(0, 16, 4):
            with tf.GradientTape() as tape:
                value = loss(
                    labels[start : start + 4], model(inputs[start : start + 4], training=True)
                )
            gradients = tape.gradient(value, model.trainable_variables)
            optimizer.apply_gradients(zip(gradients, model.trainable_variables))
        callback.on_epoch_end(0)
        ends.append(model)
    assert_same(ends[1], ends[0], ONE_ULP)


def test_training_without_the_callback_is_refused():
    for library in LIBRARIES:
        with pytest.raises(tf.errors.InvalidArgumentError, match="UpdatePruningStep"):
            train(pruned(library), tf_keras.callbacks.History(), steps=1)


@pytest.mark.parametrize(
    "method, structure, words",
    [
        (
            "magnitude",
            tfprune.Filter(coupled=True),
            "chooses channels across the layers of a model",
        ),
        ("synflow", None, "scores of synflow are measured on the model between two steps"),
    ],
)
def test_methods_that_prune_no_layer_by_itself_are_refused(method, structure, words):
    model = tfprune.prune(
        small(), method, structure=structure, schedule=EVERY_STEP, allocation=tfprune.Uniform()
    )
    with pytest.raises(tf.errors.InvalidArgumentError, match=words + r".*PruningCallback\(\)"):
        train(model, steps=1)


def test_inference_needs_no_callback():
    inputs, _ = data(1)
    outputs = [pruned(library).predict(inputs, verbose=0) for library in LIBRARIES]
    np.testing.assert_array_equal(*outputs)


def test_the_weights_stay_the_objects_that_they_were():
    for prune in LIBRARIES.values():
        model = train(network(), tf_keras.callbacks.History(), steps=1)
        wrapped = prune(model)
        assert wrapped.optimizer is None
        for one, two in zip(model.trainable_weights, wrapped.trainable_weights):
            assert one is two


def test_models_are_built_as_late():
    for prune in LIBRARIES.values():
        plain = tf_keras.Sequential([LAYERS.Flatten(), LAYERS.Dense(3, name="d")])
        model = prune(plain, EVERY_STEP)
        assert not model.built
        again = tf_keras.Sequential.from_config(
            model.get_config(), custom_objects={"PruneLowMagnitude": type(model.layers[0])}
        )
        assert not again.built
        model.build((4, 4, 4, 2))
        train(fill(model), steps=2)
        assert masks(model.layers[1])[0].sum() == 48
        assert prune(LAYERS.Dense(2, input_shape=(3,)))._batch_input_shape == (None, 3)


def test_only_some_layers_wrapped_by_hand():
    ends = []
    for prune in LIBRARIES.values():
        model = tf_keras.Sequential(
            [
                prune(LAYERS.Conv2D(4, 3, name="conv"), EVERY_STEP, input_shape=(4, 4, 2)),
                LAYERS.Flatten(name="flat"),
                LAYERS.Dense(3, name="logits"),
            ]
        )
        ends.append(train(fill(model), steps=2))
    assert_same(ends[1], ends[0], ONE_ULP)
    assert list(wrappers(ends[1])) == ["prune_low_magnitude_conv"]


def test_wrapping_twice_changes_nothing():
    model = pruned("tfprune")
    again = tfprune.prune_low_magnitude(model)
    assert [type(layer) for layer in again.layers] == [type(layer) for layer in model.layers]
    assert again.layers[0] is model.layers[0]


def test_clones_are_pruned_alike():
    ends = []
    for library in LIBRARIES:
        with KERAS.prune_scope():
            ends.append(train(fill(tf_keras.models.clone_model(pruned(library))), steps=4))
    assert_same(ends[1], ends[0], ONE_ULP)


def test_json_round_trip():
    with KERAS.prune_scope():
        model = tf_keras.models.model_from_json(pruned("tfprune").to_json())
    assert json.loads(model.to_json()) == json.loads(pruned("tfprune").to_json())


def test_a_nested_model_saved_as_h5_goes_on_in_prune_scope_and_as_it_is(tmp_path):
    theirs = _resumed(_saved("tfmot", network, tmp_path / "theirs.h5"), scope=True)
    file = _saved("tfprune", network, tmp_path / "ours.h5")
    for scope in (True, False):
        assert_same(_resumed(file, scope), theirs, ONE_ULP)


def test_a_saved_model_folder_goes_on(tmp_path):
    theirs = _resumed(_saved("tfmot", small, tmp_path / "theirs"), scope=True)
    ours = _resumed(_saved("tfprune", small, tmp_path / "ours"), scope=False)
    assert_same(ours, theirs, ONE_ULP)


@pytest.mark.parametrize("ending", [".keras", ".h5", ""])
def test_what_tfmot_saved_goes_on_under_our_callback(ending, tmp_path):
    path, model = tmp_path / f"theirs{ending}", pruned("tfmot")
    # A SavedModel comes back without the state of its optimizer.
    model.compile(
        tf_keras.optimizers.SGD(0.1),
        tf_keras.losses.SparseCategoricalCrossentropy(from_logits=True),
    )
    train(model, steps=4).save(path)
    loaded = tfprune.load_model(path)
    assert_same(loaded, model)
    for one in (model, loaded):
        train(one, tfprune.PruningCallback(), steps=4)
    assert_same(loaded, model)


def test_what_tfmot_did_not_save_of_its_settings_is_said(tmp_path):
    model = LIBRARIES["tfmot"](small(), EVERY_STEP, sparsity_m_by_n=(2, 4))
    train(model, steps=4).save(tmp_path / "theirs.h5")
    with pytest.warns(UserWarning, match="does not save sparsity_m_by_n.* Wrap the model again"):
        tfprune.load_model(tmp_path / "theirs.h5")


def _saved(library, build, path):
    """The file of a model that was trained for four steps."""
    train(LIBRARIES[library](build(), DECAY), steps=4).save(path)
    return path


def _resumed(path, scope):
    """The model of a file, trained for four more."""
    with KERAS.prune_scope() if scope else contextlib.nullcontext():
        return train(tf_keras.models.load_model(path), steps=4)


def test_weight_checkpoints_go_both_ways(tmp_path, ours):
    path = str(tmp_path / "weights")
    ours.save_weights(path)
    model = pruned("tfprune")
    model.load_weights(path)
    assert_same(model, ours)


def test_either_strips_the_others_model(ours, reference):
    plain = [
        KERAS.strip_pruning(ours),
        tfprune.strip_pruning(ours),
        tfprune.strip_pruning(reference),
    ]
    expected = KERAS.strip_pruning(reference)
    inputs, _ = data(1)
    for model in plain:
        assert not wrappers(model)
        assert [layer.name for layer in model.layers] == [layer.name for layer in expected.layers]
        for one, two in zip(model.get_weights(), expected.get_weights()):
            np.testing.assert_allclose(one, two, rtol=0, atol=ONE_ULP)
        np.testing.assert_allclose(model(inputs), expected(inputs), atol=1e-5)


def test_summaries(tmp_path):
    logged = []
    for library in LIBRARIES:
        folder = tmp_path / library
        train(
            pruned(library),
            KERAS.UpdatePruningStep(),
            KERAS.PruningSummaries(str(folder)),
            steps=2,
            epochs=2,
        )
        tags = {}
        for file in sorted((folder / "metrics").iterdir()):
            for event in tf.compat.v1.train.summary_iterator(str(file)):
                for value in event.summary.value:
                    tags[value.tag] = float(tf.make_ndarray(value.tensor))
        logged.append(tags)
    assert logged[0] and logged[1].keys() == logged[0].keys()
    for tag, value in logged[0].items():
        assert logged[1][tag] == pytest.approx(value, abs=1e-5), tag


def test_prune_preserving_quantization_takes_the_stripped_model():
    stripped = KERAS.strip_pruning(train(tfprune.prune_low_magnitude(small(), EVERY_STEP)))
    quantization = MOT.quantization.keras
    scheme = MOT.experimental.combine.Default8BitPrunePreserveQuantizeScheme()
    quantized = quantization.quantize_apply(quantization.quantize_annotate_model(stripped), scheme)
    train(quantized, tf_keras.callbacks.History(), steps=2)
    zeros = {name: 1 - np.count_nonzero(value) / value.size for name, value in _kernels(quantized)}
    assert zeros == {"quant_conv": 0.5, "quant_logits": 0.5}


def _kernels(model):
    for layer in model.layers:
        for weight in layer.weights:
            if "kernel:" in weight.name:
                yield layer.name, weight.numpy()


def test_our_callback_prunes_what_tfmot_wrapped():
    ends = []
    for library in LIBRARIES:
        callback = tfprune.PruningCallback()
        ends.append(train(pruned(library), callback))
        assert len(callback.driver.targets) == 3
    assert_same(ends[1], ends[0], ONE_ULP)
    for layer in wrappers(ends[0]).values():
        for weight, mask, _ in layer.pruning_vars:
            assert mask.numpy().sum() == round(mask.numpy().size * 0.2)
            np.testing.assert_array_equal(weight.numpy() * (1 - mask.numpy()), 0)
