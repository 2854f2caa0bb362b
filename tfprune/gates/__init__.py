# SPDX-License-Identifier: Apache-2.0
"""How masks act on weights during training: one small file per gate."""

from tfprune.gates.base import Gate, Moment
from tfprune.gates.course import Course
from tfprune.gates.decaying import Decaying
from tfprune.gates.drawn import Drawn
from tfprune.gates.fixed import Fixed
from tfprune.gates.growing import Growing
from tfprune.gates.moving import Moving
from tfprune.gates.sampled import Sampled
from tfprune.gates.soft import Soft

__all__ = ["Course", "Decaying", "Drawn", "Fixed", "Gate", "Growing", "Moment", "Moving",
           "Sampled", "Soft"]
