# SPDX-License-Identifier: Apache-2.0
"""The figures of an evaluation, from plain arrays and dictionaries to matplotlib or SVG.

None touches pyplot or the settings of matplotlib, which is imported when something is drawn: by
the extra `plots` or `evaluation`.
"""

from __future__ import annotations

from tfprune.evaluation.figure_cells import confusion_change, heat_map, matrix
from tfprune.evaluation.figure_images import exemplars
from tfprune.evaluation.figure_lines import (
    accuracy_over_ratio,
    noise_distance,
    reliability,
    training,
)
from tfprune.evaluation.figure_potential import potential
from tfprune.evaluation.figure_svg import svg

__all__ = [
    "accuracy_over_ratio",
    "confusion_change",
    "exemplars",
    "heat_map",
    "matrix",
    "noise_distance",
    "potential",
    "reliability",
    "svg",
    "training",
]
