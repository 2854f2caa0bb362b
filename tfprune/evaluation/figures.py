# SPDX-License-Identifier: Apache-2.0
"""The figures of an evaluation, from plain arrays and dictionaries to matplotlib or SVG.

None touches pyplot or the settings of matplotlib. Needs the extra `plots` or `evaluation`.
"""

from __future__ import annotations

try:
    import matplotlib  # noqa: F401
except ImportError as error:
    raise ImportError('Figures are drawn by matplotlib: pip install "tfprune[plots]".') from error

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
