# SPDX-License-Identifier: Apache-2.0
"""How masks act on weights during training: one small file per gate."""

from tfprune.methods.gates.annealed import Course
from tfprune.methods.gates.base import Gate, Moment
from tfprune.methods.gates.gumbel import Drawn
from tfprune.methods.gates.mask import Fixed
from tfprune.methods.gates.movement import Moving
from tfprune.methods.gates.regrowth import Growing
from tfprune.methods.gates.soft_threshold import Soft
from tfprune.methods.gates.stochastic import Sampled
from tfprune.methods.gates.weight_decay import Decaying

__all__ = [
    "Course",
    "Decaying",
    "Drawn",
    "Fixed",
    "Gate",
    "Growing",
    "Moment",
    "Moving",
    "Sampled",
    "Soft",
]
