# SPDX-License-Identifier: Apache-2.0
"""Models that are no bias-free ReLU nets, each a function (library, layers) -> model."""

import keras
import numpy as np
import tensorflow as tf
from flow_models import weighted


def functional(library, shape, body, **settings):
    inputs = library.Input(shape, **settings)
    return library.Model(inputs, body(inputs))


def relu6(library):
    return "relu6" if library is keras else tf.nn.relu6


# Chains: all layers pass on the same.


def softmax_layer(library, layers):
    return functional(
        library,
        (6,),
        lambda x: layers.Softmax()(layers.Dense(3)(layers.Dense(5, activation="relu")(x))),
    )


def softmax_activation(library, layers):
    return functional(
        library,
        (6,),
        lambda x: layers.Dense(3, activation="softmax")(layers.Dense(5, activation="sigmoid")(x)),
    )


def preprocessing(library, layers):
    return functional(
        library,
        (5, 5, 3),
        lambda x: layers.Dense(3)(
            layers.Flatten()(
                layers.Conv2D(4, 3, activation="relu")(
                    layers.Normalization(mean=[5.0, 6.0, 7.0], variance=[1.0, 2.0, 3.0])(
                        layers.Rescaling(1 / 127.5, offset=-1)(x)
                    )
                )
            )
        ),
    )


def trained_batch_norm(library, layers):
    model = functional(
        library,
        (5, 5, 3),
        lambda x: layers.Dense(3)(
            layers.Flatten()(
                layers.ReLU(6.0)(
                    layers.BatchNormalization()(layers.Conv2D(4, 3, activation=relu6(library))(x))
                )
            )
        ),
    )
    norm = next(layer for layer in model.layers if "Normalization" in type(layer).__name__)
    weighted(model)
    norm.moving_mean.assign([1e3, -1e3, 50.0, -4.0])
    norm.moving_variance.assign([1e-6, 1e6, 1.0, 1e-3])
    norm.gamma.assign([-2.0, 1.0, 0.5, 3.0])
    return model


def saturating(library, layers):
    def body(x):
        for name in ("swish", "gelu", "elu", "tanh", "hard_sigmoid", relu6(library)):
            x = layers.Dense(5, activation=name)(x)
        x = layers.PReLU()(layers.Dropout(0.5)(layers.LeakyReLU()(layers.ELU()(x))))
        return layers.Dense(3)(x)

    return functional(library, (6,), body)


def normalizing(library, layers):
    def body(x):
        x = layers.GroupNormalization(4)(layers.Conv2D(8, 3)(x))
        x = layers.LayerNormalization(axis=[1, 2, 3])(x)
        return layers.Dense(3)(layers.UnitNormalization()(layers.Flatten()(x)))

    return functional(library, (5, 5, 3), body)


def kinds_of_convolutions(library, layers):
    def body(x):
        x = layers.Conv2DTranspose(4, 2, strides=2)(layers.SeparableConv2D(4, 3)(x))
        x = layers.Conv2D(4, 3, groups=2, dilation_rate=2)(layers.UpSampling2D()(x))
        x = layers.Cropping2D()(layers.ZeroPadding2D(2)(x))
        return layers.Dense(2)(layers.GlobalMaxPooling2D()(x))

    return functional(library, (6, 6, 4), body)


def embedding(library, layers):
    return functional(
        library,
        (5,),
        lambda x: layers.Dense(3)(
            layers.GlobalAveragePooling1D()(layers.Embedding(11, 4, mask_zero=True)(x))
        ),
        dtype="int32",
    )


def nested(library, layers):
    inner = library.Sequential(
        [
            library.Input((5, 5, 2)),
            layers.Conv2D(3, 3, activation=relu6(library)),
            layers.BatchNormalization(),
        ],
        name="inner",
    )
    head = functional(
        library, (3, 3, 3), lambda x: layers.Softmax()(layers.Dense(3)(layers.Flatten()(x)))
    )
    return functional(library, (5, 5, 2), lambda x: head(inner(x)))


def distributed(library, layers):
    each = layers.TimeDistributed
    return functional(
        library,
        (3, 5, 5, 2),
        lambda x: layers.Dense(2)(
            layers.Flatten()(
                each(layers.Dense(4))(
                    each(layers.Flatten())(each(layers.Conv2D(3, 3, activation="sigmoid"))(x))
                )
            )
        ),
    )


def operations(library, layers):
    relu = keras.ops.relu if library is keras else tf.nn.relu
    clipped = keras.ops.relu6 if library is keras else tf.nn.relu6

    def body(x):
        x = relu(layers.Dense(5)(x) * 2.0) / 3.0
        x = x * tf.constant([1.0, -2.0, 3.0, 4.0, 0.5])
        x = -(1.0 - x) + np.ones(5, "float32")
        return layers.Dense(3)(clipped(layers.Dense(5)(clipped(x) * 100.0)))

    return functional(library, (6,), body)


def subclassed(library, layers):
    class Own(library.Model):
        def __init__(self):
            super().__init__()
            self.hidden = layers.Dense(5, activation="relu")
            self.norm = layers.BatchNormalization()
            self.head = layers.Dense(3, activation="softmax")

        def call(self, inputs, training=False):
            return self.head(self.norm(tf.nn.relu(self.hidden(inputs)), training=training))

    model = Own()
    model(np.ones((2, 6), "float32"))
    return model


def half(library, layers, name="mixed_float16"):
    policy = name if library is keras else library.mixed_precision.Policy(name)
    scale = 300.0  # overflows float16 soon

    def body(x):
        x = layers.ReLU(dtype=policy)(
            layers.BatchNormalization(dtype=policy)(layers.Conv2D(8, 3, dtype=policy)(x))
        )
        x = layers.Flatten(dtype=policy)(x) * scale
        return layers.Activation("softmax", dtype="float32")(
            layers.Dense(3, dtype=policy)(layers.Dense(9, dtype=policy)(x))
        )

    return functional(library, (5, 5, 4), body)


def bfloat(library, layers):
    return half(library, layers, "mixed_bfloat16")


KINDS = [
    softmax_layer,
    softmax_activation,
    preprocessing,
    trained_batch_norm,
    saturating,
    normalizing,
    kinds_of_convolutions,
    embedding,
    nested,
    distributed,
    operations,
    subclassed,
    half,
    bfloat,
]


# Branches.


def squeezed(library, layers):
    def body(x):
        x = layers.Conv2D(4, 3, name="conv")(x)
        y = layers.GlobalAveragePooling2D(keepdims=True)(x)
        y = layers.Conv2D(2, 1, activation="relu", name="down")(y)
        y = layers.Conv2D(4, 1, activation="hard_sigmoid", name="up")(y)
        return layers.Dense(3, name="head")(layers.Flatten()(layers.Multiply()([x, y])))

    return functional(library, (6, 6, 3), body)


def gated(library, layers):
    def body(x):
        x, y = layers.Dense(5, name="one")(x), layers.Dense(5, name="other")(x)
        return layers.Dense(3, name="head")((x + y) * x - y)

    return functional(library, (6,), body)


def several(library, layers):
    first, second = library.Input((4,), name="a"), library.Input((6,), name="b")
    x = layers.Concatenate()(
        [layers.Dense(5, name="one")(first), layers.Dense(5, name="other")(second)]
    )
    return library.Model(
        [first, second],
        [layers.Dense(3, name="head")(x), layers.Dense(2, activation="sigmoid", name="tail")(x)],
    )


def dictionaries(library, layers):
    first, second = library.Input((4,), name="a"), library.Input((6,), name="b")
    x = layers.Add()([layers.Dense(5, name="one")(first), layers.Dense(5, name="other")(second)])
    return library.Model({"a": first, "b": second}, {"out": layers.Dense(3, name="head")(x)})


def attending(library, layers):
    return functional(
        library,
        (5, 8),
        lambda x: layers.Dense(3, name="head")(
            layers.GlobalAveragePooling1D()(layers.MultiHeadAttention(2, 4, name="mha")(x, x))
        ),
    )


def attending_more(library, layers):
    """Two attended axes, dropout and scores: the path that multiplies by itself."""

    def body(x):
        y, scores = layers.MultiHeadAttention(2, 4, dropout=0.2, attention_axes=(1, 2), name="mha")(
            x, x, return_attention_scores=True
        )
        return layers.Dense(3, name="head")(layers.Flatten()(y))

    return functional(library, (3, 2, 8), body)


def attending_alone(library, layers):
    def body(x):
        query, value = layers.Dense(8, name="one")(x), layers.Dense(8, name="other")(x)
        return layers.Dense(3, name="head")(layers.Flatten()(layers.Attention()([query, value])))

    return functional(library, (3, 8), body)


# What enters together: the sums of these sites add up to the sum of those.
BRANCHES = {
    squeezed: (["up"], ["down"]),
    gated: (["one", "other"], ["head"]),
    several: (["one", "other"], ["head", "tail"]),
    dictionaries: (["one", "other"], ["head"]),
    attending: (["mha/query", "mha/key", "mha/value"], ["mha/attention_output"]),
    attending_more: (["mha/query", "mha/key", "mha/value"], ["head"]),
    attending_alone: (["one", "other"], ["head"]),
}
