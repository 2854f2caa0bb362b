# SPDX-License-Identifier: Apache-2.0
"""Small models whose filters are pruned by coresets, and what of them is looked at."""

import numpy as np
import pytest

import tfprune
from tests.tiny_models import KERASES, masks, with_weights
from tfprune.backend import view
from tfprune.channels.consumers import outlets
from tfprune.channels.normalization_folding import folds
from tfprune.statistics import coresets
from tfprune.statistics.measured_model import Subject

everywhere = pytest.mark.parametrize("family", KERASES)


def dense_chain(family, width=12):
    library = KERASES[family]
    layers = library.layers
    return with_weights(
        library.Sequential(
            [
                library.Input((5,)),
                layers.Dense(width, activation="relu", name="one"),
                layers.Dense(9, activation="tanh", name="two"),
                layers.Dense(3, name="out"),
            ]
        )
    )


def conv_net(family, norm=True, width=10):
    """conv, BatchNormalization, ReLU, conv, Flatten, Dense."""
    library = KERASES[family]
    layers = library.layers
    inputs = library.Input((6, 6, 3))
    x = layers.Conv2D(width, 3, name="one")(inputs)
    if norm:
        x = layers.BatchNormalization(name="norm")(x)
    x = layers.Conv2D(8, 3, activation="relu", name="two")(layers.ReLU()(x))
    x = layers.Flatten()(x)
    model = with_weights(library.Model(inputs, layers.Dense(3, name="out")(x)))
    if norm:
        variance = model.get_layer("norm").moving_variance
        variance.assign(np.abs(variance.numpy()) + 0.1)
    return model


MODELS = {"dense": dense_chain, "conv": conv_net}


def images(model):
    shape = model.inputs[0].shape[1:]
    return np.random.default_rng(2).normal(size=(16, *shape)).astype("float32")


def kernel(model, name):
    return model.get_layer(name).kernel.numpy()


def points_of(model):
    """{site name: the points of its filters}."""
    subject = Subject.of(view(model))
    ways, norms = outlets(model, subject.sites), folds(subject.view)
    return {
        item.site.name: coresets.neurons(
            item, ways[item.site.name], norms.get(id(item.owner)), subject.adapter
        )
        for item in subject.found
    }


def pruned(model, method="coreset", sparsity=0.5, **settings):
    """The callback of a run that prunes once, without training."""
    callback = tfprune.PruningCallback(method, sparsity, **settings)
    callback.start(model)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("tfprune.training.callback._warn", lambda texts: None)
        callback.finish()
    return callback


def kept(callback):
    """{site name: which filters are kept}."""
    return {name: mask.reshape(-1, mask.shape[-1]).any(0) for name, mask in masks(callback).items()}
