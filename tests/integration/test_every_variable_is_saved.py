# SPDX-License-Identifier: Apache-2.0
"""Whole files and TensorFlow's checkpoints hold every variable of every wrapper."""

import numpy as np
import pytest
import tensorflow as tf
from saved import networks

import tfprune

WRAPPED = ("gates", "separable", "taylor", "joint", "quantized", "drop-in")


def network(name, family):
    """A wrapped model, each of whose variables has a value of its own."""
    model = networks.MODELS[name](family)
    for number, one in enumerate(model.variables):
        value = 7 * number + 3 + np.arange(np.size(one)).reshape(one.shape) / 1000
        one.assign(value.astype(np.asarray(one).dtype))
    return model


def held(model):
    return [np.asarray(one).tobytes() for one in model.variables]


@pytest.mark.parametrize("name", WRAPPED)
@pytest.mark.parametrize("family", networks.KERASES)
def test_files(family, name, tmp_path):
    model = network(name, family)
    for ending in ("h5", "keras"):
        path = str(tmp_path / f"whole.{ending}")
        model.save(path)
        assert held(tfprune.load_model(path)) == held(model), ending


@pytest.mark.parametrize("name", WRAPPED)
@pytest.mark.parametrize("family", networks.KERASES)
def test_checkpoints(family, name, tmp_path):
    model, other = network(name, family), networks.MODELS[name](family)
    path = tf.train.Checkpoint(model=model).write(str(tmp_path / "checkpoint"))
    assert held(other) != held(model)
    tf.train.Checkpoint(model=other).read(path).assert_consumed()
    assert held(other) == held(model)
