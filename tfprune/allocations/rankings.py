"""Allocations that rank the groups of all sites together."""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from tfprune.allocations.base import Allocation, Floored, groups_of, level_of
from tfprune.arrays import is_tensor, namespace
from tfprune.configs import register
from tfprune.select import select


@register
@dataclass(frozen=True)
class Global(Floored):
    """One ranking over the groups of all sites.

    The counts sum to round(all groups (1 - sparsity)), or to the floors if those are more. Each
    site's best `floor` groups stay; the rest is chosen from all others. Ties: the earlier site,
    then the lower index.

    Args:
        floor: Smallest count per site.

    Raises:
        ValueError: If the floor is negative.

    >>> Global()([np.array([9.0, 8.0, 7.0]), np.array([1.0, 2.0, 3.0])], [], 0.5, 0.5)
    array([2, 1])
    """

    def __call__(self, scores, sites, sparsity, final):
        xp, sparsity = level_of(sparsity, *scores)
        return _ranked(xp, scores, *self._total(groups_of(scores), sparsity))

    def masks(self, scores, sites, sparsity, final):
        # The joint ranking gives the masks at once, unless a site falls below its floor in it.
        xp, level = level_of(sparsity, *scores)
        floors, total = self._total(groups_of(scores), level)
        ends = np.cumsum(groups_of(scores))
        ranked = select(xp.concatenate(_alike(xp, scores)), total)
        masks = [ranked[end - count:end] for end, count in zip(ends, groups_of(scores))]
        counts = xp.stack([xp.count_nonzero(mask) for mask in masks])
        return _either(xp.all(xp.greater_equal(counts, floors)), lambda: masks,
                       lambda: Allocation.masks(self, scores, sites, sparsity, final))


@register
@dataclass(frozen=True)
class LAMP(Floored):
    """Global, ranked by the share that a group has in what would be left beside it.

    lamp(u) = score(u)^2 / sum of score(v)^2 over all v of the site with score(v) >= score(u)

    A site's best group has lamp 1, so no site empties early. Scores are taken as magnitudes:
    negative ones and NaN count as 0. Sums are float64. It ranks each site in full: this is the
    only allocation that sorts, and the slowest.

    Paper: Lee et al., Layer-adaptive Sparsity for the Magnitude-based Pruning, arXiv 2010.07611.

    Args:
        floor: Smallest count per site.

    Raises:
        ValueError: If the floor is negative.

    >>> LAMP()([np.array([4.0, 3.0]), np.array([0.2, 0.1])], [], 0.25, 0.25)
    array([2, 1])
    """

    def __call__(self, scores, sites, sparsity, final):
        xp, sparsity = level_of(sparsity, *scores)
        ranks = [lamp_scores(xp.asarray(score)) for score in scores]
        return _ranked(xp, ranks, *self._total(groups_of(scores), sparsity))


def lamp_scores(scores: Any) -> Any:
    """The `LAMP` scores of one site, float32 [groups], from the highest score to the lowest.

    >>> print(lamp_scores(np.array([0.1, 0.5, 0.3, 2.0])).round(4))
    [1.     0.0588 0.0207 0.0023]
    """
    xp = namespace(scores)
    scores = xp.astype(scores, "float64")
    scores = xp.where(xp.greater(scores, 0), scores, xp.zeros_like(scores))
    scores = xp.minimum(scores, np.finfo(np.float64).max)
    peak = xp.max(scores)
    scores = scores / xp.where(xp.greater(peak, 0), peak, xp.ones_like(peak))  # squares fit
    squares = xp.square(xp.sort(scores)[::-1])
    sums = xp.cumsum(squares)
    return xp.astype(squares / xp.where(xp.greater(sums, 0), sums, xp.ones_like(sums)), "float32")


def _ranked(xp, scores, floors, total):
    """Counts of the `total` best groups of all sites, the best `floors` of each among them."""
    scores = _alike(xp, scores)
    # NaN marks the groups that are chosen before the ranking, so none may be left.
    scores = [xp.where(xp.isnan(score), -math.inf, score) for score in scores]
    ends = np.cumsum(groups_of(scores))
    starts = ends - groups_of(scores)
    best = xp.concatenate([_best(xp, score, int(floor)) + start
                           for score, floor, start in zip(scores, floors, starts)])
    mask = select(_marked(xp, xp.concatenate(scores), best), total - floors.sum())
    return floors + xp.stack([xp.count_nonzero(mask[start:end])
                              for start, end in zip(starts, ends)])


def _alike(xp, scores):
    """The scores in one dtype, float32 at least."""
    dtype = "float64" if any(score.dtype.name == "float64" for score in scores) else "float32"
    return [xp.astype(score, dtype) for score in scores]


def _either(condition, first, second):
    if not is_tensor(condition):
        return first() if condition else second()
    import tensorflow as tf

    return tf.cond(condition, first, second)


def _best(xp, scores, count):
    """Indices, int64, of the `count` highest scores; ties by index."""
    if xp is np:
        return np.flatnonzero(select(scores, count))
    import tensorflow as tf

    return tf.cast(tf.math.top_k(scores, count).indices, tf.int64)


def _marked(xp, scores, places):
    if xp is np:
        scores[places] = np.nan
        return scores
    import tensorflow as tf

    return tf.tensor_scatter_nd_update(scores, places[:, None],
                                       tf.fill(places.shape, tf.constant(math.nan, scores.dtype)))
