# SPDX-License-Identifier: Apache-2.0
"""Random pruning: the control that every other method must beat."""

from tfprune.methods.base import Method, Score, TopKRule


def _formula(statistics):
    return statistics["noise"]


random = Method(
    name="random",
    rule=TopKRule(Score("random", needs=("noise",), formula=_formula)),
    paper="T. Gale, E. Elsen, S. Hooker, 'The State of Sparsity in Deep Neural Networks', 2019, "
    "arXiv 1902.09574",
)
"""score = i.i.d. uniform noise, drawn once from the seed, so masks stay nested."""
