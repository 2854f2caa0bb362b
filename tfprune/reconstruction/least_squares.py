# SPDX-License-Identifier: Apache-2.0
"""Weights by least squares, where some are zero and stay so.

    min_W  |X W + 1 b - Y|^2 + lambda |W - W_0|^2,   W zero outside of the mask

For each output with the kept set K, in which the bias always is, and the change D = W - W_0:

    (G_KK + lambda I) D_K = C_K,   I without an entry for the bias
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Iterator

import numpy as np
import tensorflow as tf

from tfprune.output.argument_checks import is_real
from tfprune.reconstruction.normal_equations import NormalEquations

RIDGE = 1e-3
"""lambda, relative to the mean of the diagonal of G, where nothing else is asked for."""

_ROOM = 1 << 25  # numbers that the systems solved at a time have: 256 MiB
_TRIES = 4


@dataclass(frozen=True)
class Refit:
    """Weights that were refitted.

    Attributes:
        weights: float64 [outputs, columns]; zero where they were not kept.
        bias: float64 [outputs]; None: there is none.
        missing: what is left of the sum of R^2, float64 [outputs].
        ridge: the largest that was needed: more than asked where rounding made G indefinite.
        unknowns: the most that one output has.
    """

    weights: np.ndarray
    bias: np.ndarray | None
    missing: np.ndarray
    ridge: float
    unknowns: int


@dataclass(frozen=True)
class _System:
    """What outputs with one kept set have in common: the set's indices, and theirs in the group."""

    group: int
    kept: np.ndarray
    outputs: np.ndarray


def refit(
    equations: NormalEquations,
    weights: np.ndarray,
    bias: np.ndarray | None,
    kept: np.ndarray,
    *,
    ridge: float = RIDGE,
) -> Refit:
    """The weights that are kept, so that as little as possible is missing.

    Outputs that keep the same columns share one Cholesky factor. An output that keeps none stays
    as it is, its bias included: it is a channel that was removed.

    Args:
        equations: of these weights and this bias.
        weights: W_0, [outputs, columns], columns as those of the patches; of several groups one
            after the other.
        bias: b_0, [outputs]; None where the equations have none.
        kept: bool [outputs, columns].
        ridge: lambda, relative to the mean of G's diagonal. It decides where examples do not:
            of constant or equal inputs, and of fewer examples than weights.

    Raises:
        ValueError: the equations have NaN or infinity; G is indefinite with any ridge up to 1.

    Example:
        >>> found = NormalEquations(columns=2, outputs=1, has_bias=False)
        >>> inputs, wanted = np.array([[1.0, 0.0], [1.0, 1.0]]), np.array([[2.0], [4.0]])
        >>> found.add(inputs, missing=wanted)  # of weights that are 0
        >>> one = refit(found, np.zeros((1, 2)), None, np.array([[True, False]]), ridge=0.0)
        >>> one.weights.round(9).tolist(), one.missing.round(9).tolist()
        ([[3.0, 0.0]], [2.0])
    """
    if not equations.is_finite():
        raise ValueError("The inputs of the layer, or what it is wanted to give, are not finite.")
    for used in (ridge * 10.0**power for power in range(_TRIES)):
        try:
            change = _solved(equations, kept, equations.damping(used))
            break
        except tf.errors.InvalidArgumentError:  # not positive definite
            continue
    else:
        raise ValueError(
            f"The normal equations of {kept.shape[1]} inputs have no solution: ridge={used} is "
            "too little against rounding."
        )
    weights = np.where(kept, np.asarray(weights, np.float64) + change[:, : equations.columns], 0.0)
    return Refit(
        weights,
        None if bias is None else np.asarray(bias, np.float64) + change[:, -1],
        np.maximum(equations.missing + _gained(equations, change), 0.0),
        used,
        int(kept.sum(axis=1).max(initial=0)) + equations.has_bias,
    )


def check_ridge(ridge: Any) -> None:
    """Raise ValueError unless it is a finite number above 0."""
    if not is_real(ridge) or not 0 < ridge < float("inf"):
        raise ValueError(f"ridge={ridge!r}: expected a number above 0, such as 1e-3.")


def _solved(equations: NormalEquations, kept: np.ndarray, damping: np.ndarray) -> np.ndarray:
    """The changes of the weights and the bias, [outputs, columns (+ 1)]."""
    size, per_group = equations.gram.shape[1], equations.outputs // equations.groups
    change = np.zeros((equations.outputs, size))
    for part in _parts(_systems(equations, kept)):
        most = max(len(one.kept) for one in part)
        width = len(part[0].outputs)
        matrices = np.zeros((len(part), most, most))
        sides = np.zeros((len(part), most, width))
        for place, one in enumerate(part):
            own, count = equations.gram[one.group], len(one.kept)
            matrices[place, :count, :count] = own[np.ix_(one.kept, one.kept)]
            sides[place, :count] = equations.cross[one.group][np.ix_(one.kept, one.outputs)]
            diagonal = np.einsum("ii->i", matrices[place])
            diagonal[:count] += np.where(one.kept < equations.columns, damping[one.group], 0.0)
            diagonal[count:] = 1.0  # systems that are smaller than the largest are filled up
        found = tf.linalg.cholesky_solve(tf.linalg.cholesky(matrices), sides).numpy()
        for place, one in enumerate(part):
            rows = one.group * per_group + one.outputs
            change[np.ix_(rows, one.kept)] = found[place, : len(one.kept)].T
    return change


def _systems(equations: NormalEquations, kept: np.ndarray) -> list[_System]:
    """One for each kept set of each group, without the empty ones, those of like size together."""
    per_group, found = equations.outputs // equations.groups, []
    for group in range(equations.groups):
        rows = np.asarray(kept[group * per_group : (group + 1) * per_group], bool)
        sets, member = np.unique(np.packbits(rows, axis=1), axis=0, return_inverse=True)
        member = member.ravel()
        for number in range(len(sets)):
            outputs = np.flatnonzero(member == number)
            columns = np.flatnonzero(rows[outputs[0]])
            if len(columns):
                ones = [equations.columns] * equations.has_bias
                found.append(_System(group, np.append(columns, ones).astype(int), outputs))
    return sorted(found, key=lambda one: (len(one.outputs), len(one.kept)))


def _parts(systems: list[_System]) -> Iterator[list[_System]]:
    """Systems of equally many outputs that fit into memory together."""
    part: list[_System] = []
    for one in systems:
        room = (len(part) + 1) * len(one.kept) ** 2 <= _ROOM
        if part and not (room and len(one.outputs) == len(part[0].outputs)):
            yield part
            part = []
        part.append(one)
    if part:
        yield part


def _gained(equations: NormalEquations, change: np.ndarray) -> np.ndarray:
    """How much the changes add to the sum of R^2, which is less than nothing: [outputs]."""
    each: Any = change.reshape(equations.groups, -1, change.shape[1])
    bent = np.einsum("gok,gok->go", each @ equations.gram, each)
    return (bent - 2 * np.einsum("gok,gko->go", each, equations.cross)).ravel()
