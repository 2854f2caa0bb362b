# SPDX-License-Identifier: Apache-2.0
"""What the end of a run overwrites is kept in the wrappers, so that a run that goes on is as one
that had not ended."""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from types import ModuleType
from typing import Any, Sequence

import numpy as np

from tfprune.quantization.djpq_placement import Maker, Places

_CHECKS = 2**24  # as many whole numbers as float32 holds


@dataclass(frozen=True)
class Soft:
    """What a model was before its weights became hard.

    Attributes:
        kernels: {position of a wrapper: (kernel, whether its mask was full)}.
        factors: {position of the wrapper with the gate: [channels, 4]}.
    """

    kernels: dict[int, tuple[np.ndarray, bool]]
    factors: dict[int, np.ndarray]


def take(held: Sequence[Any], found: Places, home: ModuleType) -> Soft:
    """Before the end of a run: what will be overwritten."""
    kernels, factors = {}, {}
    for index, one in enumerate(held):
        if one.core.weights is not None:
            kernel, mask, _ = one.core_variables()
            kernels[index] = kernel.numpy().astype(np.float32), bool(mask.numpy().all())
    for index, variables in _vectors(held, found, home):
        columns = [variable.numpy().ravel() for variable in variables]
        columns += [np.zeros_like(columns[0])] * (4 - len(columns))
        factors[index] = np.stack(columns, axis=1)
    return Soft(kernels, factors)


def keep(soft: Soft, held: Sequence[Any], found: Places, home: ModuleType) -> None:
    """After the end of a run: note what was overwritten, and what by."""
    if not all(one.core.before for one in held):
        return  # wrapped by an earlier version; `rest` holds what rounding took
    for index, (kernel, _) in soft.kernels.items():
        held[index].core_variables()[2]["rest"].assign(kernel)
    for index, values in soft.factors.items():
        held[index].core.before["factors"].assign(values)
    check = _check(held, found, home)
    for index, one in enumerate(held):
        full = soft.kernels.get(index, (None, True))[1]
        one.core.before["check"].assign(np.float32([check, full]))


def restore(held: Sequence[Any], found: Places, home: ModuleType) -> bool:
    """Before a run: bring back what the last one has overwritten.

    Returns:
        False, if nothing is kept, or weights were changed since: then they count.
    """
    notes = [one.core.before["check"].numpy() if one.core.before else np.zeros(2) for one in held]
    if not all(check for check, _ in notes):
        return False
    same = {_check(held, found, home)} == {int(check) for check, _ in notes}
    for one, (_, full) in zip(held, notes):
        if one.core.weights is not None:
            kernel, mask, state = one.core_variables()
            if same:
                value = state["rest"].numpy()
                kernel.assign(value.astype(kernel.dtype.as_numpy_dtype))
                held_back = mask.numpy() if not full else np.ones_like(value)
                mask.assign(np.where(value != 0, 1, held_back).astype(held_back.dtype))
            state["rest"].assign(np.zeros(kernel.shape, np.float32))
        one.core.before["check"].assign(np.zeros(2, np.float32))
    for index, variables in _vectors(held, found, home) if same else ():
        values = held[index].core.before["factors"].numpy()
        for column, variable in enumerate(variables):
            variable.assign(values[:, column].reshape(variable.shape))
    return same


def _vectors(held: Sequence[Any], found: Places, home: ModuleType):
    """(position of the wrapper with the gate, the variables per channel that folding changes)."""
    position = {id(one.layer): index for index, one in enumerate(held)}
    for gated in found.gated.values():
        for maker in gated.makers:
            index = position[id(maker.end)]
            yield (
                index,
                [
                    *held[index].core.bottleneck.held.values(),
                    *_scales(held, position, maker),
                    *maker.vectors(home),
                ],
            )


def _scales(held: Sequence[Any], position: dict[int, int], maker: Maker) -> list[Any]:
    if maker.is_norm:
        return []
    return [held[position[id(maker.fold)]].core_variables()[2]["scale"]]


def _check(held: Sequence[Any], found: Places, home: ModuleType) -> int:
    """A sum over all weights that the end of a run writes, a whole number above 0."""
    kernels = [one.core_variables()[0] for one in held if one.core.weights is not None]
    vectors = [variable for _, variables in _vectors(held, found, home) for variable in variables]
    total = 0
    for variable in (*kernels, *vectors):
        total = zlib.crc32(variable.numpy().tobytes(), total)
    return total % _CHECKS + 1
