# SPDX-License-Identifier: Apache-2.0
"""Tiny networks, their data and their training, as the saved files were made of them.

Nothing here may change: the numbers beside the files follow from it. So there is no random
generator, whose stream may change, and only public names are used.
"""

import keras
import numpy as np
import tf_keras

import tfprune

KERASES = {"keras": keras, "tf_keras": tf_keras}
STEPS, BATCH = 2, 4  # in one epoch of `data`
SCHEDULE = tfprune.Polynomial(0.6, begin=0, end=6, frequency=1)
# What each layer of `gates` is pruned by: every gate, and most of the rules.
METHODS = {
    "dpf": tfprune.get_method("dpf", schedule=SCHEDULE),
    "srste": tfprune.get_method("srste", schedule=tfprune.Constant(0.5, end=6, frequency=1)),
    "st3": tfprune.get_method("st3", schedule=SCHEDULE),
    "spp": tfprune.get_method("spp", schedule=SCHEDULE),
    "dpp": tfprune.get_method("dpp", structure=tfprune.Rows("weights", 3)),
    "movement": tfprune.get_method("movement", schedule=SCHEDULE),
    "movement_soft": tfprune.get_method("movement_soft", schedule=SCHEDULE),
    "rigl": tfprune.get_method("rigl", schedule=tfprune.Constant(0.5, end=6, frequency=1)),
    "set": tfprune.get_method("set", schedule=tfprune.Constant(0.5, end=6, frequency=1)),
}


def wave(*shape, phase=0.0):
    """Numbers between -1 and 1 without an order or ties."""
    count = int(np.prod(shape))
    return np.sin(12.9898 * np.arange(1, count + 1) + phase).astype("float32").reshape(shape)


def data(model, steps=STEPS):
    """(inputs, labels) of a model with three outputs, for so many steps."""
    count = steps * BATCH
    return wave(count, *model.input_shape[1:], phase=0.5), np.arange(count) * 5 % 3


def filled(model):
    """The model with weights that depend on their shapes and order; vectors are above zero."""
    for number, layer in enumerate(model.layers):
        values = [wave(*one.shape, phase=number) for one in layer.get_weights()]
        layer.set_weights([0.6 * one if one.ndim > 1 else 0.3 + 0.2 * one for one in values])
    return model


def compiled(model, family, *, momentum=0.9):
    library = KERASES[family]
    model.compile(
        library.optimizers.SGD(0.05, momentum=momentum),
        library.losses.SparseCategoricalCrossentropy(from_logits=True),
        run_eagerly=True,
    )
    return model


def separable(family):
    """A layer with two kernels, and two Dense layers."""
    library, layers = KERASES[family], KERASES[family].layers
    inputs = library.Input((5, 5, 2), name="image")
    x = layers.SeparableConv2D(3, 3, activation="relu", name="separable")(inputs)
    x = layers.Dense(4, activation="relu", name="hidden")(layers.Flatten(name="flat")(x))
    return filled(library.Model(inputs, layers.Dense(3, name="logits")(x), name="network"))


def normalized(family):
    """Two convolutions with a normalization between them, and a Dense layer."""
    library, layers = KERASES[family], KERASES[family].layers
    inputs = library.Input((5, 5, 2), name="image")
    x = layers.Conv2D(4, 3, name="first")(inputs)
    x = layers.ReLU(name="relu")(layers.BatchNormalization(name="norm")(x))
    x = layers.Conv2D(5, 1, activation="relu", name="second")(x)
    x = layers.Dense(3, name="logits")(layers.Flatten(name="flat")(x))
    return filled(library.Model(inputs, x, name="network"))


def dense(family):
    """Dense layers, one for each method of `METHODS`, and logits."""
    library, layers = KERASES[family], KERASES[family].layers
    inputs = x = library.Input((8,), name="values")
    for name in METHODS:
        x = layers.Dense(8, activation="tanh", name=name)(x)
    return filled(library.Model(inputs, layers.Dense(3, name="logits")(x), name="network"))


# The wrapped models.


def straight_through(family):
    return tfprune.prune(normalized(family), METHODS["dpf"])


def two_kernels(family):
    return tfprune.prune(separable(family), METHODS["dpf"])


def gates(family):
    """Every layer of `dense` wrapped by itself, with a method of its own."""
    plain, library = dense(family), KERASES[family]
    wrapped = {
        name: tfprune.prune(plain.get_layer(name), method) for name, method in METHODS.items()
    }
    x = plain.inputs[0]
    for layer in plain.layers[1:]:
        x = wrapped.get(layer.name, layer)(x)
    return library.Model(plain.inputs[0], x, name="network")


def measured(family):
    """A method that remembers what it measured on data."""
    return tfprune.prune(
        normalized(family),
        tfprune.get_method("taylor", schedule=tfprune.Polynomial(0.5, end=6, frequency=1)),
    )


def joint(family):
    gate = tfprune.DJPQConfig(bops=1.0, kl=1e-3, rate=10.0, ramp=2)
    return tfprune.prune(normalized(family), tfprune.get_method("djpq", gate=gate))


def quantized(family):
    model = normalized(family)
    tfprune.sparsify(model, "magnitude", 0.5)
    return tfprune.quantize_aware(model)


def drop_in(family):
    schedule = tfprune.Polynomial(0.6, begin=0, end=6, frequency=1)
    return tfprune.prune_low_magnitude(separable(family), schedule)


MODELS = {
    "dpf": straight_through,
    "separable": two_kernels,
    "gates": gates,
    "taylor": measured,
    "joint": joint,
    "quantized": quantized,
    "drop-in": drop_in,
}


# Their training.


def trained(model, family, epochs, *callbacks, initial_epoch=0):
    """Train on the same batches in every epoch; quantized models need no callback."""
    library, (inputs, labels) = KERASES[family], data(model)
    library.utils.set_random_seed(3)
    if not any("Quantized" in type(layer).__name__ for layer in model.layers):
        examples = tfprune.CalibrationData(
            (inputs, labels),
            batch_size=BATCH,
            loss=library.losses.SparseCategoricalCrossentropy(from_logits=True),
        )
        callbacks = (tfprune.PruningCallback(data=examples), *callbacks)
    model.fit(
        inputs,
        labels,
        batch_size=BATCH,
        epochs=epochs,
        initial_epoch=initial_epoch,
        shuffle=False,
        verbose=0,
        callbacks=list(callbacks),
    )
    return model


# Networks for devices, with zeros in their weights.


def convolutional(filters=18):
    """A stem, 1x1 convolutions around a depthwise one, and a Dense layer: 80 % zeros in the 1x1."""
    layers = keras.layers
    inputs = keras.Input((16, 16, 3), name="image")
    x = layers.Conv2D(8, 3, strides=2)(layers.ZeroPadding2D(1)(inputs))
    x = layers.ReLU()(layers.Conv2D(filters, 1, name="one")(layers.ReLU()(x)))
    x = layers.ReLU()(layers.DepthwiseConv2D(3, padding="same")(x))
    x = layers.ReLU()(layers.Conv2D(filters, 1, name="two")(x))
    x = layers.Flatten()(layers.GlobalAveragePooling2D(keepdims=True)(x))
    model = filled(keras.Model(inputs, layers.Dense(4, name="scores")(x)))
    for name in ("one", "two"):
        kernel, bias = model.get_layer(name).get_weights()
        smallest = np.argsort(np.abs(kernel), axis=None)[: kernel.size * 4 // 5]
        kernel.ravel()[smallest] = 0
        model.get_layer(name).set_weights([kernel, bias])
    return model


def wide():
    """The same, with weights large enough to be stored in 8 bits, and as bitmaps or CSR of them."""
    return convolutional(40)


def blocks():
    """Two Dense layers; four of five blocks of 1x4 along the inputs of the first are zeros."""
    layers = keras.layers
    model = filled(
        keras.Sequential(
            [
                keras.Input((64,), name="values"),
                layers.Dense(32, activation="relu", name="wide"),
                layers.Dense(4, name="scores"),
            ]
        )
    )
    kernel, bias = model.get_layer("wide").get_weights()
    kernel *= np.repeat(np.arange(16 * 32).reshape(16, 32) * 7 % 5 == 0, 4, axis=0)
    model.get_layer("wide").set_weights([kernel, bias])
    return model
