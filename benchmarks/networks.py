# SPDX-License-Identifier: Apache-2.0
"""The networks that scores are measured on."""

import keras

VGG16 = (
    64,
    64,
    "pool",
    128,
    128,
    "pool",
    256,
    256,
    256,
    "pool",
    512,
    512,
    512,
    "pool",
    512,
    512,
    512,
    "pool",
)


def vgg16_bn(classes: int = 100, multiplier: float = 1.0, *, last_pool: str = "max") -> keras.Model:
    """VGG-16 with BatchNorm for 32x32 images: 13 convolutions and one Dense layer.

    With 100 classes 14,761,664 prunable weights, 14 kernels; `multiplier` scales its widths. The
    last pooling takes the maximum or the "average".
    K. Simonyan, A. Zisserman, "Very Deep Convolutional Networks for Large-Scale Image
    Recognition", 2014, arXiv 1409.1556.
    """
    inputs = x = keras.Input((32, 32, 3))
    for width in VGG16 if last_pool == "max" else VGG16[:-1]:
        if width == "pool":
            x = keras.layers.MaxPooling2D()(x)
            continue
        x = keras.layers.Conv2D(
            int(width * multiplier),
            3,
            padding="same",
            use_bias=False,
            kernel_initializer="he_normal",
        )(x)
        x = keras.layers.BatchNormalization()(x)
        x = keras.layers.ReLU()(x)
    if last_pool == "average":
        x = keras.layers.AveragePooling2D(2)(x)
    x = keras.layers.Flatten()(x)
    outputs = keras.layers.Dense(classes)(x)
    return keras.Model(inputs, outputs)


def resnet50(classes: int = 1000) -> keras.Model:
    """ResNet-50 for 224x224 images, at initialisation."""
    return keras.applications.ResNet50(weights=None, classes=classes)
