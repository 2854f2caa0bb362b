# SPDX-License-Identifier: Apache-2.0
"""Allocations that spread one total over all sites: by the groups' scores, or by shapes alone."""

import math
from dataclasses import dataclass
from typing import Any, ClassVar, Sequence

import numpy as np

from tfprune.masks.allocations.base import Allocation, Floored, groups_of, level_of
from tfprune.masks.array_namespace import is_tensor, namespace, tf
from tfprune.masks.select import select, select_joint
from tfprune.masks.select_tf import in_xla
from tfprune.masks.serialization import register


class _Ranking(Floored):
    def total(self, groups, sites, sparsity, final):
        return int(self._total(np.asarray(groups, np.int64), sparsity)[1])


@register
@dataclass(frozen=True)
class Global(_Ranking):
    """One ranking over the groups of all sites.

    The counts sum to round(all groups (1 - sparsity)), or to the floors if those are more. Each
    site's best `min_keep` groups stay; the rest is chosen from all others. Ties: the earlier site,
    then the lower index.

    Args:
        min_keep: Smallest count per site.

    Raises:
        ValueError: If `min_keep` is negative.

    >>> Global()([np.array([9.0, 8.0, 7.0]), np.array([1.0, 2.0, 3.0])], [], 0.5, 0.5)
    array([2, 1])
    """

    compares_scores: ClassVar[bool] = True
    reads_scores: ClassVar[bool] = False

    def __call__(self, scores, sites, sparsity, final):
        return _ranked(namespace(sparsity, *scores), *self.ranking(scores, sites, sparsity, final))

    def ranking(self, scores, sites, sparsity, final):
        _, sparsity = level_of(sparsity, *scores)
        return scores, *self._total(groups_of(scores), sparsity)


@register
@dataclass(frozen=True)
class LAMP(_Ranking):
    """Global, ranked by the share that a group has in what would be left beside it.

    lamp(u) = score(u)^2 / sum of score(v)^2 over all v of the site with score(v) >= score(u)

    A site's best group has lamp 1, so no site empties early. Scores are taken as magnitudes:
    negative ones and NaN count as 0. Sums are float64. It ranks each site in full: this is the
    only allocation that sorts, and the slowest.

    Paper: Lee et al., Layer-adaptive Sparsity for the Magnitude-based Pruning, arXiv 2010.07611.

    Args:
        min_keep: Smallest count per site.

    Raises:
        ValueError: If `min_keep` is negative.

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


def ranked_masks(
    scores: Sequence[Any], floors: np.ndarray, total: Any, *, magnitude: bool = False
) -> list[Any]:
    """The masks of the `total` best groups of all sites, the best `floors` of each among them.

    Args:
        scores: [groups] of each site.
        floors: smallest counts of the sites.
        total: how many are kept in all.
        magnitude: rank |scores|, without making arrays of them.

    >>> [mask.tolist() for mask in ranked_masks([np.array([3.0, 2.0]), np.array([1.0])], [0, 1], 2)]
    [[True, False], [True]]
    """
    xp = namespace(total, *scores)
    scores, floors = _alike(xp, scores), np.asarray(floors)
    if not floors.any():
        return select_joint(scores, total, magnitude=magnitude)

    # One ranking gives the masks, unless a site falls below its smallest count in it.
    def attempt(given):
        masks = select_joint(given, total, magnitude=magnitude)
        enough = [_reaches(xp, mask, int(floor)) for mask, floor in zip(masks, floors, strict=True)]
        return xp.all(xp.stack(enough)), masks

    def raised():
        return _raised(xp, [xp.abs(one) for one in scores] if magnitude else scores, floors)

    return _first_success(attempt, scores, raised)


def allocated_masks(
    allocation: Allocation,
    scores: Sequence[Any],
    sites: Sequence[Any],
    sparsity: Any,
    final: float,
    *,
    magnitude: bool = False,
) -> list[Any]:
    """The masks of the highest scores, as many at each site as an allocation gives it.

    Args:
        allocation, scores, sites, sparsity, final: as for the allocation's counts.
        magnitude: rank |scores|, without making arrays of them; for one that does not read them.

    >>> allocated_masks(Global(), [np.array([-3.0, 1.0])], [], 0.5, 0.5, magnitude=True)
    [array([ True, False])]
    """
    ranking = allocation.ranking(scores, sites, sparsity, final)
    if ranking is not None:
        return ranked_masks(*ranking, magnitude=magnitude)
    counts = allocation(scores, sites, sparsity, final)
    return [select(score, counts[index], magnitude=magnitude) for index, score in enumerate(scores)]


def _ranked(xp, scores, floors, total):
    """Counts of the `total` best groups of all sites, the best `floors` of each among them."""
    masks = select_joint(_raised(xp, _alike(xp, scores), floors), total)
    return xp.stack([xp.count_nonzero(mask) for mask in masks])


def _raised(xp, scores, floors):
    """The scores with the best `floors` of each site infinite, and nothing else."""
    raised = []
    for score, floor in zip(scores, floors, strict=True):
        largest = np.finfo(score.dtype.name).max
        ordered = xp.where(xp.isnan(score), -math.inf, xp.maximum(score, -largest))
        places = _highest(xp, ordered, int(floor))
        finite = xp.where(xp.equal(score, math.inf), largest, score)
        raised.append(_set(xp, finite, places, math.inf))
    return raised


def _reaches(xp, mask, floor):
    """Whether at least `min_keep` entries are True; one takes no counting."""
    return xp.any(mask) if floor == 1 else xp.greater_equal(xp.count_nonzero(mask), floor)


def _alike(xp, scores):
    """The scores in one dtype, float32 at least."""
    dtype = "float64" if any(score.dtype.name == "float64" for score in scores) else "float32"
    return [score if score.dtype.name == dtype else xp.astype(score, dtype) for score in scores]


def _first_success(attempt, first, second):
    """What `attempt(first)` gives beside success, or, without success, `attempt(second())`."""
    if not is_tensor(first):
        success, result = attempt(first)
        return result if success else attempt(second())[1]

    def body(again, success, result):  # a loop, so that the graph holds `attempt` only once
        return tf.constant(True), *attempt(tf.cond(again, second, lambda: first))

    # Outside XLA, which wants the sizes to stay, the loop begins with masks that take no memory.
    fixed = in_xla()
    none = [tf.zeros(score.shape if fixed else [0], tf.bool) for score in first]
    shapes = [score.shape if fixed else tf.TensorShape([None]) for score in first]
    no = tf.constant(False)
    masks = tf.while_loop(
        lambda again, success, result: ~success,
        body,
        (no, no, none),
        shape_invariants=(no.shape, no.shape, shapes),
    )[2]
    return [tf.ensure_shape(mask, score.shape) for mask, score in zip(masks, first, strict=True)]


def _highest(xp, scores, count):
    """Indices, int64, of the `count` highest scores; ties by index."""
    if xp is np:
        return np.flatnonzero(select(scores, count))
    return tf.cast(tf.math.top_k(scores, count).indices, tf.int64)


def _set(xp, values, places, value):
    """The array with one value at some places."""
    if xp is np:
        values = values.copy()
        values[places] = value
        return values
    return tf.tensor_scatter_nd_update(
        values, places[:, None], tf.fill(places.shape, tf.constant(value, values.dtype))
    )


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

    reads_scores: ClassVar[bool] = False

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
