# SPDX-License-Identifier: Apache-2.0
"""Which pruned weights to decode at run time, so that flash is smallest and RAM suffices."""

from __future__ import annotations

from collections.abc import Callable, Collection

from tflite_export.pruned import Candidate

__all__ = ["choose"]

Place = tuple[int, int]


def choose(
    candidates: dict[Place, Candidate], ram_bytes: int, arena: Callable[[Collection[Place]], int]
) -> tuple[Place, ...]:
    """The weights whose decoding saves the most bytes of the file while the arena fits.

    A decoded weight lives for one operator, so weights hardly share RAM: each alone has a need,
    the largest need counts, and every weight adds some bytes of tables. For each possible largest
    need the best weights are therefore those that save most, as many as the tables' bytes allow.
    The arena of the best choice is measured again, and what still fits is added.

    Args:
        candidates: the weights that can be decoded.
        ram_bytes: the largest arena allowed.
        arena: measures the arena in bytes when these weights are decoded, and no others.
    Returns:
        The chosen places, those that save most first.
    Raises:
        ValueError: the arena is too large without any decoded weight; the least is in the message.

    Example:
        >>> weights = {(0, n): Candidate(None, 10 * n, 100 * n) for n in (1, 2, 3)}
        >>> choose(weights, 350, lambda chosen: 100 + max([100 * n for _, n in chosen], default=0))
        ((0, 2), (0, 1))
    """
    least = arena(())
    if least > ram_bytes:
        raise ValueError(
            f"ram_bytes={ram_bytes:,} is too small: the model takes an arena of {least:,} bytes "
            "even with every weight dense; allow that many, or make activations smaller (fewer "
            "channels, smaller inputs)"
        )
    ordered = sorted(candidates, key=lambda place: -candidates[place].saved)
    if not ordered or arena(ordered) <= ram_bytes:
        return tuple(ordered)
    alone = {place: arena((place,)) for place in ordered}
    # The cheapest weight of all shows what the tables of one take.
    tables = min(alone.values()) - least
    best: list[Place] = []
    for most in sorted({need for need in alone.values() if need <= ram_bytes}):
        count = 1 + ((ram_bytes - most) // tables if tables > 0 else len(ordered))
        fitting = [place for place in ordered if alone[place] <= most][:count]
        if _saved(candidates, fitting) > _saved(candidates, best):
            best = fitting
    while best and arena(best) > ram_bytes:
        best.remove(max(best, key=alone.__getitem__))
    for place in ordered:
        if place not in best and alone[place] <= ram_bytes:
            if arena((*best, place)) <= ram_bytes:
                best.append(place)
    return tuple(sorted(best, key=ordered.index))


def _saved(candidates: dict[Place, Candidate], chosen: list[Place]) -> int:
    return sum(candidates[place].saved for place in chosen)
