# SPDX-License-Identifier: Apache-2.0
"""One choice for each of several sites, with the least sum of errors under a limit of cost.

    minimize  sum_l e[l][r_l]   subject to  sum_l c[l][r_l] <= limit

A dynamic program over the budget: best[b], the least sum for the sites so far that costs at most
b buckets, follows for one more site from its choices, best[b] = min_r (best'[b - c_r] + e_r).

Paper: E. Frantar, D. Alistarh, "SPDY: Accurate Pruning with Speedup Guarantees", 2022, arXiv
2201.13096.
"""

from collections.abc import Sequence

import numpy as np

BUCKETS = 10_000


def least_error(
    errors: Sequence[Sequence[float]],
    costs: Sequence[Sequence[int]],
    limit: int,
    *,
    buckets: int = BUCKETS,
) -> list[int]:
    """The choice of each site; of equally good ones the earlier.

    The costs above the sites' least are counted in buckets: in steps of one where what the limit
    leaves above all least costs, or what all choices together could use of it, is at most so many.
    Then no other choices have a smaller sum of errors. Else a bucket holds several units, and each
    site's cost is rounded up to whole ones, so that the limit holds in any case.

    Args:
        errors: [sites][choices], any finite numbers; sites may have different numbers of choices.
        costs: [sites][choices], integers of at least 0.
        limit: of the sum of the costs.
        buckets: how many the budget is cut into.

    Returns:
        For each site the index of its choice.

    Raises:
        ValueError: the cheapest choices together cost more than the limit; errors that are not
            finite; not one cost for each error; a site without choices; fewer than one bucket.

    Example:
        >>> least_error([[0.0, 1.0, 5.0], [0.0, 2.5, 3.0]], [[10, 6, 2], [10, 6, 2]], 12)
        [0, 2]
    """
    if buckets < 1:
        raise ValueError(f"buckets={buckets}: expected at least 1.")
    tables = [_checked(*pair, site) for site, pair in enumerate(zip(errors, costs, strict=True))]
    least = sum(int(cost.min()) for _, cost in tables)
    if least > limit:
        raise ValueError(f"The choices cost {least:,} at least, and the limit is {limit:,}.")
    room = int(limit) - least
    width = max(1, -(-min(room, sum(int(np.ptp(cost)) for _, cost in tables)) // buckets))
    steps = [-(-(cost - cost.min()) // width) for _, cost in tables]
    size = min(room // width, sum(int(taken.max()) for taken in steps))
    best, chosen = np.zeros(size + 1), []
    for (error, _), taken in zip(tables, steps, strict=True):
        best, choice = _one_more(best, error, taken)
        chosen.append(choice)
    found, left = [], size
    for choice, taken in zip(reversed(chosen), reversed(steps), strict=True):
        found.append(int(choice[left]))
        left -= int(taken[found[-1]])
    return found[::-1]


def _one_more(
    before: np.ndarray, error: np.ndarray, taken: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """The least sums with one more site, and its choices, for each number of buckets."""
    best, choice = np.full(len(before), np.inf), np.zeros(len(before), np.int32)
    for index, (more, used) in enumerate(zip(error, taken, strict=True)):
        if used >= len(before):
            continue
        sums = before[: len(before) - used] + more
        better = sums < best[used:]
        best[used:][better] = sums[better]
        choice[used:][better] = index
    return best, choice


def _checked(
    error: Sequence[float], cost: Sequence[int], site: int
) -> tuple[np.ndarray, np.ndarray]:
    errors, costs = np.asarray(error, np.float64), np.asarray(cost)
    if errors.shape != costs.shape or errors.ndim != 1 or not errors.size:
        raise ValueError(
            f"Site {site} has {errors.size} errors and {costs.size} costs: expected one cost for "
            "each error, and at least one."
        )
    if not np.isfinite(errors).all():
        raise ValueError(f"Site {site} has errors that are NaN or infinite: {errors.tolist()}.")
    if costs.dtype.kind not in "iu" or (costs < 0).any():
        raise ValueError(f"Site {site} has costs {costs.tolist()}: expected integers from 0 on.")
    return errors, costs.astype(np.int64)
