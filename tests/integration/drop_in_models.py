# SPDX-License-Identifier: Apache-2.0
"""The same model wrapped by TF-MOT and by this library, driven by TF-MOT's own callback."""

import numpy as np
import tf_keras

import tfprune
from tfprune.training.tfmot_words import import_tfmot

MOT = import_tfmot()
KERAS = MOT.sparsity.keras
LAYERS = tf_keras.layers
LIBRARIES = {"tfmot": KERAS.prune_low_magnitude, "tfprune": tfprune.prune_low_magnitude}
EVERY_STEP = KERAS.ConstantSparsity(0.5, 0, frequency=1)


def network():
    """Convolution, normalization, a nested model, an activation: rebuilt with equal weights."""
    inside = tf_keras.Sequential(
        [LAYERS.Dense(6, activation="relu", name="inner", input_shape=(16,))], name="nest"
    )
    model = tf_keras.Sequential(
        [
            LAYERS.Conv2D(4, 3, name="conv", input_shape=(4, 4, 2)),
            LAYERS.BatchNormalization(name="norm"),
            LAYERS.ReLU(name="relu"),
            LAYERS.Flatten(name="flat"),
            inside,
            LAYERS.Dense(3, name="logits"),
        ],
        name="network",
    )
    return fill(model)


def small():
    """A convolution and a Dense layer."""
    return fill(
        tf_keras.Sequential(
            [
                LAYERS.Conv2D(4, 3, name="conv", input_shape=(4, 4, 2)),
                LAYERS.Flatten(name="flat"),
                LAYERS.Dense(3, name="logits"),
            ],
            name="small",
        )
    )


def fill(holder, seed=0):
    """Random weights without ties, the same for every model or layer of the same shapes."""
    generator = np.random.default_rng(seed)
    holder.set_weights(
        [
            generator.normal(0.5, 0.3, weight.shape).astype(weight.dtype)
            for weight in holder.get_weights()
        ]
    )
    return holder


def data(steps=8, batch=4, shape=(4, 4, 2)):
    generator = np.random.default_rng(1)
    inputs = generator.normal(size=(steps * batch, *shape)).astype("float32")
    return inputs, generator.integers(0, 3, steps * batch)


def train(model, *callbacks, steps=8, epochs=1, **settings):
    """Fit without shuffling: `steps` steps an epoch."""
    if model.optimizer is None:
        loss = tf_keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        model.compile(tf_keras.optimizers.SGD(0.1, momentum=0.9), loss)
    inputs, labels = data(steps)
    model.fit(
        inputs,
        labels,
        batch_size=4,
        epochs=epochs,
        shuffle=False,
        verbose=0,
        callbacks=list(callbacks) or [KERAS.UpdatePruningStep()],
        **settings,
    )
    return model


def wrappers(model):
    """The wrapped layers by name, those in nested models too."""
    from tensorflow_model_optimization.python.core.sparsity.keras import pruning_wrapper

    return {layer.name: layer for layer in pruning_wrapper.collect_prunable_layers(model)}


def masks(layer):
    return [mask.numpy() for _, mask, _ in layer.pruning_vars]


def assert_same(ours, reference, tolerance=0.0):
    """Same wrapped layers, masks, steps and weights."""
    assert list(wrappers(ours)) == list(wrappers(reference)) != []
    for name, layer in wrappers(ours).items():
        other = wrappers(reference)[name]
        assert int(layer.pruning_step) == int(other.pruning_step)
        assert len(masks(layer)) == len(masks(other))
        for one, two in zip(masks(layer), masks(other)):
            np.testing.assert_array_equal(one, two, err_msg=name)
    for one, two in zip(ours.get_weights(), reference.get_weights()):
        np.testing.assert_allclose(one, two, rtol=0, atol=tolerance)


def one_step(layer, inputs, **call):
    """A first training step in eager mode, without an optimizer: count, choose, apply."""
    layer(inputs, **call)
    fill(layer.layer)
    layer.pruning_step.assign(0)
    layer(inputs, training=True, **call)
    return layer
