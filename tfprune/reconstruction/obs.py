# SPDX-License-Identifier: Apache-2.0
"""Optimal brain surgeon: remove what the others can make up for, and let them."""

from __future__ import annotations

from dataclasses import dataclass, replace

from tfprune.masks.allocations import Global
from tfprune.masks.schedules import OneShot
from tfprune.masks.serialization import register
from tfprune.methods.base import Method, Score, TopKRule
from tfprune.reconstruction.least_squares import RIDGE, check_ridge
from tfprune.reconstruction.reconstruct import refit_masked


@register
@dataclass(frozen=True)
class RefitRule(TopKRule):
    """Chooses by a score, and refits what is kept to what the layers gave before.

    Attributes:
        ridge: how much the weights are held where they are, above 0: see `tfprune.reconstruct`.
        score, structure, allocation, seed: as of `TopKRule`.

    Raises:
        ValueError: several rounds; a ridge that is not above 0.

    Example:
        >>> import tfprune
        >>> tfprune.get_method("obs", ridge=1e-2).rule.ridge
        0.01
    """

    ridge: float = RIDGE

    def __post_init__(self):
        super().__post_init__()
        if self.rounds != 1:
            raise ValueError(f"rounds={self.rounds}: it refits once in an update; take 1.")
        check_ridge(self.ridge)

    def update(self, now):
        made = super().update(now)
        if not float(now.sparsity) and self.structure.fixed is None:
            return made
        kernels, report = refit_masked(now.subject, made.masks, now.feed, ridge=self.ridge)
        notes = {
            one.name: (f"refitted: error {one.before:.1%} -> {one.after:.1%}", *one.notes)
            for one in report.layers
        }
        notes.update({one.name: (f"not refitted: {one.reason}",) for one in report.skipped})
        known = {site.name for site in now.sites}
        return replace(
            made, kernels=kernels, notes={name: notes[name] for name in notes if name in known}
        )


obs = Method(
    name="obs",
    rule=RefitRule(
        Score("obs", needs=("removal_loss",), formula=lambda given: given["removal_loss"]),
        allocation=Global(),
    ),
    default_schedule=OneShot(0.0),
    paper="E. Frantar, D. Alistarh, 'Optimal Brain Compression: A Framework for Accurate "
    "Post-Training Quantization and Pruning', 2022, arXiv 2208.11580",
)
"""score = w_B^T ([H^-1]_BB)^-1 w_B, H = X^T X of a layer's inputs, when the group B is removed
after all cheaper ones, relative to the variance of the layer's outputs.

Takes inputs, no labels. The kept weights and the biases are refitted by least squares, layer by
layer, to what the layers gave before (`tfprune.reconstruct`).
"""
