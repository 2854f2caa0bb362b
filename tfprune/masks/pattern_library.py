# SPDX-License-Identifier: Apache-2.0
"""Libraries of patterns: which positions of a 3x3 kernel stay, and mining one from weights.

Positions count row by row, 0 to 8; 4 is the centre. The three libraries are those that published
code of the pattern papers uses.
"""

from __future__ import annotations

import itertools
from collections import Counter
from typing import Any, Iterable, Sequence

import numpy as np

Library = tuple[tuple[int, ...], ...]


def _library(text: str) -> Library:
    return tuple(tuple(int(digit) for digit in one) for one in text.split())


FOUR_OF_NINE: Library = _library(
    "1357 1478 3456 0147 2345 1467 0345 1247 3458 0347 1234 1458 4567 2457 3478 1346 0145 "
    "1345 1457 3457 1347"
)
"""21 patterns that keep 4 of 9: the centre with three others, and the four edges."""

FOUR_OF_NINE_DISTILLED: Library = _library(
    "0134 1345 3478 3458 0345 3457 0124 4567 1278 3467 2345 0128"
)
"""12 patterns that keep 4 of 9."""

FIVE_OF_NINE: Library = _library(
    "13457 23456 23458 25678 01478 12467 03458 03456 01247 14678 01236 01258 03678"
)
"""13 patterns that keep 5 of 9."""

_NAMES = {
    FOUR_OF_NINE: "FOUR_OF_NINE",
    FOUR_OF_NINE_DISTILLED: "FOUR_OF_NINE_DISTILLED",
    FIVE_OF_NINE: "FIVE_OF_NINE",
}


def mine(kernels: Any, count: int = 8, keep: int = 4) -> Library:
    """The patterns that 3x3 kernels have most often; `tfprune.mine_patterns` takes a model.

    A kernel's pattern: its `keep` largest weights by absolute value, and where the centre is not
    among them, the centre in place of the smallest of them. Kernels of zeros have none.

    Paper: W. Niu et al., "PatDNN: Achieving Real-Time DNN Execution on Mobile Devices with
    Pattern-based Weight Pruning", 2020, arXiv 2001.00138.

    Args:
        kernels: weights [3, 3, in, out], an array or a list of them.
        count: how many patterns at most.
        keep: positions of a pattern, 2 to 8.

    Returns:
        The patterns, the most frequent first, of equal ones that with the lower positions.

    Raises:
        ValueError: no 3x3 kernel, or a number out of range.
        TypeError: no weights.

    Example:
        >>> kernel = np.arange(9.0).reshape(3, 3, 1, 1)
        >>> mine(kernel)  # 5 to 8 are the largest, 5 makes room for the centre
        ((4, 6, 7, 8),)
    """
    if count < 1 or not 2 <= keep <= 8:
        raise ValueError(
            f"mine(count={count}, keep={keep}): expected at least one pattern, of 2 to 8 positions."
        )
    found: Counter = Counter()
    for kernel in _kernels(kernels):
        found.update(_patterns(kernel, keep))
    if not found:
        raise ValueError(
            "There is no 3x3 kernel to mine patterns from: pass a model with 3x3 "
            "convolutions, weights [3, 3, in, out], or take one of the libraries in "
            "tfprune.masks.pattern_library."
        )
    ranked = sorted(found, key=lambda pattern: (-found[pattern], pattern))
    return tuple(ranked[:count])


def _patterns(kernel: np.ndarray, keep: int) -> Iterable[tuple[int, ...]]:
    """The pattern of every kernel in [9, kernels]."""
    sizes = np.abs(kernel.astype(np.float64))
    sizes = sizes[:, sizes.any(axis=0)]
    order = np.argsort(-sizes, axis=0, kind="stable")[:keep]
    without = ~(order == 4).any(axis=0)
    order[-1, without] = 4
    return map(tuple, np.sort(order, axis=0).T.tolist())


def _kernels(given: Any) -> list[np.ndarray]:
    """All 3x3 kernels, [9, kernels] each."""
    if not isinstance(given, (np.ndarray, list, tuple)):
        raise TypeError(
            f"mine({type(given).__name__}): expected weights [3, 3, in, out], an array or a list "
            "of them; for a model call tfprune.mine_patterns(model)."
        )
    arrays = [given] if isinstance(given, np.ndarray) else list(given)
    wrong = [np.shape(one) for one in arrays if np.shape(one)[:2] != (3, 3)]
    if wrong:
        raise ValueError(f"Weights of shape {wrong[0]}: expected [3, 3, in, out].")
    return [np.asarray(one).reshape(9, -1) for one in arrays]


def checked(library: Sequence[Sequence[int]]) -> Library:
    """A library as a tuple of tuples, positions ascending.

    Raises:
        ValueError: it is empty, or a pattern is not 1 to 8 different positions out of 0 to 8, or
            patterns differ in their number of positions.
    """
    if not isinstance(library, Sequence):
        raise ValueError(
            f"library={library!r}: expected a list of patterns such as (1, 3, 4, 5), "
            "or a library out of tfprune.masks.pattern_library."
        )
    found = []
    for pattern in library:
        pattern = (
            () if not isinstance(pattern, Iterable) or isinstance(pattern, str) else tuple(pattern)
        )
        positions = set(pattern)
        if (
            not (0 < len(pattern) < 9)
            or len(positions) != len(pattern)
            or not positions <= set(range(9))
        ):
            raise ValueError(
                f"library={library!r}: expected patterns such as (1, 3, 4, 5), each 1 "
                "to 8 different positions out of 0 to 8."
            )
        found.append(tuple(int(position) for position in sorted(pattern)))
    if len({len(pattern) for pattern in found}) != 1:
        raise ValueError(
            f"library={library!r}: expected at least one pattern, all with equally "
            "many positions; larger ones would always win."
        )
    return tuple(found)


def name_of(library: Library) -> str:
    """The name of a library, or its patterns as digits.

    >>> name_of(FIVE_OF_NINE), name_of(((0, 1), (3, 4)))
    ('FIVE_OF_NINE', '01 34')
    """
    digits = ("".join(map(str, pattern)) for pattern in library)
    return _NAMES.get(library) or " ".join(digits)


def kept_shapes(kernel: np.ndarray) -> set[tuple[int, ...]]:
    """The different sets of positions that are not zero in a kernel's spatial kernels.

    Args:
        kernel: [3, 3, in, out].

    >>> kept_shapes(np.eye(9)[[0, 4]].T.reshape(3, 3, 1, 2))
    {(0,), (4,)}
    """
    held = np.asarray(kernel).reshape(9, -1) != 0
    return {tuple(itertools.compress(range(9), column)) for column in held.T}
