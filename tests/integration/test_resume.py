# SPDX-License-Identifier: Apache-2.0
"""Saved, loaded and trained on: the same masks, step and weights as the uninterrupted run."""

import functools

import numpy as np
import pytest
from tiny_models import KERASES, STEPS, check_run, cnn, compiled, examples, fit, masks, said, zeros

import tfprune

SPARSITY = 0.6
SCHEDULE = tfprune.Polynomial(SPARSITY, end=12, frequency=2)  # 4 epochs of 3 steps
# Runs are stopped half way.
pytestmark = pytest.mark.filterwarnings("ignore:The pruning schedule .* is cut short")
GATES = [tfprune.MaskGate(), tfprune.MaskGate(straight_through=True)]
# Every format once; the gate that keeps nothing where the optimizer's state is saved, too.
WHOLE = [
    ("keras-.keras", GATES[1]),
    ("tf_keras-.keras", GATES[1]),
    ("tf_keras-.h5", GATES[0]),
    ("tf_keras-folder", GATES[1]),
]


def method(gate):
    return tfprune.get_method("magnitude", gate=gate, schedule=SCHEDULE)


def wrapped(family, gate, momentum=0.9):
    optimizer = KERASES[family].optimizers.SGD(0.05, momentum=momentum)
    return compiled(tfprune.prune(cnn(family), method(gate)), family, optimizer)


@functools.cache
def uninterrupted(family, gate, momentum=0.9):
    """The callback of a run without a break, to compare with; nobody trains its model on."""
    callback = tfprune.PruningCallback()
    model = wrapped(family, gate, momentum)
    fit(model, callback, epochs=4)
    check_run(callback, SPARSITY)
    return callback


def assert_same_end(callback, reference):
    assert callback.driver.finished == reference.driver.finished == 4 * STEPS
    for one, other in zip(callback.driver.targets, reference.driver.targets):
        assert one.site == other.site
        np.testing.assert_array_equal(one.mask.numpy(), other.mask.numpy())
        np.testing.assert_array_equal(one.kernel.numpy(), other.kernel.numpy())


@pytest.mark.parametrize("form, gate", WHOLE, ids=str)
def test_a_whole_saved_model_goes_on(form, gate, tmp_path):
    family, ending = form.split("-")
    path = str(tmp_path / ("model" + ending.replace("folder", "")))
    # tf_keras reads a SavedModel without the state of the optimizer.
    momentum = 0.0 if ending == "folder" else 0.9
    model, first = wrapped(family, gate, momentum), tfprune.PruningCallback()
    fit(model, first, epochs=2)
    model.save(path)

    loaded = tfprune.load_model(path)
    assert tfprune.report(loaded).to_dict() == tfprune.report(model).to_dict()
    assert [type(layer).__name__ for layer in loaded.layers] == [
        type(layer).__name__ for layer in model.layers
    ]
    for layer in loaded.layers:
        if hasattr(layer, "pruning_vars"):
            assert layer.method == method(gate)
            assert int(layer.pruning_step) == 2 * STEPS
    again = tfprune.PruningCallback()
    fit(loaded, again, epochs=4, initial_epoch=2)
    assert_same_end(again, uninterrupted(family, gate, momentum))


@pytest.mark.parametrize("family", KERASES)
def test_plain_load_model_needs_no_custom_objects(family, tmp_path):
    model = wrapped(family, GATES[0])
    fit(model, tfprune.PruningCallback())
    model.save(tmp_path / "model.keras")
    loaded = KERASES[family].models.load_model(tmp_path / "model.keras")
    for name, mask in zeros(loaded).items():
        np.testing.assert_array_equal(mask, zeros(model)[name])


@pytest.mark.parametrize(
    "family, ending, gate",
    [
        ("keras", ".weights.h5", GATES[1]),
        ("tf_keras", ".weights.h5", GATES[0]),
        ("tf_keras", "", GATES[1]),
    ],
    ids=str,
)
def test_a_weight_checkpoint_goes_on(family, ending, gate, tmp_path):
    library = KERASES[family]
    path = str(tmp_path / ("epoch{epoch}" + ending))
    # Weights in h5 hold no state of the optimizer, TensorFlow's checkpoints do.
    momentum = 0.0 if ending else 0.9
    model, callback = wrapped(family, gate, momentum), tfprune.PruningCallback()
    fit(model, callback, library.callbacks.ModelCheckpoint(path, save_weights_only=True))

    restored = wrapped(family, gate, momentum)
    restored.load_weights(path.format(epoch=2))
    for name, mask in zeros(restored).items():
        np.testing.assert_array_equal(mask, masks(callback)[name])
    again = tfprune.PruningCallback()
    fit(restored, again, epochs=4, initial_epoch=2)
    check_run(again, SPARSITY)
    assert_same_end(again, uninterrupted(family, gate, momentum))


@pytest.mark.parametrize("wrap", [False, True], ids=["callback", "wrapped"])
@pytest.mark.parametrize("family", KERASES)
def test_checkpoints_written_during_training_are_sparse(family, wrap, tmp_path):
    library = KERASES[family]
    ending = "" if family == "tf_keras" else ".keras"  # the folder of a SavedModel traces again
    checkpoint = library.callbacks.ModelCheckpoint(str(tmp_path / f"epoch{{epoch}}{ending}"))
    if wrap:
        model, callback = wrapped(family, GATES[0]), tfprune.PruningCallback()
    else:
        model, callback = compiled(cnn(family), family), tfprune.PruningCallback(method(GATES[0]))
    # The checkpoint is written before the epoch ends for the callback, too.
    fit(model, checkpoint, callback, epochs=4)
    shares = []
    for epoch in range(1, 5):
        kept = zeros(tfprune.load_model(tmp_path / f"epoch{epoch}{ending}")).values()
        shares.append(1 - sum(m.sum() for m in kept) / sum(m.size for m in kept))
    assert shares == sorted(shares) and shares[0] > 0.2
    assert shares[-1] == pytest.approx(SPARSITY, abs=0.01)


@pytest.mark.parametrize("family", KERASES)
def test_callback_alone_goes_on_with_the_zeros_as_masks(family, tmp_path):
    model = compiled(cnn(family), family)
    fit(model, tfprune.PruningCallback(method(GATES[0])))
    model.save(tmp_path / "model.keras")
    held = zeros(model)

    restored = KERASES[family].models.load_model(tmp_path / "model.keras")
    seen = []

    class Look(KERASES[family].callbacks.Callback):
        def on_train_batch_begin(self, batch, logs=None):
            seen.append(masks(again))

    again = tfprune.PruningCallback(method(GATES[0]))
    fit(restored, again, Look(), epochs=4, initial_epoch=2)
    for name, mask in seen[0].items():
        np.testing.assert_array_equal(mask, held[name])
    whole = tfprune.PruningCallback(method(GATES[0]))
    fit(compiled(cnn(family), family), whole, epochs=4)
    assert_same_end(again, whole)


def as_of_an_earlier_version(model):
    """What is made of a file that was written before wrappers remembered anything."""

    def without(value):
        if isinstance(value, dict):
            return {key: without(one) for key, one in value.items() if key != "memory"}
        return type(value)(map(without, value)) if isinstance(value, (list, tuple)) else value

    return type(model).from_config(without(model.get_config()))


@pytest.mark.parametrize("name", ["taylor", "djpq"])
@pytest.mark.parametrize("family", KERASES)
def test_files_of_an_earlier_version_load_and_go_on(family, name, tmp_path):
    settings = {"schedule": SCHEDULE} if name == "taylor" else {}
    KERASES[family].utils.set_random_seed(3)
    new, model = (tfprune.prune(cnn(family), name, **settings) for _ in range(2))
    model, data = as_of_an_earlier_version(model), examples(family)
    assert len(model.weights) < len(new.weights)
    fit(compiled(model, family, run_eagerly=True), tfprune.PruningCallback(data=data))
    predicted = model(data.source[0])
    model.save_weights(tmp_path / "model.weights.h5")
    new.load_weights(tmp_path / "model.weights.h5")
    np.testing.assert_array_equal(new(data.source[0]), predicted)
    # tf_keras gives variables of a model made from a configuration one name, which h5 refuses.
    for ending in (".keras", ".h5")[: 1 + (family == "keras")]:
        model.save(tmp_path / f"model{ending}")
        loaded = tfprune.load_model(tmp_path / f"model{ending}")
        np.testing.assert_array_equal(loaded(data.source[0]), predicted)
    for one in (new, loaded):
        callback = tfprune.PruningCallback(data=data)
        fit(compiled(one, family, run_eagerly=True), callback, epochs=3, initial_epoch=2)
        assert callback.driver.finished == 3 * STEPS and np.isfinite(one(data.source[0])).all()


@pytest.mark.parametrize("name, keeps", [("dpf", True), ("rigl", True), ("magnitude", False)])
def test_it_is_said_where_only_a_wrapped_model_resumes_exactly(name, keeps):
    def texts(model, callback):
        said_of_start = said(lambda: callback.start(model, total_steps=6, step=3))
        return [text for text in said_of_start if "resumes exactly" in text]

    sparse = cnn("keras")
    tfprune.sparsify(sparse, "magnitude", 0.5)
    assert len(texts(sparse, tfprune.PruningCallback(name, 0.6))) == keeps
    assert not texts(cnn("keras"), tfprune.PruningCallback(name, 0.6))  # nothing was pruned before
    assert not texts(tfprune.prune(sparse, name, 0.6), tfprune.PruningCallback())


@pytest.mark.parametrize("family", KERASES)
def test_a_second_fit_of_a_wrapped_model_goes_on(family):
    model, callback = wrapped(family, GATES[1]), tfprune.PruningCallback()
    fit(model, callback)
    fit(model, callback)  # without initial_epoch: the model knows its own step
    assert_same_end(callback, uninterrupted(family, GATES[1]))


def test_keras_export_keeps_the_sparse_predictions(tmp_path):
    import tensorflow as tf
    from tiny_models import data

    model = wrapped("keras", GATES[0])
    fit(model, tfprune.PruningCallback())
    model.export(str(tmp_path / "served"), verbose=False)
    inputs = data()[0]
    loaded = tf.saved_model.load(str(tmp_path / "served"))
    np.testing.assert_allclose(loaded.serve(inputs), model.predict(inputs, verbose=0), atol=1e-5)
    with pytest.raises(ValueError, match="inference only"):
        tfprune.load_model(tmp_path / "served")
