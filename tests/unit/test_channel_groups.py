# SPDX-License-Identifier: Apache-2.0
"""Channel groups of small models, checked by hand, in both Kerases."""

import numpy as np
import pytest

import tfprune
from tests.tiny_models import KERASES
from tfprune.layers.channel_graph import Role

pytestmark = pytest.mark.parametrize("family", sorted(KERASES))


def groups_of(model):
    return {group.name: group for group in tfprune.channel_groups(model)}


def sites(group, role=None):
    return [one.site for one in group.members if role in (None, one.role)]


def member(group, site, axis=None):
    found = [one for one in group.members if one.site == site and axis in (None, one.axis)]
    assert len(found) == 1
    return found[0]


def test_chain(family):
    library = KERASES[family]
    layers = library.layers
    model = library.Sequential(
        [
            library.Input((8, 8, 3), name="image"),
            layers.Conv2D(5, 3, name="c1"),
            layers.BatchNormalization(name="bn"),
            layers.ReLU(),
            layers.MaxPooling2D(),
            layers.Conv2D(4, 3, name="c2"),
        ]
    )
    groups = groups_of(model)
    assert list(groups) == ["c1 in", "c1", "c2"]
    assert groups["c1 in"].reason.startswith("model input") and groups["c1 in"].size == 3
    assert groups["c2"].reason == "model output" and not groups["c2"].prunable
    group = groups["c1"]
    assert group.prunable and group.size == 5
    assert sites(group, Role.PRODUCER) == ["c1/kernel"]
    assert sites(group, Role.CONSUMER) == ["c2/kernel"]
    assert sites(group, Role.FOLLOWER) == [
        "c1/bias",
        "bn/gamma",
        "bn/beta",
        "bn/moving_mean",
        "bn/moving_variance",
    ]
    assert [(one.site, one.axis) for one in group.producers + group.consumers] == [
        ("c1/kernel", 3),
        ("c2/kernel", 2),
    ]
    for one in group.members:
        np.testing.assert_array_equal(one.indices, np.arange(5)[:, None])
    assert str(group) == "c1: 5 channels, c1 out -> bn -> c2 in"


def test_residual_block_with_projection(family):
    library = KERASES[family]
    layers = library.layers
    inputs = library.Input((8, 8, 3))
    stem = layers.Conv2D(4, 1, name="stem")(inputs)
    x = layers.Conv2D(6, 3, padding="same", name="a")(stem)
    x = layers.Conv2D(7, 3, padding="same", name="b")(x)
    x = layers.Add(name="sum")([x, layers.Conv2D(7, 1, name="projection")(stem)])
    x = layers.Conv2D(7, 3, padding="same", name="c")(x) + x
    model = library.Model(inputs, layers.Dense(2, name="out")(layers.GlobalAveragePooling2D()(x)))
    groups = groups_of(model)
    prunable = {name: group for name, group in groups.items() if group.prunable}
    assert {name: group.size for name, group in prunable.items()} == {"stem": 4, "a": 6, "b": 7}
    assert sites(groups["stem"], Role.CONSUMER) == ["a/kernel", "projection/kernel"]
    assert set(sites(groups["b"], Role.PRODUCER)) == {"b/kernel", "projection/kernel", "c/kernel"}
    assert sites(groups["b"], Role.CONSUMER) == ["c/kernel", "out/kernel"]
    assert "sum" in groups["b"].path


def test_depthwise_separable_block(family):
    library = KERASES[family]
    layers = library.layers
    inputs = library.Input((8, 8, 3))
    x = layers.Conv2D(4, 1, name="expand")(inputs)
    x = layers.DepthwiseConv2D(3, depth_multiplier=2, name="depth")(x)
    x = layers.BatchNormalization(name="bn")(x)
    x = layers.Conv2D(5, 1, name="project")(x)
    x = layers.SeparableConv2D(6, 3, depth_multiplier=3, name="separable")(x)
    groups = groups_of(library.Model(inputs, x))
    kernel = "depth/kernel" if family == "keras" else "depth/depthwise_kernel"
    assert sites(groups["expand"], Role.PASSING) == [kernel]
    passing = member(groups["expand"], kernel)
    assert (passing.axis, passing.indices.tolist()) == (2, [[0], [1], [2], [3]])
    pairs = [[0, 1], [2, 3], [4, 5], [6, 7]]
    for site in ("depth/bias", "bn/gamma", "project/kernel"):
        assert member(groups["expand"], site).indices.tolist() == pairs
    inner = member(groups["project"], "separable/pointwise_kernel")
    assert inner.axis == 2 and inner.role is Role.CONSUMER
    assert inner.indices.tolist() == [[3 * i, 3 * i + 1, 3 * i + 2] for i in range(5)]
    assert member(groups["separable"], "separable/pointwise_kernel").axis == 3


def test_concatenation_keeps_each_part(family):
    library = KERASES[family]
    layers = library.layers
    inputs = library.Input((8, 8, 3))
    one = layers.Conv2D(2, 3, padding="same", name="one")(inputs)
    down = layers.Conv2D(3, 3, strides=2, padding="same", name="down")(one)
    up = layers.Conv2DTranspose(4, 2, strides=2, name="up")(down)
    x = layers.Concatenate(name="join")([one, up])
    x = layers.BatchNormalization(name="bn")(x)
    x = layers.Conv2D(5, 1, name="last")(x)
    groups = groups_of(library.Model(inputs, x))
    assert member(groups["one"], "last/kernel").indices.tolist() == [[0], [1]]
    assert member(groups["up"], "last/kernel").indices.tolist() == [[2], [3], [4], [5]]
    assert member(groups["up"], "bn/gamma").indices.tolist() == [[2], [3], [4], [5]]
    assert (member(groups["up"], "up/kernel").axis, groups["down"].size) == (2, 3)
    assert sites(groups["one"], Role.CONSUMER) == ["down/kernel", "last/kernel"]


def test_flatten_into_dense(family):
    library = KERASES[family]
    layers = library.layers
    inputs = library.Input((6, 5, 3))
    x = layers.Conv2D(4, 2, name="conv")(inputs)  # 5 x 4 places
    x = layers.Dense(7, name="dense")(layers.Flatten()(x))
    x = layers.Dense(24, name="wide")(x)
    x = layers.Conv2D(2, 1, name="last")(layers.Reshape((2, 4, 3))(x))
    groups = groups_of(library.Model(inputs, x))
    read = member(groups["conv"], "dense/kernel")
    assert (read.axis, read.role, read.indices.shape) == (0, Role.CONSUMER, (4, 20))
    np.testing.assert_array_equal(read.indices, np.arange(80).reshape(20, 4).T)
    made = member(groups["wide"], "wide/kernel")
    assert groups["wide"].size == 3
    np.testing.assert_array_equal(made.indices, np.arange(24).reshape(8, 3).T)
    assert member(groups["wide"], "last/kernel").indices.tolist() == [[0], [1], [2]]
