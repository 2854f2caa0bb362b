# SPDX-License-Identifier: Apache-2.0
"""Gates: the ways in which masks act on weights during training."""

from tfprune.methods.gates.base import Annealed, Gate, Moment, RowsFrom
from tfprune.methods.gates.gumbel import GumbelTopKGate
from tfprune.methods.gates.mask import MaskGate, SoftThresholdGate, WeightDecayGate
from tfprune.methods.gates.movement import MovementGate
from tfprune.methods.gates.regrowth import RegrowthGate
from tfprune.methods.gates.stochastic import StochasticGate
