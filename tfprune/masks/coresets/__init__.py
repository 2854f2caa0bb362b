# SPDX-License-Identifier: Apache-2.0
"""Coresets of neurons: which neurons stand for all of a layer, from its weights alone.

    points --> sensitivities --> draws: the kept neurons, and weights for what leaves them

Löwner ellipsoids, Carathéodory's theorem and L-infinity coresets, in NumPy.

    >>> import numpy as np
    >>> rows = points(np.random.default_rng(0).normal(size=(64, 9)), None, np.ones(64))
    >>> found = sensitivities(rows, "lowner_contact")
    >>> len(draw_distinct(found.values, 16).indices)
    16
"""

from tfprune.masks.coresets.linf_coreset import VARIANTS, Coreset, linf_coreset
from tfprune.masks.coresets.norm_sensitivity import mussay_sensitivities
from tfprune.masks.coresets.points import points
from tfprune.masks.coresets.sampling import Sample, draw, draw_distinct, top
from tfprune.masks.coresets.sensitivities import Sensitivities, sensitivities
