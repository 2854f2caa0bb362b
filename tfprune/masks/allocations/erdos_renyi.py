# SPDX-License-Identifier: Apache-2.0
"""An allocation by the shapes of the kernels alone."""

import math
from dataclasses import dataclass

import numpy as np

from tfprune.masks.allocations.base import Floored, groups_of, level_of
from tfprune.masks.select import select
from tfprune.masks.serialization import register


@register
@dataclass(frozen=True)
class ERK(Floored):
    """Erdos-Renyi-Kernel: density in proportion to (sum of a kernel's dimensions) / (product).

    density = min(1, eps (sum of dimensions) / (product of dimensions)), eps such that the counts
    sum to round(all groups (1 - sparsity)). Rounded by largest remainder, ties to the earlier
    site. The counts depend on shapes only, not on scores.

    Paper: Evci et al., Rigging the Lottery, arXiv 1911.11134.

    Args:
        min_keep: Smallest count per site.

    Raises:
        ValueError: If `min_keep` is negative.

    >>> from types import SimpleNamespace as Site
    >>> sites = [Site(shape=(10, 100)), Site(shape=(10, 10))]
    >>> ERK()([np.ones(1000), np.ones(100)], sites, 0.8, 0.8)
    array([186,  34])
    """

    def __call__(self, scores, sites, sparsity, final):
        xp, sparsity = level_of(sparsity, *scores)
        groups = groups_of(scores)
        floors, total = self._total(groups, sparsity)
        raw = np.array([sum(site.shape) / math.prod(site.shape) for site in sites])
        # The sum of the counts grows with eps along straight pieces. They bend where a site
        # leaves its floor or becomes dense; all this is known before the first step.
        slopes = raw * groups
        bends = np.unique(np.concatenate([floors / slopes, groups / slopes]))
        sums, first = np.unique(
            np.clip(np.outer(bends, slopes), floors, groups).sum(axis=1), return_index=True
        )
        bends = bends[first]
        if len(sums) == 1:  # every site is dense at its floor
            return xp.asarray(groups)
        target = xp.astype(total, "float64")
        upper = xp.clip(xp.searchsorted(sums, xp.reshape(target, (1,)))[0], 1, len(sums) - 1)
        (low, high), (left, right) = (
            (xp.take(values, upper - 1), xp.take(values, upper)) for values in (sums, bends)
        )
        share = xp.clip((target - low) / (high - low), 0, 1)
        ideal = xp.clip((left + (right - left) * share) * slopes, floors, groups)
        return _rounded(xp, ideal, groups, total)


def _rounded(xp, ideal, groups, total):
    """Integers next to `ideal` that sum to `total`: the largest remainders are rounded up."""
    # Both steps are blind to the last bits, in which NumPy and XLA may differ.
    counts = xp.floor(ideal + 2.0**-20)
    remainders = xp.round((ideal - counts) * 2.0**20)
    remainders = xp.where(xp.less(counts, xp.astype(groups, "float64")), remainders, -math.inf)
    counts = xp.astype(counts, "int64")
    return counts + xp.astype(select(remainders, total - xp.sum(counts)), "int64")
