"""How many groups each site keeps: group scores and a sparsity to integer counts.

    counts = allocation(scores, sites, sparsity, final)

`scores` is a list with the group scores [groups] of each site, NumPy arrays or TensorFlow tensors,
higher = keep; `sites` describe them in the same order (name, shape, layer). `sparsity` is the
fraction of groups to remove now, `final` the schedule's last one. The counts are int64 [sites], a
tensor if a score or the sparsity is one; they can be computed in graphs and compile under XLA.

Every count is at least `floor` (1 by default, at most the site's groups), so no layer dies. A
sparsity of 0 keeps everything.
"""

import abc
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from numbers import Integral
from typing import Any, ClassVar

import numpy as np

from tfprune.arrays import namespace
from tfprune.configs import register
from tfprune.schedules import check_sparsity
from tfprune.select import select


def keep_count(groups: Any, sparsity: Any, floor: int = 0) -> Any:
    """How many of `groups` stay: round(groups (1 - sparsity)), halves to the even neighbour.

    Computed in the dtype of `sparsity`: float64 for Python numbers; with the float32 tensors of
    TF-MOT's schedules the count is TF-MOT's.

    Args:
        groups: int or int64 array of any shape.
        sparsity: Fraction to remove; Python number, NumPy or TensorFlow scalar.
        floor: The smallest count, as far as there are as many groups.

    Returns:
        int64, of the shape of `groups`.

    >>> keep_count(np.array([5, 1000]), 0.9, floor=1).tolist()  # 0.5 rounds to 0
    [1, 100]
    """
    xp, sparsity = _number(sparsity)
    groups = np.asarray(groups, np.int64)
    keep = xp.round(xp.astype(groups, sparsity.dtype) * (1 - sparsity))
    keep = xp.where(xp.equal(sparsity, 0), groups, xp.astype(keep, "int64"))
    return xp.clip(keep, np.minimum(floor, groups), groups)


def _number(sparsity, *others):
    """(namespace, sparsity as a scalar of its own floating dtype, float32 at least)."""
    xp = namespace(sparsity, *others)
    dtype = getattr(getattr(sparsity, "dtype", None), "name", "")
    single = dtype in ("float16", "bfloat16", "float32")
    sparsity = xp.asarray(sparsity) if single else xp.asarray(sparsity, "float64")
    return xp, xp.astype(sparsity, "float32") if single else sparsity


def _groups(scores):
    return np.array([score.shape[0] for score in scores], np.int64)


class Allocation(abc.ABC):
    """Group scores and a sparsity -> how many groups each site keeps."""

    accepts_fixed: ClassVar[bool] = False
    """Whether structures that fix their own counts (`NofM`) go with it."""

    compares_sites: ClassVar[bool] = True
    """Whether a site's count depends on the other sites."""

    @abc.abstractmethod
    def __call__(self, scores: Sequence[Any], sites: Sequence[Any], sparsity: Any,
                 final: float) -> Any:
        """Counts, int64 [sites]."""

    def check(self, sites: Sequence[Any]) -> None:
        """Raises ValueError if this allocation cannot serve these sites."""
        return None


@dataclass(frozen=True)
class _Floored(Allocation):
    floor: int = 1

    def __post_init__(self):
        _check_floor(self.floor)

    def _total(self, groups, sparsity):
        """(floors of the sites, int64 number to keep in all: exact, or the floors if more)."""
        floors = np.minimum(self.floor, groups)
        return floors, keep_count(groups.sum(), sparsity, floor=int(floors.sum()))


@register
@dataclass(frozen=True)
class Uniform(_Floored):
    """The same sparsity at every site.

    Args:
        floor: Smallest count per site.

    Raises:
        ValueError: If the floor is negative.

    >>> Uniform()([np.ones(10), np.ones(4)], [], 0.75, 0.75)
    array([2, 1])
    """

    accepts_fixed: ClassVar[bool] = True
    compares_sites: ClassVar[bool] = False

    def __call__(self, scores, sites, sparsity, final):
        xp, sparsity = _number(sparsity, *scores)
        return keep_count(_groups(scores), sparsity, self.floor)


@register
@dataclass(frozen=True)
class Global(_Floored):
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
        xp, sparsity = _number(sparsity, *scores)
        return _ranked(xp, scores, *self._total(_groups(scores), sparsity))


@register
@dataclass(frozen=True)
class LAMP(_Floored):
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
        xp, sparsity = _number(sparsity, *scores)
        ranks = [lamp_scores(xp.asarray(score)) for score in scores]
        return _ranked(xp, ranks, *self._total(_groups(scores), sparsity))


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


@register
@dataclass(frozen=True)
class ERK(_Floored):
    """Erdos-Renyi-Kernel: density in proportion to (sum of a kernel's dimensions) / (product).

    density = min(1, eps (sum of dimensions) / (product of dimensions)), eps such that the counts
    sum to round(all groups (1 - sparsity)). Rounded by largest remainder, ties to the earlier
    site. The counts depend on shapes only, not on scores.

    Paper: Evci et al., Rigging the Lottery, arXiv 1911.11134.

    Args:
        floor: Smallest count per site.

    Raises:
        ValueError: If the floor is negative.

    >>> from types import SimpleNamespace as Site
    >>> sites = [Site(shape=(10, 100)), Site(shape=(10, 10))]
    >>> ERK()([np.ones(1000), np.ones(100)], sites, 0.8, 0.8)
    array([186,  34])
    """

    def __call__(self, scores, sites, sparsity, final):
        xp, sparsity = _number(sparsity, *scores)
        groups = _groups(scores)
        floors, total = self._total(groups, sparsity)
        raw = np.array([sum(site.shape) / math.prod(site.shape) for site in sites])
        # The sum of the counts grows with eps along straight pieces. They bend where a site
        # leaves its floor or becomes dense; all this is known before the first step.
        slopes = raw * groups
        bends = np.unique(np.concatenate([floors / slopes, groups / slopes]))
        sums, first = np.unique(np.clip(np.outer(bends, slopes), floors, groups).sum(axis=1),
                                return_index=True)
        bends = bends[first]
        if len(sums) == 1:  # every site is dense at its floor
            return xp.asarray(groups)
        target = xp.astype(total, "float64")
        upper = xp.clip(xp.searchsorted(sums, xp.reshape(target, (1,)))[0], 1, len(sums) - 1)
        (low, high), (left, right) = ((xp.take(values, upper - 1), xp.take(values, upper))
                                      for values in (sums, bends))
        share = xp.clip((target - low) / (high - low), 0, 1)
        ideal = xp.clip((left + (right - left) * share) * slopes, floors, groups)
        return _rounded(xp, ideal, groups, total)


@register
@dataclass(frozen=True)
class PerSite(Allocation):
    """Chosen sites have sparsities of their own, the others share one allocation.

    A listed site follows the schedule's course to its own target: it is pruned to
    target * sparsity / final. 0 leaves it dense. When two keys match a site, its own name counts
    most, then the innermost layer.

    Args:
        sparsities: {layer object, layer name or site name: fraction to remove at the end}. Kept
            as (name, fraction) pairs.
        others: Allocation of the sites that are not listed.
        floor: Smallest count of a listed site.

    Raises:
        ValueError: If a fraction is no sparsity, and when used, if a key matches no site.

    >>> from tfprune.layouts import DENSE
    >>> from tfprune.sites import Site
    >>> sites = [Site(f"{name}/kernel", (10, 10), DENSE, name) for name in ("first", "last")]
    >>> PerSite({"last": 0.5})([np.ones(100), np.ones(100)], sites, 0.4, final=0.8)
    array([60, 75])
    """

    sparsities: Mapping[Any, float] | Sequence[tuple[Any, float]]
    others: Allocation = field(default_factory=Uniform)

    @property
    def compares_sites(self) -> bool:
        return self.others.compares_sites
    floor: int = 1

    def __post_init__(self):
        _check_floor(self.floor)
        pairs = tuple((getattr(key, "name", key), value)
                      for key, value in dict(self.sparsities).items())
        for key, value in pairs:
            if not isinstance(key, str):
                raise ValueError(f"{key!r} is no key of PerSite: expected a layer, the name of a "
                                 "layer or the name of a site.")
            check_sparsity(f"PerSite({{{key!r}: ...}})", value)
        object.__setattr__(self, "sparsities", pairs)

    def check(self, sites):
        for key, _ in self.sparsities:
            if not any(site.matches(key) for site in sites):
                raise ValueError(f"PerSite: {key!r} matches no layer and no weight. The weights "
                                 f"are {', '.join(site.name for site in sites)}.")
        self.others.check(sites)

    def __call__(self, scores, sites, sparsity, final):
        self.check(sites)
        xp, sparsity = _number(sparsity, *scores)
        if final == 0 and self.sparsities:
            raise ValueError("PerSite follows the course of the schedule, but this one ends at a "
                             "sparsity of 0: give it one above 0.")
        targets = [self._target(site) for site in sites]
        rest = [index for index, target in enumerate(targets) if target is None]
        shared = iter(())
        if rest:
            unlisted = [scores[index] for index in rest], [sites[index] for index in rest]
            counts = self.others(*unlisted, sparsity, final)
            shared = iter([counts[index] for index in range(len(rest))])
        groups = _groups(scores)
        return xp.stack([
            next(shared) if target is None
            else keep_count(count, self._scaled(target, sparsity, final), self.floor)
            for count, target in zip(groups, targets)
        ])

    @staticmethod
    def _scaled(target, sparsity, final):
        # In the dtype of the sparsity, so that the quotient is exactly 1 at the end.
        xp = namespace(sparsity)
        return xp.asarray(target, sparsity.dtype) * (sparsity / xp.asarray(final, sparsity.dtype))

    def _target(self, site):
        path = site.name.split("/")

        def closeness(pair):
            key = pair[0]
            return len(path) if key == site.name else path.index(key) if key in path else -1

        pairs = [pair for pair in self.sparsities if site.matches(pair[0])]
        return max(pairs, key=closeness)[1] if pairs else None


def _ranked(xp, scores, floors, total):
    """Counts of the `total` best groups of all sites, the best `floors` of each among them."""
    dtype = "float64" if any(score.dtype.name == "float64" for score in scores) else "float32"
    scores = [xp.astype(score, dtype) for score in scores]
    # NaN marks the groups that are chosen before the ranking, so none may be left.
    scores = [xp.where(xp.isnan(score), -math.inf, score) for score in scores]
    ends = np.cumsum(_groups(scores))
    starts = ends - _groups(scores)
    best = xp.concatenate([_best(xp, score, int(floor)) + start
                           for score, floor, start in zip(scores, floors, starts)])
    mask = select(_marked(xp, xp.concatenate(scores), best), total - floors.sum())
    return floors + xp.stack([xp.count_nonzero(mask[start:end])
                              for start, end in zip(starts, ends)])


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


def _rounded(xp, ideal, groups, total):
    """Integers next to `ideal` that sum to `total`: the largest remainders are rounded up."""
    # Both steps are blind to the last bits, in which NumPy and XLA may differ.
    counts = xp.floor(ideal + 2.0**-20)
    remainders = xp.round((ideal - counts) * 2.0**20)
    remainders = xp.where(xp.less(counts, xp.astype(groups, "float64")), remainders, -math.inf)
    counts = xp.astype(counts, "int64")
    return counts + xp.astype(select(remainders, total - xp.sum(counts)), "int64")


def _check_floor(floor):
    if not isinstance(floor, Integral) or isinstance(floor, bool) or floor < 0:
        raise ValueError(f"floor={floor!r}: expected the smallest number of groups that a site "
                         "keeps, an integer of at least 0.")
