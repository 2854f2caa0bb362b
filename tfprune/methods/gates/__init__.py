# SPDX-License-Identifier: Apache-2.0
"""How masks act on weights during training: one file per kind of gate."""

from tfprune.methods.gates.base import Annealed, Gate, Moment
from tfprune.methods.gates.gumbel import GumbelTopKGate
from tfprune.methods.gates.mask import MaskGate, SoftThresholdGate, WeightDecayGate
from tfprune.methods.gates.movement import MovementGate
from tfprune.methods.gates.regrowth import RegrowthGate
from tfprune.methods.gates.stochastic import StochasticGate
