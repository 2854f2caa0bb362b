# SPDX-License-Identifier: Apache-2.0
"""Coreset pruning by norms: the additive coreset of neurons. Takes no data."""

from tfprune.masks.schedules import OneShot
from tfprune.masks.structures import Filter
from tfprune.methods.base import Method, Score, TopKRule


def _formula(statistics):
    return statistics["norm_sensitivity"]


coreset_mussay = Method(
    name="coreset_mussay",
    rule=TopKRule(
        Score("coreset_mussay", needs=("norm_sensitivity",), formula=_formula), structure=Filter()
    ),
    default_schedule=OneShot(0.0),
    paper="B. Mussay, M. Osadchy, V. Braverman, S. Zhou, D. Feldman, 'Data-Independent Neural "
    "Pruning via Coresets', 2020, arXiv 1907.04018",
)
"""score = |[w, b]| max |V|, V all weights that read the filter; for ReLU and inputs of norm 1."""
