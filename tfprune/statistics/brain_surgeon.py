# SPDX-License-Identifier: Apache-2.0
"""Optimal brain surgeon: what an output loses by its weights, removed one after the other.

For an output with the weights w and the Gram matrix H of its inputs, the group of weights B whose
removal costs least goes, and the others make up for it:

    loss = w_B^T ([H^-1]_BB)^-1 w_B
    w <- w - [H^-1]_:B ([H^-1]_BB)^-1 w_B
    H^-1 <- H^-1 - [H^-1]_:B ([H^-1]_BB)^-1 [H^-1]_B:

Outputs whose groups stand together, as those of a block, share one matrix. The changes of H^-1 are
kept back and made for many removals at a time, so that nearly all of it is products of matrices.
"""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np

_ROOM = 1 << 21  # numbers that the inverse matrices of one thread may have: 16 MiB
_PENDING = 32  # columns of changes that are kept back
_MOST, _PART = 1536, 512  # columns that are taken as they are, and of a part where there are more
_GROWTH = 1 + 1e-6  # from one removal to the next at least, so that no two are equal in float32


@dataclass(frozen=True)
class Bundles:
    """Outputs that lose their weights together: bundles of equally many, with like groups.

    Attributes:
        rows: the outputs of each, int [bundles, rows].
        groups: the columns of each group, int [bundles, groups, size]; shorter ones are filled up
            with columns behind the last one.
        rivals: which groups compete, int [bundles, groups].
    """

    rows: np.ndarray
    groups: np.ndarray
    rivals: np.ndarray


def removal_losses(
    gram: np.ndarray,
    weights: np.ndarray,
    groups: np.ndarray,
    *,
    rivals: np.ndarray | None = None,
    least: int = 0,
) -> np.ndarray:
    """For each weight what its output has lost when its group is removed, all that went before
    included in their order: a running maximum, so that the cheapest of several outputs together
    are the first ones of each.

    Args:
        gram: H, float64 [columns, columns], positive definite.
        weights: float64 [outputs, columns], the best there are.
        groups: int [outputs, columns], of each weight the number of its group; outputs share all
            of their groups, or none.
        rivals: int [outputs, columns], of each weight the number of a set of groups of which
            `least` stay to the end; None: all of an output.

    Returns:
        float64 [outputs, columns].

    Of more than 1,536 columns the losses are approximate, upper bounds: weights make up for one
    another only within parts of about 512 columns, groups and rivals undivided.

    Paper: E. Frantar, D. Alistarh, "Optimal Brain Compression: A Framework for Accurate
    Post-Training Quantization and Pruning", 2022, arXiv 2208.11580.

    Example:
        >>> gram = np.array([[2.0, 1.0], [1.0, 2.0]])
        >>> removal_losses(gram, np.array([[3.0, 1.0]]), np.array([[0, 1]])).round(3).tolist()
        [[24.5, 1.5]]
    """
    if rivals is None:
        rivals = np.zeros_like(groups)
    if len(gram) > _MOST:
        parts = _parts(np.concatenate([groups, rivals]) if least else groups)
        if len(parts) > 1:
            found = np.zeros(weights.shape)
            for own in parts:
                found[:, own] = removal_losses(
                    gram[np.ix_(own, own)],
                    weights[:, own],
                    groups[:, own],
                    rivals=rivals[:, own],
                    least=least,
                )
            return found
    inverse, found = np.linalg.inv(gram), np.zeros(weights.shape)
    room, chunks = max(1, _ROOM // inverse.size), []
    for part in _bundles(groups, rivals):
        for start in range(0, len(part.rows), room):
            some = slice(start, start + room)
            chunks.append(Bundles(part.rows[some], part.groups[some], part.rivals[some]))
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        courses = pool.map(lambda one: _course(inverse, weights[one.rows], one, least), chunks)
        for chunk, losses in zip(chunks, courses, strict=True):
            _spread(found, losses, chunk)
    return found


def _parts(groups: np.ndarray) -> list[np.ndarray]:
    """Columns in parts of `_PART` or somewhat more that no row of `groups` has a number across."""
    columns = groups.shape[1]
    order = np.argsort(groups[0], kind="stable")
    is_whole = np.ones(columns, bool)  # whether a part may begin at this place of the order
    for row in groups[:, order]:
        _, first, own = np.unique(row, return_index=True, return_inverse=True)
        last = np.zeros(len(first), int)
        np.maximum.at(last, own, np.arange(columns))
        steps = np.bincount(first + 1, minlength=columns + 2) - np.bincount(
            last + 1, minlength=columns + 2
        )
        is_whole &= np.cumsum(steps)[:columns] == 0
    starts = [0]
    for place in np.flatnonzero(is_whole):
        if place - starts[-1] >= _PART and columns - place >= _PART // 2:
            starts.append(int(place))
    return np.split(order, starts[1:])


def _spread(found: np.ndarray, losses: np.ndarray, bundles: Bundles) -> None:
    """Write the losses of groups [bundles, groups] to all of their weights."""
    columns = found.shape[1]
    for rows, groups, values in zip(bundles.rows, bundles.groups, losses, strict=True):
        line = np.zeros(columns + groups.shape[1])
        line[np.minimum(groups, columns)] = values[:, None]
        found[rows] = line[:columns]


def _bundles(groups: np.ndarray, rivals: np.ndarray) -> list[Bundles]:
    """All bundles, those of one shape together."""
    _, member = np.unique(groups, axis=0, return_inverse=True)
    member, columns = member.ravel(), groups.shape[1]
    shapes: dict[tuple[int, ...], list[tuple]] = {}
    for number in range(member.max() + 1):
        rows = np.flatnonzero(member == number)
        _, first, own = np.unique(groups[rows[0]], return_index=True, return_inverse=True)
        order, counts = np.argsort(own, kind="stable"), np.bincount(own)
        inside = np.arange(counts.max()) < counts[:, None]
        held = np.zeros(inside.shape, int)
        held[inside] = order
        held[~inside] = columns + np.arange((~inside).sum())
        shapes.setdefault((len(rows), *held.shape), []).append((rows, held, rivals[rows[0]][first]))
    return [Bundles(*map(np.stack, zip(*part, strict=True))) for part in shapes.values()]


def _course(inverse: np.ndarray, weights: np.ndarray, bundles: Bundles, least: int) -> np.ndarray:
    """The running maximum at which each group goes, [bundles, groups]."""
    groups, columns = bundles.groups, inverse.shape[0]
    count, number, size = groups.shape
    filled = int(groups.max(initial=0)) + 1 - columns
    if filled > 0:  # columns of their own, of weight zero
        inverse = np.block(
            [[inverse, np.zeros((columns, filled))], [np.zeros((filled, columns)), np.eye(filled)]]
        )
        weights = np.pad(weights, ((0, 0), (0, 0), (0, filled)))
        columns += filled
    held, weights = np.repeat(inverse[None], count, 0), weights.copy()
    each = np.arange(count)
    blocks = held[each[:, None, None, None], groups[..., None], groups[..., None, :]]
    pending, some = np.zeros((count, _PENDING + size, columns)), 0
    left, alive = _spare(bundles.rivals, least), np.ones((count, number), bool)
    losses, highest = np.zeros((count, number)), np.zeros(count)
    for _ in range(number):
        costs = np.where(alive, _costs(weights, blocks, groups), np.inf)
        allowed = np.take_along_axis(left, bundles.rivals, 1) > 0
        free = np.where(allowed, costs, np.inf)
        chosen = np.where(np.isfinite(free.min(1)), free.argmin(1), costs.argmin(1))
        highest = np.maximum(highest * _GROWTH, costs[each, chosen])
        losses[each, chosen] = highest
        alive[each, chosen] = False
        left[each, bundles.rivals[each, chosen]] -= 1
        out = groups[each, chosen]  # [bundles, size]
        column = held[each[:, None], out]  # of H^-1, before what is pending
        if some:
            before = pending[:, :some]
            column = column - _columns(before, out).transpose(0, 2, 1) @ before
        change, lost = _factored(column, out, _columns(weights, out))
        weights -= lost.transpose(0, 2, 1) @ change
        np.put_along_axis(weights, np.repeat(out[:, None], weights.shape[1], 1), 0.0, 2)
        blocks -= _squares(change, groups)
        pending[:, some : some + size] = change
        some += size
        if some >= _PENDING:
            held -= pending[:, :some].transpose(0, 2, 1) @ pending[:, :some]
            some = 0
    return losses


def _factored(
    column: np.ndarray, out: np.ndarray, own: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """L^-1 [H^-1]_B:, whose square is what H^-1 loses, and L^-1 w_B, of L L^T = [H^-1]_BB."""
    block = np.take_along_axis(column, out[:, None], 2)
    if block.shape[-1] == 1:
        root = np.sqrt(np.maximum(block, 1e-300))
        return column / root, own.transpose(0, 2, 1) / root
    root = np.linalg.cholesky(block)
    return np.linalg.solve(root, column), np.linalg.solve(root, own.transpose(0, 2, 1))


def _squares(change: np.ndarray, groups: np.ndarray) -> np.ndarray:
    """What each group's block loses, [bundles, groups, size, size]."""
    if groups.shape[2] == 1:
        return np.square(np.take_along_axis(change[:, 0], groups[..., 0], 1))[..., None, None]
    ends = change[np.arange(len(groups))[:, None, None], :, groups]
    return ends @ ends.transpose(0, 1, 3, 2)


def _costs(weights: np.ndarray, blocks: np.ndarray, groups: np.ndarray) -> np.ndarray:
    """w_B^T ([H^-1]_BB)^-1 w_B of each group, over the rows of a bundle: [bundles, groups]."""
    each = np.arange(len(groups))[:, None, None]
    own = weights.transpose(0, 2, 1)[each, groups]  # [bundles, groups, size, rows]
    if blocks.shape[-1] == 1:
        return np.square(own[:, :, 0]).sum(2) / np.maximum(blocks[..., 0, 0], 1e-300)
    # Blocks of groups that are gone are zero, but for rounding.
    safe = blocks + 1e-12 * np.eye(blocks.shape[-1])
    return (own * np.linalg.solve(safe, own)).sum((2, 3))


def _columns(values: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """Some columns [bundles, size] of matrices [bundles, rows, columns]: [bundles, rows, size]."""
    return np.take_along_axis(values, columns[:, None], 2)


def _spare(rivals: np.ndarray, least: int) -> np.ndarray:
    """How many of each set of rivals may go, [bundles, sets]."""
    sets = np.arange(rivals.max(initial=0) + 1)
    return (rivals[:, :, None] == sets).sum(1) - least
