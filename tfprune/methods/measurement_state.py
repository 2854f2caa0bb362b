# SPDX-License-Identifier: Apache-2.0
"""What a rule remembers of its measurements, so that a run that goes on makes them as it would have
without a break."""

from __future__ import annotations

from typing import Any

import numpy as np

from tfprune.masks.sites import Site

FIRSTS = {"measured_step": -1, "batches_taken": 0, "average_score": 0}
"""The first values: the step of the last measurement (-1: there was none), how many batches of the
data were looked at by then, and the running average of the scores."""


def first_memory(rule: Any, site: Site) -> dict[str, np.ndarray]:
    """What a rule whose scores are measured remembers of a site: name -> first value.

    The average is there if the rule has a momentum.
    """
    kept = {"measured_step": np.zeros((), np.int64), "batches_taken": np.zeros((), np.int64)}
    if rule.momentum:
        scores = rule.structure.reduce(np.zeros(site.shape, np.float32), site.layout)
        kept["average_score"] = scores.astype(np.float64)
    return {name: np.full_like(value, FIRSTS[name]) for name, value in kept.items()}
