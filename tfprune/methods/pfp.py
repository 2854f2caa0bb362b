# SPDX-License-Identifier: Apache-2.0
"""PFP: keep the input channels that account for most, as many as bound every layer's error."""

from tfprune.masks.allocations import PFP
from tfprune.masks.schedules import OneShot
from tfprune.masks.structures import Channel
from tfprune.methods.base import Method, Score, TopKRule


def _formula(statistics):
    return statistics["peak_sensitivity"]


pfp = Method(
    name="pfp",
    rule=TopKRule(
        Score("pfp", needs=("peak_sensitivity",), formula=_formula),
        structure=Channel("max"),
        allocation=PFP(),
    ),
    default_schedule=OneShot(0.0),
    paper="L. Liebenwein, C. Baykal, H. Lang, D. Feldman, D. Rus, 'Provable Filter Pruning for "
    "Efficient Neural Networks', 2019, arXiv 1911.07412",
)
"""score = max over examples, positions, outputs and the channel's weights of g, g as for SiPP.

See `tfprune.statistics.input_sensitivity`. The deterministic variant: what is kept is not
re-weighted. A model's own inputs are channels, too:
`allocation=PerSite({first layer: 0}, others=PFP())` keeps them.
"""
