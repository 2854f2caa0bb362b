# SPDX-License-Identifier: Apache-2.0
"""Groups trade channels where nothing more fits a budget, and much of it is unused."""

import numpy as np
import pytest

import tfprune
from tests.tiny_models import KERASES
from tfprune.surgery.budget_fit import Market, traded


@pytest.mark.parametrize("round_to, unused", [(1, 0.025), (2, 0.1)])
def test_groups_trade_channels_where_nothing_more_fits(round_to, unused):
    layers = KERASES["keras"].layers
    model = KERASES["keras"].Sequential(
        [
            layers.Input((8, 8, 3)),
            layers.Conv2D(16, 3, activation="relu", name="a"),
            layers.Conv2D(16, 3, activation="relu", name="b"),
            layers.GlobalAveragePooling2D(),
            layers.Dense(10),
        ]
    )
    for name, value in (("a", 1.0), ("b", 3.0)):  # so that all of `b` comes before any of `a`
        kernel, bias = model.get_layer(name).get_weights()
        model.get_layer(name).set_weights([np.full_like(kernel, value), bias])
    score = tfprune.get_method("magnitude", allocation=tfprune.Global())
    budget = tfprune.Budget(macs=0.5, per_cost=False, round_to=round_to, min_channels=3)
    small, report = tfprune.shrink_to(model, budget, score)
    again, same = tfprune.shrink_to(model, budget, score)
    # With 7 and 16 channels 12 % are unused, and one more of `a` is too many.
    assert 0 <= report.unused < unused and report.channels == same.channels
    (a, b) = (after for _, after in report.channels.values())
    assert a > 7 and b < 16 and a % round_to == b % round_to == 0


def _traded(counts, price, limit, *, close=0.01, **settings):
    settings = {"low": np.array([1, 1]), "step": 1, "groups": [0, 1], **settings}
    market = Market(
        full=np.array([20, 20]),
        **settings,
        used=lambda counts: np.array([counts @ np.array(price) / limit]),
    )
    return traded(np.array(counts), market, close).tolist()


def test_trades_stay_where_they_may():
    # 97 of 99 are used; 99 with one less of the second and one more of the first.
    assert _traded([14, 9], (5, 3), 99) == [15, 8]
    assert _traded([14, 9], (5, 3), 99, groups=[]) == [14, 9]
    assert _traded([14, 9], (5, 3), 99, groups=[1]) == [14, 9]
    assert _traded([14, 9], (5, 3), 99, low=np.array([14, 9])) == [14, 9]
    assert _traded([14, 8], (5, 3), 99, step=2) == [16, 6]
    assert _traded([14, 9], (5, 3), 99, close=0.03) == [14, 9]  # is close


def test_a_group_neither_gives_nor_gets_more_than_a_third():
    assert _traded([2, 14], (5, 3), 54) == [2, 14]  # [3, 13] would use all
    assert _traded([3, 12], (5, 3), 53) == [4, 11]


def test_a_trade_that_gains_next_to_nothing_is_none():
    # 94.1 of 98 are used; 94.2 with one less of the second and one more of the first.
    assert _traded([10, 9], (5, 4.9), 98) == [10, 9]
    assert _traded([10, 9], (5, 4.9), 98, close=0.001) != [10, 9]
