# SPDX-License-Identifier: Apache-2.0
"""Wanda: keep the weights that are large and multiplied with large inputs."""

from tfprune.masks.array_namespace import namespace
from tfprune.masks.schedules import OneShot
from tfprune.masks.structures import Rows
from tfprune.methods.base import Method, Score, TopKRule


def _formula(statistics):
    return namespace(statistics["weight"]).abs(statistics["weight"]) * statistics["input_norm"]


wanda = Method(
    name="wanda",
    rule=TopKRule(
        Score("wanda", needs=("weight", "input_norm"), formula=_formula), structure=Rows("weights")
    ),
    default_schedule=OneShot(0.0),
    paper="M. Sun, Z. Liu, A. Bair, J. Z. Kolter, 'A Simple and Effective Pruning Approach for "
    "Large Language Models', 2023, arXiv 2306.11695",
)
"""score = |W| times the norm of its input over the scoring examples; weights of one output compete.

Takes inputs, no labels. For Dense layers as in the paper; of a convolution the weights of one
spatial kernel compete, which leaves 1x1 kernels dense: `structure=Element()` compares the whole
layer there.
"""
