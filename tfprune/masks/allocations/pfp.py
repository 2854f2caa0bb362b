# SPDX-License-Identifier: Apache-2.0
"""Allocations that follow from error bounds: how many channels a layer needs for a given error."""

import math
from dataclasses import dataclass, field
from numbers import Real
from typing import Any, NamedTuple

import numpy as np

from tfprune.masks.allocations.base import Floored, groups_of, level_of
from tfprune.masks.array_namespace import namespace, tf
from tfprune.masks.serialization import register

_REACH = 256.0  # epsilon lies between 2^-256 and 2^256
_STEPS = 40  # halvings of its logarithm: to a factor of 1 + 3e-10
_BLIND = 2.0**-20  # rounding is blind to the last bits, in which NumPy and XLA may differ


@register
@dataclass(frozen=True)
class PFP(Floored):
    """As many channels as bound the error of every layer by one and the same epsilon.

    A channel of sensitivity s_j (`tfprune.statistics.input_sensitivity`) is drawn with
    probability q_j = s_j / t, t the sum over its site. A site needs m draws,
    among which so many channels are different:

        K = 2 C ln(8 (P + 1) k / delta) t
        m = max(1, ceil(3 (6 + 2 epsilon) K / epsilon^2))
        count = ceil(sum of 1 - (1 - q_j)^m over j), at least `min_keep`, at most the channels

    P: uses of a weight per example (`Site.positions`, 1 where that is unknown), k: positions of
    the kernel. Epsilon is found by bisection so that the counts sum to
    round(all groups (1 - sparsity)), or to the floors if those are more. Sites that gain a channel
    at the same epsilon, and channels of sensitivity 0, gain in the order of the sites. Counts
    never grow with sparsity, so the masks are nested.

    The formula knows nothing of images: with few input channels a first layer gives them up like
    any other. Leave it out with `PerSite({first layer: 0}, others=PFP())` or raise `min_keep`.

    Scores are meant to be in [0, 1]; negative ones and NaN count as 0.

    Paper: Liebenwein et al., Provable Filter Pruning for Efficient Neural Networks,
    arXiv 1911.07412.

    Args:
        min_keep: Smallest count per site.
        delta: Probability with which the bound may fail, in (0, 1).
        constant: C, above 0.

    Raises:
        ValueError: If one of them is out of its range.

    >>> from tfprune.masks.kernel_layout import DENSE
    >>> from tfprune.masks.sites import Site
    >>> sites = [Site(f"{name}/kernel", (4, 8), DENSE, name, 1) for name in ("even", "uneven")]
    >>> scores = [np.array([0.9, 0.9, 0.9, 0.9]), np.array([0.9, 0.1, 0.01, 0.01])]
    >>> PFP()(scores, sites, 0.375, 0.375)
    array([3, 2])
    """

    delta: float = field(default=1e-16, kw_only=True)
    constant: float = field(default=3.0, kw_only=True)

    def __post_init__(self):
        super().__post_init__()
        for name, top in (("delta", 1), ("constant", math.inf)):
            value = getattr(self, name)
            if not isinstance(value, Real) or not 0 < value < top:
                raise ValueError(f"PFP({name}={value!r}): expected a number between 0 and {top}.")

    def __call__(self, scores, sites, sparsity, final):
        xp, sparsity = level_of(sparsity, *scores)
        groups = groups_of(scores)
        floors, total = self._total(groups, sparsity)
        total = xp.asarray(total)
        bound = self._bound(xp, scores, sites)

        def halve(low, high, most, fewest):
            middle = (low + high) / 2
            counts = bound.counts(xp.exp(middle * math.log(2)), floors)
            fits = xp.less_equal(xp.sum(counts), total)
            return (
                xp.where(fits, low, middle),
                xp.where(fits, middle, high),
                xp.where(fits, most, counts),
                xp.where(fits, counts, fewest),
            )

        ends = [xp.asarray(np.float64(end)) for end in (-_REACH, _REACH)]
        state = (*ends, xp.asarray(groups), xp.asarray(floors))
        _, _, most, fewest = _repeated(xp, halve, state)
        room = most - fewest
        ahead = xp.cumsum(room) - room  # what the sites before may gain
        return fewest + xp.clip(total - xp.sum(fewest) - ahead, xp.zeros_like(room), room)

    def counts(self, scores, sites, epsilon):
        """Counts, int64 [sites], that bound the relative error of every site by `epsilon`."""
        xp = namespace(epsilon, *scores)
        epsilon = xp.asarray(epsilon, "float64")
        floors = np.minimum(self.min_keep, groups_of(scores))
        return self._bound(xp, scores, sites).counts(epsilon, floors)

    def _bound(self, xp, scores, sites):
        groups = groups_of(scores)
        owners = np.repeat(np.arange(len(groups)), groups)
        values = xp.concatenate([xp.astype(score, "float64") for score in scores])
        values = xp.where(xp.greater(values, 0), values, xp.zeros_like(values))
        values = xp.minimum(values, float(np.finfo(np.float32).max))
        sums = _site_sums(xp, values, owners, groups)
        shares = values / xp.take(xp.where(xp.greater(sums, 0), sums, xp.ones_like(sums)), owners)
        # log(1 - q), also where 1 - q is 1 to the last bit, and finite where q is 1
        exact = xp.log(1 - xp.minimum(shares, 1 - 2.0**-53))
        decays = xp.where(xp.less(shares, 1e-5), -shares * (1 + shares / 2), exact)
        factors = [
            2 * self.constant * math.log(8 * (_positions(site) + 1) * _area(site) / self.delta)
            for site in sites
        ]
        return _Bound(xp, groups, owners, decays, sums * np.array(factors))


class _Bound(NamedTuple):
    """What the counts depend on, besides epsilon."""

    xp: Any
    groups: np.ndarray  # [sites]
    owners: np.ndarray  # the site of each group
    decays: Any  # log(1 - q_j), the groups of all sites in a row
    needs: Any  # K [sites]

    def counts(self, epsilon, floors):
        xp = self.xp
        draws = xp.ceil(3 * (6 + 2 * epsilon) * self.needs / (epsilon * epsilon) - _BLIND)
        draws = xp.take(xp.maximum(draws, 1.0), self.owners)
        different = _site_sums(xp, 1 - xp.exp(draws * self.decays), self.owners, self.groups)
        return xp.clip(xp.astype(xp.ceil(different - _BLIND), "int64"), floors, self.groups)


def _positions(site):
    return 1 if site.positions is None else site.positions


def _area(site):
    return math.prod(site.shape[axis] for axis in site.layout.spatial)


def _site_sums(xp, values, owners, groups):
    if xp is np:
        return np.add.reduceat(values, np.cumsum(groups) - groups)
    return tf.math.unsorted_segment_sum(values, owners, len(groups))


def _repeated(xp, step, state):
    if xp is not np:
        return tf.while_loop(lambda *_: True, step, state, maximum_iterations=_STEPS)
    for _ in range(_STEPS):
        state = step(*state)
    return state
