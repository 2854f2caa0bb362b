# SPDX-License-Identifier: Apache-2.0
"""Half of every prunable group dead, then taken out: the same outputs, for models of many kinds."""

import numpy as np
import pytest

import tfprune
from tests.shrink_models import deviation, examples, masked, randomized
from tests.tiny_models import KERASES
from tests.unit.test_channel_groups_removal import CASES, MODELS


@pytest.mark.filterwarnings("ignore:.*does not support masking")
@pytest.mark.parametrize("name,family", CASES)
def test_without_half_of_every_group_the_outputs_are_the_same(name, family):
    model = randomized(MODELS[name](KERASES[family]))
    dead = masked(model)
    before = model.get_weights()
    small, report = tfprune.shrink(model)
    assert report.removed == sum(dead.values()), str(report)
    assert {one.name: one.dead for one in report.groups if one.dead} == dead
    assert deviation(model, small, examples(model)) < 1e-4
    assert type(small) is type(model) and small.name == model.name
    assert [layer.name for layer in small.layers] == [layer.name for layer in model.layers]
    assert small.count_params() == report.parameters[1] < report.parameters[0]
    assert report.macs[1] < report.macs[0]
    assert not report.folded and not report.notes
    for one, other in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize(
    "name,family,whole",
    [
        ("mobile", "keras", ()),
        ("attention", "tf_keras", ()),
        ("operations", "tf_keras", ()),
        ("channels_first", "keras", ()),
        ("flat", "keras", ("does not read a constant",)),
        ("nested", "keras", ("does not read a constant",)),
    ],
)
def test_constants_of_dead_channels_are_folded_or_the_channels_stay(name, family, whole):
    model = randomized(MODELS[name](KERASES[family]))
    dead = masked(model, constants=True)
    small, report = tfprune.shrink(model)
    assert deviation(model, small, examples(model)) < 1e-4
    stayed = [one for one in report.groups if one.dead > one.before - one.after]
    assert report.folded and not report.borders
    assert len(stayed) == len(whole)
    assert all(text in str(one) for text, one in zip(whole, stayed))
    assert report.removed == sum(dead.values()) - sum(
        one.dead - (one.before - one.after) for one in stayed
    )
