# SPDX-License-Identifier: Apache-2.0
"""Filter thresholding: keep the filters with the largest norms, the same fraction everywhere."""

from tfprune.masks.array_namespace import namespace
from tfprune.masks.schedules import OneShot
from tfprune.masks.structures import Filter
from tfprune.methods.base import Method, Score, TopKRule


def _magnitude(statistics):
    weight = statistics["weight"]
    return namespace(weight).abs(weight)


def _square(statistics):
    xp = namespace(statistics["weight"])
    return xp.square(xp.astype(statistics["weight"], "float32"))  # half precision would overflow


filter_threshold = Method(
    name="filter_threshold",
    rule=TopKRule(
        Score("filter_threshold", needs=("weight",), formula=_magnitude), structure=Filter("sum")
    ),
    default_schedule=OneShot(0.0),
    paper="H. Li, A. Kadav, I. Durdanovic, H. Samet, H. P. Graf, 'Pruning Filters for Efficient "
    "ConvNets', 2016, arXiv 1608.08710",
)
"""score = sum of |W| over a filter.

The last layer's filters are the model's outputs: `allocation=PerSite({last layer: 0})` keeps them.
"""

filter_threshold_l2 = Method(
    name="filter_threshold_l2",
    rule=TopKRule(
        Score("filter_threshold_l2", needs=("weight",), formula=_square), structure=Filter("sum")
    ),
    default_schedule=OneShot(0.0),
    paper="Y. He, G. Kang, X. Dong, Y. Fu, Y. Yang, 'Soft Filter Pruning for Accelerating Deep "
    "Convolutional Neural Networks', 2018, arXiv 1808.06866",
)
"""score = sum of W^2 over a filter, which ranks as its L2 norm does.

Once, as in comparisons of methods. The paper prunes after every epoch and lets filters come back:
`get_method("filter_threshold_l2", gate=MaskGate(straight_through=True), schedule=Constant(sparsity,
frequency=steps per epoch))` is the nearest to it.
"""
