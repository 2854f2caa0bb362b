# SPDX-License-Identifier: Apache-2.0
"""Optimal brain surgeon on whole models: counts, refitted weights, what stays as it was."""

import numpy as np
import pytest
from tiny_models import KERASES

import tfprune


def network(family):
    library = KERASES[family]
    library.utils.set_random_seed(1)
    layers = library.layers
    return library.Sequential(
        [
            library.Input((6, 6, 4)),
            layers.Conv2D(8, 3, activation="relu", name="conv"),
            layers.DepthwiseConv2D(2, name="depthwise"),
            layers.BatchNormalization(name="norm"),
            layers.Flatten(),
            layers.Dense(5, name="dense"),
        ]
    )


def images():
    return np.random.default_rng(2).normal(size=(200, 6, 6, 4)).astype("float32")


def distance(model, wanted):
    return float(np.linalg.norm(model.predict(images(), verbose=0) - wanted))


@pytest.mark.parametrize("family", KERASES)
def test_it_comes_nearer_than_magnitude_refitted(family):
    first = network(family)
    wanted, found = first.predict(images(), verbose=0), {}
    for method in ("magnitude", "obs"):
        model = network(family)
        report = tfprune.sparsify(model, method, 0.6, allocation=tfprune.Uniform(), data=images())
        for one in report.sites:
            kernel = model.get_layer(one.name.partition("/")[0]).get_weights()[0]
            assert np.count_nonzero(kernel) == one.kept
        if method == "magnitude":
            found["zeroed"] = distance(model, wanted)
            tfprune.reconstruct(model, first, images())
        found[method] = distance(model, wanted)
    assert found["obs"] < found["magnitude"] < found["zeroed"]
    assert any("refitted: error" in note for one in report.sites for note in one.notes)


@pytest.mark.parametrize(
    "structure",
    [
        tfprune.NofM(2, 4),
        tfprune.Block(1, 4),
        tfprune.Kernel(),
        tfprune.Column(),
        tfprune.Rows("weights", 3),
        tfprune.Filter(),
    ],
    ids=repr,
)
def test_structures(structure):
    model = network("keras")
    sparsity = None if structure.fixed is not None else 0.5
    report = tfprune.sparsify(
        model, "obs", sparsity, structure=structure, allocation=tfprune.Uniform(), data=images()
    )
    assert len(report.sites) > 1
    for one in report.sites:
        kernel = model.get_layer(one.name.partition("/")[0]).get_weights()[0]
        assert np.count_nonzero(kernel) == one.kept < one.size
    if isinstance(structure, tfprune.NofM):
        kernel = model.get_layer("dense").get_weights()[0]
        blocks = kernel.T.reshape(5, -1, 4)
        assert (np.count_nonzero(blocks, axis=2) <= 2).all()


def test_what_does_not_train_is_pruned_and_not_refitted_and_averages_stay():
    model = network("tf_keras")
    model.get_layer("dense").trainable = False
    before = {one.name: one.get_weights() for one in model.layers}
    report = tfprune.sparsify(model, "obs", 0.5, data=images())
    kernel, bias = model.get_layer("dense").get_weights()
    np.testing.assert_array_equal(kernel, np.where(kernel, before["dense"][0], 0))
    np.testing.assert_array_equal(bias, before["dense"][1])
    assert report.sites[-1].notes == ("not refitted: its layer does not train",)
    for one, other in zip(model.get_layer("norm").get_weights(), before["norm"], strict=True):
        np.testing.assert_array_equal(one, other)


def test_without_data_nothing_happens():
    model = network("keras")
    before = model.get_weights()
    with pytest.raises(ValueError, match="data"):
        tfprune.sparsify(model, "obs", 0.5)
    with pytest.raises(ValueError, match="NaN|finite"):
        tfprune.sparsify(model, "obs", 0.5, data=np.full((8, 6, 6, 4), np.nan, "float32"))
    for one, other in zip(model.get_weights(), before, strict=True):
        np.testing.assert_array_equal(one, other)
