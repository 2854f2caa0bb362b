# SPDX-License-Identifier: Apache-2.0
"""Allocations: from group scores and a sparsity to the number of groups that each site keeps.

    counts = allocation(scores, sites, sparsity, final)

`scores` is a list with the group scores [groups] of each site, NumPy arrays or TensorFlow tensors,
higher = keep; `sites` describe them in the same order (name, shape, layer). `sparsity` is the
fraction of groups to remove now, `final` the schedule's last one. The counts are int64 [sites], a
tensor if a score or the sparsity is one; they can be computed in graphs and compile under XLA.

Every count is at least `min_keep` (1 by default, at most the site's groups), so no layer dies. A
sparsity of 0 keeps everything.
"""

from tfprune.masks.allocations.base import Allocation, PerSite, Uniform, keep_count
from tfprune.masks.allocations.cost_aware import CostAware
from tfprune.masks.allocations.pfp import PFP
from tfprune.masks.allocations.rankings import ERK, LAMP, Global, lamp_scores
