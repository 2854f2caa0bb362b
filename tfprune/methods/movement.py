# SPDX-License-Identifier: Apache-2.0
"""Movement pruning: what moves away from zero while the network is fine-tuned is kept."""

from tfprune.masks.allocations import Global
from tfprune.masks.schedules import Polynomial
from tfprune.methods.base import Method, Score, TopKRule
from tfprune.methods.gates import MovementGate
from tfprune.methods.rules.threshold import ThresholdRule

_PAPER = (
    "V. Sanh, T. Wolf, A. M. Rush, 'Movement Pruning: Adaptive Sparsity by Fine-Tuning', "
    "2020, arXiv 2005.07683"
)
_SCORE = Score(
    "movement", needs=("movement",), formula=lambda given: given["movement"], signed=True
)
# All weights for a tenth of the run, the last masks for two tenths, as with a warm-up of a tenth.
_TIMING = Polynomial(0.0, begin=0.1, end=0.8)

movement = Method(
    "movement", TopKRule(_SCORE), gate=MovementGate(), default_schedule=_TIMING, paper=_PAPER
)
"""score = S, learned: dL/dS = g w, and the highest of each layer are kept.

Made for fine-tuning pretrained networks. All S are 0 before the first step: what is cut then is
cut by index, so a schedule of your own should begin with a sparsity of 0, or later. After the last
update the masks stay (the authors' code goes on choosing). `structure=Block(rows, columns)` learns
one score per block, which is block movement pruning.
"""

movement_soft = Method(
    "movement_soft",
    ThresholdRule(_SCORE, allocation=Global()),
    gate=MovementGate(penalty=5.0),
    default_schedule=_TIMING,
    paper=_PAPER,
)
"""sigmoid(S) > tau keeps a weight, one tau for all layers, and a penalty lowers all S.

The asked sparsity is reached exactly, at the last update: see `ThresholdRule`. The penalty is
counted per site, the authors' 400 is shared by all matrices of a network.
"""
