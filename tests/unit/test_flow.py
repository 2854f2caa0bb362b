# SPDX-License-Identifier: Apache-2.0
"""The flow: what is conserved, and what makes no difference."""

import functools
import math

import numpy as np
import pytest
import tensorflow as tf
from flow_models import conv_net, mlp, residual, shares, subject
from tiny_models import KERASES, zeros

import tfprune
from tfprune.statistics.synaptic_flow import flow

everywhere = pytest.mark.parametrize("family", KERASES)


# What is conserved.


@everywhere
@pytest.mark.parametrize(
    "build",
    [mlp, residual, conv_net, lambda family: conv_net(family, "AveragePooling2D")],
    ids=["mlp", "residual", "max pooling", "average pooling"],
)
def test_each_layer_on_every_path_passes_on_all_of_the_flow(family, build):
    model = build(family)
    for biases in (False, True):
        found = shares(model, biases=biases)
        assert all((share >= 0).all() for share in found.values())
        sums = {
            name: share.sum()
            for name, share in found.items()
            if not name.startswith(("first", "second"))
        }
        assert len(sums) >= 2
        np.testing.assert_allclose(
            list(sums.values()),
            sums["stem/kernel"] if "stem/kernel" in sums else sums["dense0/kernel"],
            rtol=1e-5,
        )


@everywhere
def test_layer_sums_are_the_sum_of_the_outputs(family):
    """R itself where nothing is rescaled; one common factor where something is."""
    model = conv_net(family)
    whole = subject(model)
    with flow(whole, biases=True):
        total = float(tf.reduce_sum(model(tf.ones((1, 9, 9, 2)), training=False)))
    plain, rescaled = shares(model, biases=True), shares(model)
    factors = []
    for name, share in plain.items():
        assert share.sum() == pytest.approx(total, rel=1e-5)
        factors.append(rescaled[name] / share)
    factors = np.concatenate([factor.ravel() for factor in factors])
    np.testing.assert_allclose(factors, factors[0], rtol=1e-5)


@everywhere
@pytest.mark.parametrize("build", [mlp, conv_net], ids=["mlp", "conv"])
def test_with_biases_the_flow_that_enters_after_a_layer_is_theirs(family, build):
    """R = sum S(W_l) + sum over k >= l of sum S(b_k)."""
    model = build(family, use_bias=True)
    layers = [layer for layer in model.layers if getattr(layer, "bias", None) is not None]
    generator = np.random.default_rng(4)
    for layer in layers:
        layer.bias.assign(generator.normal(size=layer.bias.shape))
    whole = subject(model)
    raw = [whole.adapter.raw(layer.bias) for layer in layers]
    with flow(whole, biases=True) as measure:
        kernels = [
            kernel.numpy() * given["flow"].numpy()
            for kernel, given in zip(whole.kernels, measure())
        ]
        with tf.GradientTape() as tape:
            tape.watch(raw)
            total = tf.reduce_sum(model(tf.ones((1, *model.input_shape[1:])), training=False))
        offsets = [np.sum(bias * slope) for bias, slope in zip(raw, tape.gradient(total, raw))]
    assert len(kernels) == len(offsets)
    for index, share in enumerate(kernels):
        assert share.sum() + sum(offsets[index:]) == pytest.approx(float(total), rel=1e-5)
        assert share.sum() < 0.9999 * float(total)  # so plain sums would not do


@everywhere
def test_what_enters_a_unit_leaves_it(family):
    found = list(shares(mlp(family)).values())
    for before, after in zip(found, found[1:]):
        np.testing.assert_allclose(before.sum(0), after.sum(1), rtol=1e-5)


@everywhere
def test_what_enters_a_channel_leaves_it(family):
    found = shares(conv_net(family))
    entering = {
        "stem": (0, 1, 2),
        "depth": (0, 1, 3),
        "strided": (0, 1, 2),
        "valid": (0, 1, 2),
        "hidden": (0,),
    }
    leaving = {
        "depth": (0, 1, 3),
        "strided": (0, 1, 3),
        "valid": (0, 1, 3),
        "hidden": (1,),
        "head": (1,),
    }
    found = {name.split("/")[0]: share for name, share in found.items()}
    for (before, into), (after, out) in zip(entering.items(), leaving.items()):
        np.testing.assert_allclose(found[before].sum(into), found[after].sum(out), rtol=1e-5)


@everywhere
def test_what_enters_a_residual_block_is_shared_by_its_branches(family):
    model = residual(family, depth=1)
    found = {name.split("/")[0]: share for name, share in shares(model).items()}
    branch = found["second0"].sum((0, 1, 2))
    np.testing.assert_allclose(found["first0"].sum(), branch.sum(), rtol=1e-5)
    assert (branch < found["head"].sum(1)).all()  # the rest came past the block


# What makes no difference.


def chosen(model, sparsity=0.8, **settings):
    tfprune.sparsify(model, tfprune.get_method("synflow", rounds=6), sparsity, **settings)
    return zeros(model)


@functools.cache
def usual(family):
    return chosen(conv_net(family))


def proportional(found, others):
    """Whether all shares differ by one factor, so that every ranking of them is the same."""
    ratios = np.concatenate([(found[name] / others[name]).ravel() for name in found])
    return np.allclose(ratios, ratios[0], rtol=1e-5)


@everywhere
def test_neither_signs_nor_scales_of_layers_nor_data_change_the_masks(family):
    generator = np.random.default_rng(8)
    model = conv_net(family)
    for kernel, factor in zip(subject(model).kernels, (8.0, 0.3, 1e-6, 1e7, 1.7, 3e4)):
        kernel.assign(kernel * factor * generator.choice([-1.0, 1.0], kernel.shape))
    inputs = generator.normal(size=(5, 9, 9, 2)).astype("float32")
    for name, mask in chosen(model, data=(inputs, np.zeros(5))).items():
        np.testing.assert_array_equal(mask, usual(family)[name], name)


@everywhere
@pytest.mark.parametrize("build", [conv_net, residual], ids=["conv", "residual"])
def test_signs_make_no_difference(family, build):
    model = build(family)
    found = shares(model)
    generator = np.random.default_rng(8)
    for kernel in subject(model).kernels:
        kernel.assign(kernel * generator.choice([-1.0, 1.0], kernel.shape))
    for name, share in shares(model).items():
        np.testing.assert_array_equal(share, found[name])


@everywhere
def test_the_scale_of_a_layer_makes_no_difference_where_all_paths_pass_it(family):
    found = shares(residual(family))
    model = residual(family)
    stem, *_, head = subject(model).kernels
    stem.assign(stem * 77)
    head.assign(head * 1e-3)
    assert proportional(shares(model), found)
    branch = subject(model).kernels[1]
    branch.assign(branch * 77)
    assert not proportional(shares(model), found)


# What has no flow.


@everywhere
def test_a_model_without_flow_is_refused(family):
    model = mlp(family)
    subject(model).kernels[2].assign(tf.zeros((25, 10)))
    before = [weight.tobytes() for weight in model.get_weights()]
    with pytest.raises(ValueError, match="No flow reaches .* all weights of a layer are zero"):
        tfprune.sparsify(model, "synflow", 0.5)
    assert [weight.tobytes() for weight in model.get_weights()] == before


@everywhere
def test_dead_units_get_no_flow(family):
    model = mlp(family)
    first = subject(model).kernels[0]
    first.assign(first * np.where(np.arange(30) == 4, 0.0, 1.0))
    found = shares(model)
    assert not found["dense1/kernel"][4].any() and not found["dense0/kernel"][:, 4].any()
    assert np.count_nonzero(found["dense1/kernel"]) == 29 * 25
    assert math.isclose(found["dense0/kernel"].sum(), found["dense3/kernel"].sum(), rel_tol=1e-5)


def test_the_flow_by_hand():
    """Two inputs, two hidden units, one output: R = sum over j of v_j sum over i of w_ij."""
    model = mlp("keras", (2, 2, 1))
    first, second = subject(model).kernels
    first.assign([[1.0, -2.0], [3.0, 4.0]])
    second.assign([[-5.0], [7.0]])
    found = shares(model, biases=True)
    np.testing.assert_array_equal(found["dense0/kernel"], [[5, 14], [15, 28]])
    np.testing.assert_array_equal(found["dense1/kernel"], [[20], [42]])
