# SPDX-License-Identifier: Apache-2.0
"""Graphs built to meet and to break every rule of XNNPACK's sparse inference.

`ROWS` = {name: (expected state, words of the reason or of the operator at fault, builder, size of
the image, share of zeros in the 1x1 convolutions)}. The expectations were written from the rules
and from what was measured on Arm, not from the gate's answers. Models are tiny and not trained.
"""

import keras
import numpy as np
import tensorflow as tf
from keras import layers as L

MEASURED = {}
BY_RULE = {}
_NUMBER = np.full((1, 1, 1, 1), 0.02, "f4")
_VECTOR = np.linspace(0.01, 0.03, 18, dtype="f4")


def row(table, name, state, words="", *, size=16, channels=3, zeros=0.9):
    """Register the decorated builder, a function image -> output(s)."""

    def register(build):
        table[name] = (state, words, build, (size, size, channels), zeros)
        return build

    return register


def model_of(name):
    """The Keras model of a row, its 1x1 convolutions with exactly the share of zeros."""
    _, _, build, shape, share = (MEASURED | BY_RULE)[name]
    keras.utils.set_random_seed(1)
    image = keras.Input(shape)
    model = keras.Model(image, build(image))
    generator = np.random.default_rng(5)
    for layer in model.layers:
        kernel = getattr(layer, "pointwise_kernel", getattr(layer, "kernel", None))
        if kernel is not None and len(kernel.shape) == 4 and tuple(kernel.shape)[:2] == (1, 1):
            values = np.asarray(kernel).ravel().copy()
            values[generator.permutation(values.size)[: round(share * values.size)]] = 0
            kernel.assign(values.reshape(kernel.shape))
    return model


def stem(image, filters=12):
    return relu(L.Conv2D(filters, 3, strides=2)(L.ZeroPadding2D(1)(image)))


def relu(x):
    return L.ReLU()(x)


def point(x, filters=18, **settings):
    return relu(L.Conv2D(filters, 1, **settings)(x))


def deep(x, kernel=3, **settings):
    return relu(L.DepthwiseConv2D(kernel, padding="same", **settings)(x))


def head(x, keepdims=True):
    x = L.GlobalAveragePooling2D(keepdims=keepdims)(x)
    return L.Dense(4)(L.Flatten()(x) if keepdims else x)


def around(inside):
    """Stem, 1x1, what is to be tested, 1x1, head."""
    return lambda image: head(point(inside(point(stem(image)))))


def excited(x, gate="sigmoid"):
    pooled = L.GlobalAveragePooling2D(keepdims=True)(x)
    return L.Multiply()([x, L.Conv2D(18, 1, activation=gate)(point(pooled, 6))])


def between(opening):
    """What stands in place of the stem, then a network that is all right."""
    return lambda image: head(point(deep(point(opening(image)))))


def ending(end):
    """A network that is all right, with another end."""
    return lambda image: end(point(deep(point(stem(image)))))


def operation(function):
    return lambda x: L.Lambda(function)(x)


def with_sum(function):
    """Nothing that the converter could fold the function's constant into."""
    return around(lambda x: L.ReLU(6)(operation(function)(L.Add()([x, point(deep(x))]))))


# Measured on Arm: engages and is right.
row(MEASURED, "base", "engages")(around(deep))
row(MEASURED, "depthwise 5x5", "engages")(around(lambda x: deep(x, 5)))
row(MEASURED, "residual", "engages")(around(lambda x: L.Add()([x, point(deep(x))])))
row(MEASURED, "squeeze and excite", "engages")(around(excited))
row(MEASURED, "hard-swish", "engages")(
    around(lambda x: L.Activation("hard_swish")(L.Conv2D(18, 1)(x)))
)
row(MEASURED, "x times sigmoid", "engages")(around(L.Activation("silu")))
row(MEASURED, "mean without kept axes", "engages")(ending(lambda x: head(x, keepdims=False)))
row(MEASURED, "70 % zeros", "engages", zeros=0.7)(around(deep))
row(MEASURED, "depthwise stride 2, padding 1", "engages")(
    around(lambda x: L.DepthwiseConv2D(3, strides=2)(L.ZeroPadding2D(1)(x)))
)
row(MEASURED, "depthwise 5x5 stride 2, padding 2", "engages")(
    around(lambda x: L.DepthwiseConv2D(5, strides=2)(L.ZeroPadding2D(2)(x)))
)
row(MEASURED, "leaky relu", "engages")(around(L.LeakyReLU()))
row(MEASURED, "bilinear", "engages")(around(L.UpSampling2D(interpolation="bilinear")))
row(MEASURED, "depth to space at the end", "engages")(
    ending(lambda x: operation(lambda t: tf.nn.depth_to_space(t, 2))(L.Conv2D(16, 1)(x)))
)

# Measured: does not engage, and is right.
row(MEASURED, "stem same", "off", "stride 2 and padding 1 .* padding 'same'")(
    between(lambda x: L.Conv2D(12, 3, strides=2, padding="same")(x))
)
row(MEASURED, "stem same, odd image", "off", "padding 'same'", size=17)(
    between(lambda x: L.Conv2D(12, 3, strides=2, padding="same")(x))
)
row(MEASURED, "stem padded on two sides", "off", "padding 'same'")(
    between(lambda x: L.Conv2D(12, 3, strides=2)(L.ZeroPadding2D(((0, 1), (0, 1)))(x)))
)
row(MEASURED, "stem of stride 1", "off", "it has stride 1", size=8)(
    between(lambda x: L.Conv2D(12, 3)(L.ZeroPadding2D(1)(x)))
)
row(MEASURED, "stem of one channel", "off", "it has 1 input channels", channels=1)(between(stem))
row(MEASURED, "stem 4x4 of stride 4", "off", "a kernel of 4x4, stride 4")(
    between(lambda x: L.Conv2D(12, 4, strides=4)(x))
)


@row(MEASURED, "concatenation with a fan-out", "off", "also read outside")
def _concatenation(image):
    x = point(stem(image))
    return head(point(L.Concatenate()([x, point(deep(x))])))


row(MEASURED, "average pooling at the end", "off", "nothing closes")(
    ending(lambda x: L.Dense(4)(L.Flatten()(L.AveragePooling2D(8)(x))))
)
row(MEASURED, "flatten at the end", "off", "nothing closes")(
    ending(lambda x: L.Dense(4)(L.Flatten()(x)))
)
row(MEASURED, "60 % zeros", "off", "60.* more than two thirds", zeros=0.6)(around(deep))
row(MEASURED, "difference", "off", "outside")(around(lambda x: L.Subtract()([x, point(deep(x))])))
row(MEASURED, "maximum", "off", "outside")(around(lambda x: L.Maximum()([x, point(deep(x))])))
row(MEASURED, "sum with a dense convolution", "off", "outside")(
    around(lambda x: L.Add()([x, L.Conv2D(18, 3, padding="same")(x)]))
)


@row(MEASURED, "second output inside", "off", "output")
def _tapped(image):
    x = point(deep(point(stem(image))))
    return [head(x), x]


row(MEASURED, "segmentation", "off", "nothing closes")(ending(L.Conv2D(4, 1)))
row(MEASURED, "nearest neighbour", "off", "")(
    around(operation(lambda t: tf.image.resize(t, (16, 16), "nearest")))
)

# Measured: engages and is wrong.
row(MEASURED, "depthwise same stride 2", "unsafe", "DEPTHWISE_CONV_2D .*padding 'same'")(
    around(lambda x: deep(x, strides=2))
)
row(MEASURED, "depthwise padded on two sides", "unsafe", "DEPTHWISE_CONV_2D .*padding")(
    around(lambda x: L.DepthwiseConv2D(3, strides=2)(L.ZeroPadding2D(((0, 1), (0, 1)))(x)))
)
row(MEASURED, "depthwise 7x7", "unsafe", "DEPTHWISE_CONV_2D .*7x7")(around(lambda x: deep(x, 7)))
row(MEASURED, "dense convolution inside", "unsafe", "CONV_2D .*reads")(
    around(lambda x: L.Conv2D(18, 3, padding="same")(x))
)
row(MEASURED, "max pooling inside", "unsafe", "MAX_POOL_2D")(around(L.MaxPooling2D()))
row(MEASURED, "average pooling inside", "unsafe", "AVERAGE_POOL_2D")(around(L.AveragePooling2D(2)))
row(MEASURED, "1x1 of stride 2", "unsafe", "CONV_2D .*1x1 convolution of stride 2")(
    around(lambda x: point(x, strides=2))
)
row(MEASURED, "1x1 classifier", "unsafe", "CONV_2D .*is the last|CONV_2D .*out of sparse")(
    ending(lambda x: L.Conv2D(4, 1)(L.GlobalAveragePooling2D(keepdims=True)(x)))
)


@row(MEASURED, "concatenation without a fan-out", "unsafe", "CONCATENATION")
def _joined(image):
    x = point(stem(image))
    return head(point(L.Concatenate()([point(x), point(deep(x))])))


row(MEASURED, "squeeze and excite, then max pooling", "unsafe", "MAX_POOL_2D")(
    ending(lambda x: L.Dense(4)(L.Flatten()(L.MaxPooling2D()(excited(x)))))
)
row(MEASURED, "prelu", "unsafe", "PRELU")(
    around(lambda x: L.PReLU("random_normal", shared_axes=[1, 2])(L.Conv2D(18, 1)(x)))
)
row(MEASURED, "product with a constant vector", "unsafe", "MUL .*constant")(
    around(operation(lambda t: t * np.linspace(1, 2, 18, dtype="f4").reshape(1, 1, 1, 18)))
)

# By the rules alone.
row(BY_RULE, "relu6", "engages")(around(L.ReLU(6)))
row(BY_RULE, "elu", "engages")(around(L.Activation("elu")))
for _name in ("tanh", "exponential", "gelu"):
    row(BY_RULE, _name, "engages", "some releases")(around(L.Activation(_name)))
row(BY_RULE, "square root", "engages", "SQRT")(
    around(lambda x: operation(tf.sqrt)(L.ReLU(6)(L.Conv2D(18, 1)(x))))
)
row(BY_RULE, "sine", "engages", "SIN")(around(operation(tf.sin)))
row(BY_RULE, "cosine", "engages", "COS")(around(operation(tf.cos)))
row(BY_RULE, "pooling of 1x1", "engages", "MAX_POOL_2D")(around(L.MaxPooling2D(1)))
row(BY_RULE, "relu of at most 4", "engages", "MINIMUM")(
    around(lambda x: L.ReLU(4)(L.Conv2D(18, 1)(x)))
)
row(BY_RULE, "relu of at most 4 everywhere", "engages", "do not run it sparsely.*MINIMUM|joined")(
    lambda image: head(
        L.ReLU(4)(L.Conv2D(18, 1)(L.ReLU(4)(L.Conv2D(12, 3, strides=2)(L.ZeroPadding2D(1)(image)))))
    )
)
row(BY_RULE, "relu of a sum, of little at most", "engages", "MINIMUM")(
    around(lambda x: L.ReLU(0.05)(L.Add()([x, point(deep(x))])))
)
row(BY_RULE, "reciprocal square root", "engages", "RSQRT")(
    around(lambda x: operation(lambda t: tf.math.rsqrt(tf.sigmoid(t)))(L.Conv2D(18, 1)(x)))
)
row(BY_RULE, "depthwise without padding of its own", "engages")(
    around(lambda x: L.DepthwiseConv2D(3)(L.ZeroPadding2D(1)(x)))
)
row(BY_RULE, "sum at the end", "engages")(
    ending(lambda x: L.Dense(4)(operation(lambda t: keras.ops.sum(t, (1, 2)))(x)))
)
row(BY_RULE, "softmax behind the head", "engages")(
    ending(lambda x: L.Softmax()(L.Rescaling(1000.0)(head(x))))
)
row(BY_RULE, "two heads", "engages")(ending(lambda x: [head(x), head(x, keepdims=False)]))
row(BY_RULE, "exactly two thirds", "off", "66.7%", zeros=2 / 3)(around(deep))
row(BY_RULE, "no 1x1 convolution", "off", "no 1x1")(lambda image: head(deep(stem(image))))
row(BY_RULE, "no stem", "off", "is 1x1")(lambda image: head(point(deep(point(image)))))
row(BY_RULE, "stem 5x5", "off", "a kernel of 5x5")(
    between(lambda x: L.Conv2D(12, 5, strides=2)(L.ZeroPadding2D(2)(x)))
)
row(BY_RULE, "stem with padding 2", "off", r"padding \(2, 2\)")(
    between(lambda x: L.Conv2D(12, 3, strides=2)(L.ZeroPadding2D(2)(x)))
)
row(BY_RULE, "stem padding read twice", "off", "padding|1x1|stem|3x3")(
    lambda image: _padding_twice(L.ZeroPadding2D(1)(image))
)
row(BY_RULE, "hard sigmoid in the gate", "off", "outside")(
    around(lambda x: excited(x, "hard_sigmoid"))
)
row(BY_RULE, "global max pooling", "off", "nothing closes")(
    ending(lambda x: L.Dense(4)(L.GlobalMaxPooling2D()(x)))
)
row(BY_RULE, "depthwise without padding", "unsafe", "DEPTHWISE_CONV_2D .*padding")(
    around(lambda x: L.DepthwiseConv2D(3)(x))
)
row(BY_RULE, "dilated depthwise", "unsafe", "DEPTHWISE_CONV_2D|SPACE_TO_BATCH_ND")(
    around(lambda x: deep(x, dilation_rate=2))
)
row(BY_RULE, "depth multiplier", "unsafe", "multiplier")(
    around(lambda x: deep(x, depth_multiplier=2))
)
row(BY_RULE, "grouped 1x1", "unsafe", "CONV_2D .*grouped")(around(lambda x: point(x, groups=3)))
row(BY_RULE, "mean of the channels", "unsafe", "MEAN .*axes")(
    around(lambda x: L.Multiply()([x, operation(lambda t: keras.ops.mean(t, 3, keepdims=True))(x)]))
)
row(BY_RULE, "batch normalization of a sum", "unsafe", "MUL .*4 axes")(
    around(lambda x: _normalized(L.Add()([x, point(deep(x))])))
)
row(BY_RULE, "product with a number", "unsafe", "MUL .*4 axes")(
    around(lambda x: L.ReLU(6)(L.Rescaling(0.5)(L.Add()([x, point(deep(x))]))))
)
row(BY_RULE, "minimum with a number", "engages", "MINIMUM")(
    with_sum(lambda t: tf.minimum(t, _NUMBER))
)
row(BY_RULE, "maximum with a number", "engages", "MAXIMUM")(with_sum(lambda t: tf.maximum(0.02, t)))
row(BY_RULE, "minimum with a vector", "unsafe", "MINIMUM .*and a number")(
    with_sum(lambda t: tf.minimum(t, _VECTOR))
)
row(BY_RULE, "maximum with a vector", "unsafe", "MAXIMUM .*and a number")(
    with_sum(lambda t: tf.maximum(t, _VECTOR.reshape(1, 1, 1, 18)))
)
row(BY_RULE, "sum with a number", "unsafe", "ADD .*4 axes")(with_sum(lambda t: t + 0.7))
row(BY_RULE, "sum with a number of 4 axes", "unsafe", "ADD .*constant")(
    with_sum(lambda t: t + _NUMBER)
)
row(BY_RULE, "sum with a vector", "unsafe", "ADD .*4 axes")(with_sum(lambda t: t + _VECTOR))
row(BY_RULE, "product with a number of 4 axes", "unsafe", "MUL .*constant")(
    with_sum(lambda t: t * (_NUMBER + 0.5))
)
row(BY_RULE, "difference from a number", "unsafe", "SUB")(with_sum(lambda t: 0.7 - t))
row(BY_RULE, "quotient by a vector", "unsafe", "DIV|MUL")(with_sum(lambda t: t / (_VECTOR + 0.5)))
row(BY_RULE, "quotient of a number", "unsafe", "DIV")(with_sum(lambda t: 0.7 / (tf.exp(t))))
row(BY_RULE, "squared difference from a number", "unsafe", "SQUARED_DIFFERENCE")(
    with_sum(lambda t: tf.math.squared_difference(t, _VECTOR))
)
row(BY_RULE, "power", "off")(with_sum(lambda t: tf.pow(t, 1.7)))
row(BY_RULE, "repeated pixels", "off", "nothing closes")(around(L.UpSampling2D()))
row(BY_RULE, "tiled pixels", "off", "nothing closes")(
    around(operation(lambda t: tf.tile(t, (1, 2, 2, 1))))
)
row(BY_RULE, "transposed convolution", "unsafe", "TRANSPOSE_CONV")(
    around(lambda x: L.Conv2DTranspose(18, 3, padding="same")(x))
)
row(BY_RULE, "softmax inside", "unsafe", "SOFTMAX")(around(L.Softmax()))
row(BY_RULE, "squeeze and excite, then segmentation", "unsafe", "CONV_2D .*is the last")(
    ending(lambda x: L.Conv2D(4, 1)(excited(x)))
)


@row(BY_RULE, "output further inside", "unsafe", "DEPTHWISE_CONV_2D .*output")
def _tapped_early(image):
    x = point(stem(image))
    return [head(point(deep(x))), x]


ROWS = MEASURED | BY_RULE


def _normalized(x):
    return L.BatchNormalization(beta_initializer="ones", moving_mean_initializer="ones")(x)


def _padding_twice(padded):
    x = relu(L.Conv2D(12, 3, strides=2)(padded))
    y = L.Conv2D(18, 3, strides=2)(padded)
    return head(L.Add()([point(deep(point(x))), y]))
