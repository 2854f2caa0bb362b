# SPDX-License-Identifier: Apache-2.0
"""Where the drop-in differs from TF-MOT on purpose: each test shows TF-MOT's fault beside it."""

import numpy as np
import pytest
import tensorflow as tf
import tf_keras
from drop_in_models import EVERY_STEP, KERAS, LAYERS, LIBRARIES, masks, one_step, small, train

import tfprune
from tfprune.training.run_length import Run, resolve

INPUTS = np.random.default_rng(2).normal(size=(4, 6)).astype("float32")
TFMOT, OURS = LIBRARIES["tfmot"], LIBRARIES["tfprune"]


def kept(layer):
    return [int(mask.sum()) for mask in masks(layer)]


def test_counts_are_exact_on_ties():
    ends = []
    for prune in LIBRARIES.values():
        layer = prune(LAYERS.Dense(8), EVERY_STEP)
        layer(INPUTS)
        layer.layer.kernel.assign(tf.ones((6, 8)))
        layer.pruning_step.assign(0)
        layer(INPUTS, training=True)
        ends.append(kept(layer))
    assert ends == [[48], [24]]


def test_the_final_sparsity_is_reached_whatever_the_frequency():
    schedule = KERAS.PolynomialDecay(0.0, 0.75, 0, 5, power=1, frequency=2)
    counts = [kept(train(prune(small(), schedule)).layers[0]) for prune in LIBRARIES.values()]
    assert counts == [[29], [18]]  # of 72 weights; TF-MOT stops at step 4, with 60 %


def _reloaded(prune, path, **settings):
    train(prune(small(), **settings), steps=1).save(path)
    with KERAS.prune_scope():
        return tf_keras.models.load_model(path)


def test_schedules_with_numpys_floats_work_and_those_without_a_span_are_refused():
    mixed = KERAS.PolynomialDecay(np.float32(0.0), np.float64(0.75), 0, 10)
    with pytest.raises(TypeError, match="float64"):
        tf.function(mixed, autograph=False)(tf.constant(5, tf.int64))
    assert resolve(mixed, Run(10))[1] == 0.75
    at_once = KERAS.PolynomialDecay(0.0, 0.75, 5, 5)
    assert np.isnan(at_once(tf.constant(5, tf.int64))[1])
    with pytest.raises(ValueError, match=r"PolynomialDecay\(.* yields as sparsity nan at step 5"):
        resolve(at_once, Run(10))


def test_m_zeros_in_n_survives_saving(tmp_path):
    models = [
        _reloaded(prune, str(tmp_path / f"{name}.h5"), sparsity_m_by_n=(1, 2))
        for name, prune in LIBRARIES.items()
    ]
    assert [model.layers[0].sparsity_m_by_n for model in models] == [None, (1, 2)]


def test_models_load_without_prune_scope(tmp_path):
    for name, prune in LIBRARIES.items():
        path = str(tmp_path / f"{name}.h5")
        prune(small()).save(path)
        if prune is TFMOT:
            with pytest.raises(ValueError, match="Unknown layer: 'PruneLowMagnitude'"):
                tf_keras.models.load_model(path)
        else:
            assert kept(tf_keras.models.load_model(path).layers[0]) == [72]


def test_rows_of_m_by_n_that_are_longer_than_the_inputs():
    counts = []
    for prune in LIBRARIES.values():
        layer = prune(LAYERS.Dense(8), EVERY_STEP, sparsity_m_by_n=(15, 17))  # keeps 2 of 17
        if prune is TFMOT:
            counts.append(kept(one_step(layer, INPUTS)))
        else:
            with pytest.raises(tf.errors.InvalidArgumentError, match="m=17 weights are longer"):
                one_step(layer, INPUTS)
        shorter = prune(LAYERS.Dense(8), EVERY_STEP, sparsity_m_by_n=(14, 16))
        counts.append(kept(one_step(shorter, INPUTS)))
    assert counts == [[16]] * 3


class HalfAtStep(KERAS.PruningSchedule):
    """A schedule of the user's own."""

    def __init__(self, step):
        self.step = step

    def __call__(self, step):
        return tf.equal(step, self.step), tf.constant(0.5, tf.float32)

    def get_config(self):
        return {"class_name": type(self).__name__, "config": {"step": self.step}}


def test_schedules_of_ones_own_survive_saving(tmp_path):
    with pytest.raises(ValueError, match="HalfAtStep"):
        _reloaded(TFMOT, str(tmp_path / "tfmot.h5"), pruning_schedule=HalfAtStep(3))
    model = _reloaded(OURS, str(tmp_path / "ours.h5"), pruning_schedule=HalfAtStep(3))
    assert model.layers[0].pruning_schedule.step == 3
    assert kept(train(model, steps=1).layers[0]) == [72]
    assert kept(train(model, steps=1).layers[0]) == [36]


def test_several_kernels_in_one_layer_are_saved_as_h5(tmp_path):
    for name, prune in LIBRARIES.items():
        model = tf_keras.Sequential([LAYERS.Input((3, 4)), prune(LAYERS.LSTM(2))])
        path = str(tmp_path / f"{name}.h5")
        if prune is TFMOT:
            with pytest.raises(ValueError, match="name already exists"):
                model.save(path)
        else:
            model.save(path)
            assert len(tf_keras.models.load_model(path).layers[0].pruning_vars) == 2


def test_an_embedding_keeps_its_mask():
    tokens = np.array([[1, 2, 0, 0]])
    ends = []
    for prune in LIBRARIES.values():
        embedding = prune(LAYERS.Embedding(5, 3, mask_zero=True))
        ends.append(embedding.compute_mask(tokens) if prune is OURS else None)
        outputs = embedding(tokens)
        assert (getattr(outputs, "_keras_mask", None) is not None) == (prune is OURS)
    np.testing.assert_array_equal(ends[1], tokens != 0)


def test_layers_without_a_mask_argument_follow_masked_ones():
    sequence = np.ones((2, 3, 4), "float32")
    for prune in LIBRARIES.values():
        model = tf_keras.Sequential([LAYERS.Masking(), prune(LAYERS.Dense(2))])
        if prune is TFMOT:
            with pytest.raises(TypeError, match="mask"):
                model(sequence)
        else:
            assert model(sequence)._keras_mask.shape == (2, 3)


def test_an_activity_regularizer_counts():
    losses = []
    for prune in LIBRARIES.values():
        layer = prune(LAYERS.Dense(2, activity_regularizer="l2"))
        layer(INPUTS)
        losses.append(len(layer.losses))
    assert losses == [0, 1]


def test_a_float32_layer_in_a_mixed_model():
    before = tf_keras.mixed_precision.global_policy()
    tf_keras.mixed_precision.set_global_policy("mixed_float16")
    try:
        with pytest.raises((TypeError, ValueError), match="float16"):
            TFMOT(LAYERS.Dense(2, dtype="float32"), EVERY_STEP)(INPUTS)
        layer = one_step(OURS(LAYERS.Dense(2, dtype="float32"), EVERY_STEP), INPUTS)
        assert layer(INPUTS).dtype == tf.float32 and kept(layer) == [6]
    finally:
        tf_keras.mixed_precision.set_global_policy(before)


def test_a_layer_that_is_used_twice_makes_one_step():
    steps = []
    for prune in LIBRARIES.values():
        shared, inputs = LAYERS.Dense(6), LAYERS.Input((4, 4, 2))
        outputs = LAYERS.Dense(3)(shared(shared(LAYERS.Dense(6)(LAYERS.Flatten()(inputs)))))
        model = train(prune(tf_keras.Model(inputs, outputs), EVERY_STEP), steps=3)
        steps.append(
            sorted(
                {
                    int(layer.pruning_step)
                    for layer in model.layers
                    if hasattr(layer, "pruning_step")
                }
            )
        )
    assert steps == [[3, 6], [3]]


def test_an_attention_layer_that_is_not_built():
    sequence = np.random.default_rng(3).normal(size=(2, 5, 6)).astype("float32")
    with pytest.raises(AttributeError):
        TFMOT(LAYERS.MultiHeadAttention(2, 4))(sequence, value=sequence)
    layer = one_step(OURS(LAYERS.MultiHeadAttention(2, 4), EVERY_STEP), sequence, value=sequence)
    assert kept(layer) == [24, 24, 24, 24]


def test_blocks_as_long_as_the_kernel_and_over_its_edge():
    with pytest.raises(ValueError, match="rank 2"):
        one_step(TFMOT(LAYERS.Dense(8), EVERY_STEP, block_size=(6, 1)), INPUTS)
    whole = one_step(OURS(LAYERS.Dense(8), EVERY_STEP, block_size=(6, 1)), INPUTS)
    assert kept(whole) == [24]

    # Six rows in blocks of four. TF-MOT pools rows 0-2 and 3-5, and cuts 0-3 and 4-5.
    kernel = np.outer([1.0, 1.0, 1.0, 0.0, 2.0, 0.5], [1.0, 1.0, 1.01, 1.01]).astype("float32")
    ends = []
    for prune in LIBRARIES.values():
        layer = prune(LAYERS.Dense(4), EVERY_STEP, block_size=(4, 2))
        layer(INPUTS)
        layer.layer.kernel.assign(kernel)
        layer.pruning_step.assign(0)
        layer(INPUTS, training=True)
        ends.append(masks(layer)[0][:, 0].tolist())
    assert ends == [[1, 1, 1, 1, 0, 0], [0, 0, 0, 0, 1, 1]]  # means 0.75 and 1.25


def test_the_end_of_an_epoch_leaves_the_hidden_weights_alone():
    method = tfprune.get_method(
        "magnitude",
        gate=tfprune.MaskGate(straight_through=True),
        schedule=tfprune.Constant(0.5, begin=1, frequency=1),
    )
    model = train(tfprune.prune(small(), method), steps=2)
    layer = model.layers[0]
    dense = layer.layer.kernel.numpy() + layer.hidden_vars[0].numpy()
    layer.pruning_obj.weight_mask_op()
    np.testing.assert_array_equal(dense, layer.layer.kernel.numpy() + layer.hidden_vars[0].numpy())
    assert np.count_nonzero(dense) == 72 and np.count_nonzero(layer.layer.kernel) == 36
