"""How masks act on weights during training: one small file per gate."""

from tfprune.gates.base import Gate, Moment
from tfprune.gates.decaying import Decaying
from tfprune.gates.fixed import Fixed
from tfprune.gates.sampled import Sampled

__all__ = ["Decaying", "Fixed", "Gate", "Moment", "Sampled"]
